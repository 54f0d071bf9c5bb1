//! Which events have been read but not settled, and so how far the cursor may move.
//!
//! Requests end in any order; the cursor may only move over what is settled without a gap. The
//! window holds the runs that are under way, oldest first, each with the positions of its events.
//! It holds no payloads, so it may be wide: one stuck event lets many thousands pass it.

use std::collections::VecDeque;

use crate::log::{
    Seq,
    cursor::{Base, Horizon, Run},
    store::Place,
};

/// Names an event in the window: its run and its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    run: u64,
    seq: Seq,
}

impl Ticket {
    /// The event's position in the log.
    #[must_use]
    pub fn seq(self) -> Seq {
        self.seq
    }
}

/// The runs that are under way.
#[derive(Debug)]
pub struct Window {
    /// What is published without a gap when there is no run.
    base: Base,
    runs: VecDeque<OpenRun>,
    next_run: u64,
    events: usize,
}

#[derive(Debug)]
struct OpenRun {
    number: u64,
    run: Run,
    /// Everything up to here has been read.
    read_to: Seq,
    events: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    seq: Seq,
    time_micros: i64,
    is_settled: bool,
}

impl Window {
    /// A window that begins at `place`.
    #[must_use]
    pub fn at(place: Place) -> Self {
        let mut window = Self {
            base: place.base.clone(),
            runs: VecDeque::new(),
            next_run: 0,
            events: 0,
        };
        if let Some((run, position)) = place.run() {
            window.open(run, position);
        }
        window
    }

    /// Opens the run from where the youngest one ends to `target`.
    pub fn extend(&mut self, target: Horizon) {
        let base = self.end();
        let run = Run { base, target };
        let start = run.start();
        self.open(run, start);
    }

    fn open(&mut self, run: Run, read_to: Seq) {
        self.runs.push_back(OpenRun {
            number: self.next_run,
            run,
            read_to,
            events: VecDeque::new(),
        });
        self.next_run += 1;
    }

    /// Where the youngest run will have brought the base.
    #[must_use]
    pub fn end(&self) -> Base {
        self.runs
            .back()
            .map_or_else(|| self.base.clone(), |open| open.run.completed())
    }

    /// The run to read on and the position to read after; `None` when all open runs have been read.
    #[must_use]
    pub fn unread(&self) -> Option<(&Run, Seq)> {
        // Runs are opened only when the one before has been read, so only the youngest can be unread.
        let open = self.runs.back()?;
        open.run.next_stretch(open.read_to, 1)?;
        Some((&open.run, open.read_to))
    }

    /// Notes that the youngest run has been read up to `read_to`, and the events found on the way
    /// as position and time. Returns their tickets, in order.
    pub fn read(&mut self, events: impl IntoIterator<Item = (Seq, i64)>, read_to: Seq) -> Vec<Ticket> {
        let Some(open) = self.runs.back_mut() else {
            return Vec::new();
        };
        let number = open.number;
        let slot = |(seq, time_micros)| Slot {
            seq,
            time_micros,
            is_settled: false,
        };
        let before = open.events.len();
        open.events.extend(events.into_iter().map(slot));
        open.read_to = read_to;
        self.events += open.events.len() - before;
        let new = open.events.range(before..);
        new.map(|slot| Ticket {
            run: number,
            seq: slot.seq,
        })
        .collect()
    }

    /// Marks an event as settled: it never has to be sent again.
    pub fn settle(&mut self, ticket: Ticket) {
        let Some(open) = self.runs.iter_mut().find(|open| open.number == ticket.run) else {
            debug_assert!(false, "a ticket is settled once");
            return;
        };
        if let Ok(index) = open.events.binary_search_by_key(&ticket.seq, |slot| slot.seq) {
            open.events[index].is_settled = true;
        }
        while open.events.front().is_some_and(|slot| slot.is_settled) {
            open.events.pop_front();
            self.events -= 1;
        }
        self.close_finished();
    }

    /// Drops runs at the front that have been read and settled to the end.
    pub fn close_finished(&mut self) {
        while let Some(open) = self.runs.front()
            && open.events.is_empty()
            && open.run.next_stretch(open.read_to, 1).is_none()
        {
            self.base = open.run.completed();
            self.runs.pop_front();
        }
    }

    /// How far everything is published without a gap: what the cursor may say.
    #[must_use]
    pub fn place(&self) -> Place {
        let under_way = self.runs.front().map(|open| {
            let published_to = open.events.front().map_or(open.read_to, |slot| slot.seq - 1);
            (open.run.target.clone(), published_to)
        });
        Place {
            base: self.base.clone(),
            under_way,
        }
    }

    /// Events between the oldest that is not settled and the youngest that was read.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Number of open runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Time of the oldest event that is not settled, in microseconds since the Unix epoch.
    #[must_use]
    pub fn oldest_micros(&self) -> Option<i64> {
        let fronts = self.runs.iter().filter_map(|open| open.events.front());
        fronts.map(|slot| slot.time_micros).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::snapshot::Snapshot;

    fn horizon(snapshot: &str, seq_before: Seq, seq_after: Seq) -> Horizon {
        let snapshot: Snapshot = snapshot.parse().unwrap();
        Horizon {
            next_xid: snapshot.xmax(),
            snapshot,
            seq_before,
            seq_after,
        }
    }

    fn new_window() -> Window {
        Window::at(Place {
            base: Base::beginning(),
            under_way: None,
        })
    }

    #[test]
    fn the_place_moves_only_over_what_is_settled_without_a_gap() {
        let mut window = new_window();
        window.extend(horizon("700:700:", 0, 9));
        let tickets = window.read([(2, 20), (4, 10), (7, 30)], 8);
        window.settle(tickets[1]);
        assert_eq!(window.place().under_way.unwrap().1, 1);
        window.settle(tickets[0]);
        assert_eq!(window.place().under_way.unwrap().1, 6);
        assert_eq!(window.oldest_micros(), Some(30));
        window.settle(tickets[2]);
        assert_eq!(
            window.place().under_way.unwrap().1,
            8,
            "read up to 8, so published up to 8"
        );
        assert_eq!(window.unread().map(|(_, position)| position), Some(8));
        window.read([], 9);
        window.close_finished();
        assert!(window.is_empty());
        assert_eq!(window.place().base.snapshot.xmax(), 700);
    }

    #[test]
    fn a_stuck_event_of_an_old_run_holds_the_place_but_not_later_runs() {
        let mut window = new_window();
        window.extend(horizon("700:700:", 0, 5));
        let old = window.read([(5, 1)], 5);
        window.extend(horizon("800:800:", 5, 6));
        let young = window.read([(6, 2)], 6);
        window.settle(young[0]);
        assert_eq!(window.place().base, Base::beginning());
        assert_eq!(window.place().under_way.unwrap().1, 4);
        assert_eq!(window.len(), 1);
        window.settle(old[0]);
        assert!(window.is_empty());
        assert_eq!(window.place().base.snapshot.xmax(), 800);
    }

    #[test]
    fn a_window_that_begins_within_a_run_reads_on_from_its_position() {
        let mut window = Window::at(Place {
            base: Base::beginning(),
            under_way: Some((horizon("700:700:", 0, 100), 42)),
        });
        assert_eq!(window.unread().unwrap().1, 42);
        let tickets = window.read([(50, 1), (60, 1)], 100);
        window.settle(tickets[0]);
        window.settle(tickets[1]);
        assert!(window.is_empty());
    }

    #[test]
    fn an_event_that_was_read_late_lies_below_the_base_of_its_run() {
        let mut window = Window::at(Place {
            base: Base {
                snapshot: "700:703:701".parse().unwrap(),
                next_xid: 703,
                seq: 50,
                open_floor: 50,
                floors: vec![10],
            },
            under_way: None,
        });
        window.extend(horizon("703:703:", 50, 50));
        assert_eq!(window.unread().unwrap().1, 10);
        let late = window.read([(12, 1)], 50);
        assert_eq!(window.place().under_way.unwrap().1, 11);
        window.settle(late[0]);
        assert!(window.is_empty());
    }
}
