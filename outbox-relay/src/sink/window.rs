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

/// Names an event in the window by its position in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(Seq);

/// The runs that are under way: one that has been read and waits for its events to be settled, and
/// one that is being read. A run that has been read is folded into the one before it, so a stuck
/// event does not make runs pile up behind it.
#[derive(Debug)]
pub struct Window {
    /// What is published without a gap when there is no run.
    base: Base,
    runs: VecDeque<OpenRun>,
    events: usize,
}

#[derive(Debug)]
struct OpenRun {
    run: Run,
    /// Where the run brings the base. Not `run.completed()`, which for a folded run is right but
    /// knows less about where rows lie.
    end: Base,
    /// Everything up to here has been read.
    read_to: Seq,
    /// In the order of `seq`; those before the first that is not settled are gone.
    events: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    seq: Seq,
    time_micros: i64,
    is_settled: bool,
}

impl OpenRun {
    fn is_read(&self) -> bool {
        self.run.next_stretch(self.read_to, 1).is_none()
    }

    /// Takes in the run that follows this one; both have been read.
    fn fold(&mut self, next: Self) {
        let in_order = match (self.events.back(), next.events.front()) {
            (Some(last), Some(first)) => last.seq < first.seq,
            _ => true,
        };
        self.events.extend(next.events);
        if !in_order {
            // Rows of a late transaction lie between those that were read before.
            self.events.make_contiguous().sort_unstable_by_key(|slot| slot.seq);
        }
        self.run.target = next.run.target;
        self.end = next.end;
        // The folded run ends where the later look did, which may be the same position.
        self.read_to = self.run.target.seq_after.max(self.run.base.seq);
    }
}

impl Window {
    /// A window that begins at `place`.
    #[must_use]
    pub fn at(place: Place) -> Self {
        let mut window = Self {
            base: place.base.clone(),
            runs: VecDeque::new(),
            events: 0,
        };
        if let Some((run, position)) = place.run() {
            window.open(run, position);
        }
        window
    }

    /// Opens the run from where the youngest one ends to `target`. The youngest has been read.
    pub fn extend(&mut self, target: Horizon) {
        let base = self.end().clone();
        let run = Run { base, target };
        let start = run.start();
        self.open(run, start);
    }

    fn open(&mut self, run: Run, read_to: Seq) {
        self.runs.push_back(OpenRun {
            end: run.completed(),
            run,
            read_to,
            events: VecDeque::new(),
        });
        self.tidy();
    }

    /// Where the youngest run will have brought the base.
    #[must_use]
    pub fn end(&self) -> &Base {
        self.runs.back().map_or(&self.base, |open| &open.end)
    }

    /// The run to read on and the position to read after; `None` when all open runs have been read.
    #[must_use]
    pub fn unread(&self) -> Option<(&Run, Seq)> {
        // Runs are opened only when the one before has been read, so only the youngest can be unread.
        let open = self.runs.back().filter(|open| !open.is_read())?;
        Some((&open.run, open.read_to))
    }

    /// Notes that the youngest run has been read up to `read_to`, and the events found on the way
    /// as position and time. Returns their tickets, in order.
    pub fn read(&mut self, events: impl IntoIterator<Item = (Seq, i64)>, read_to: Seq) -> Vec<Ticket> {
        let Some(open) = self.runs.back_mut() else {
            debug_assert!(false, "only an open run is read");
            return Vec::new();
        };
        let mut tickets = Vec::new();
        for (seq, time_micros) in events {
            tickets.push(Ticket(seq));
            open.events.push_back(Slot {
                seq,
                time_micros,
                is_settled: false,
            });
        }
        open.read_to = read_to;
        self.events += tickets.len();
        self.tidy();
        tickets
    }

    /// Marks an event as settled: it never has to be sent again.
    pub fn settle(&mut self, ticket: Ticket) {
        let found = self.runs.iter_mut().find_map(|open| {
            let index = open.events.binary_search_by_key(&ticket.0, |slot| slot.seq).ok()?;
            open.events.get_mut(index)
        });
        debug_assert!(found.is_some(), "a ticket is settled once");
        if let Some(slot) = found {
            slot.is_settled = true;
        }
        self.tidy();
    }

    /// Drops what is settled at the front of each run, folds runs that have been read, and closes
    /// the first run when nothing of it is left.
    fn tidy(&mut self) {
        for open in &mut self.runs {
            while open.events.front().is_some_and(|slot| slot.is_settled) {
                open.events.pop_front();
                self.events -= 1;
            }
        }
        while let Some(first) = self.runs.front()
            && first.is_read()
        {
            if first.events.is_empty() {
                self.base = first.end.clone();
                self.runs.pop_front();
            } else if self.runs.get(1).is_some_and(OpenRun::is_read)
                && let Some(next) = self.runs.remove(1)
                && let Some(first) = self.runs.front_mut()
            {
                first.fold(next);
            } else {
                break;
            }
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
        window.settle(old[0]);
        assert!(window.is_empty());
        assert_eq!(window.place().base.snapshot.xmax(), 800);
    }

    #[test]
    fn runs_do_not_pile_up_behind_a_stuck_event() {
        let mut window = new_window();
        window.extend(horizon("700:700:", 0, 5));
        let stuck = window.read([(4, 1), (5, 1)], 5);
        for look in 1..1_000 {
            let seq = 5 + look;
            window.extend(horizon(&format!("{0}:{0}:", 700 + look), seq - 1, seq));
            let event = window.read([(seq, 2)], seq);
            window.settle(event[0]);
            assert_eq!(window.runs.len(), 1);
        }
        assert_eq!(window.place().under_way.unwrap().1, 3);
        assert_eq!(window.end().seq, 1_003, "the next run knows where its rows lie");
        window.settle(stuck[0]);
        let (target, position) = window.place().under_way.unwrap();
        assert_eq!((target.snapshot.xmax(), position), (1_699, 4));
        window.settle(stuck[1]);
        assert_eq!((window.is_empty(), window.events), (true, 0));
        assert_eq!(window.place().base.snapshot.xmax(), 1_699);
    }

    #[test]
    fn with_unsettled_events_in_two_runs_the_place_is_before_the_first_of_them() {
        let mut window = new_window();
        window.extend(horizon("700:703:701", 0, 20));
        let first = window.read([(10, 1), (15, 1)], 20);
        // A late transaction's row lies between them.
        window.extend(horizon("703:703:", 20, 20));
        let late = window.read([(12, 1)], 20);
        window.settle(first[0]);
        assert_eq!(window.place().under_way.unwrap().1, 11);
        window.settle(first[1]);
        assert_eq!(window.place().under_way.unwrap().1, 11);
        window.settle(late[0]);
        assert!(window.is_empty());
    }

    #[test]
    fn a_run_that_is_being_read_is_not_folded() {
        let mut window = new_window();
        window.extend(horizon("700:700:", 0, 5));
        let stuck = window.read([(5, 1)], 5);
        window.extend(horizon("800:800:", 5, 9));
        window.read([(6, 1)], 7);
        assert_eq!(window.unread().unwrap().1, 7);
        assert_eq!(window.place().under_way.unwrap().0.snapshot.xmax(), 700);
        window.settle(stuck[0]);
        assert_eq!(window.place().base.snapshot.xmax(), 700);
        assert_eq!(window.place().under_way.unwrap().1, 5);
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
