//! Everything that the model remembers.

use outbox_relay::log::{cursor::Base, store::Place};

use super::{
    IN_ORDER, NOTHING_PASSED, NOTHING_ROLLED_BACK, Setting,
    log::{Log, OLD, Old, is_passed, seq},
};

/// The place on the list of a relay that was killed and has been started again.
pub(super) const GHOST: usize = 2;

/// Two relays, the database, the target and what is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// `oncebox.event`.
    pub log: Log,
    /// The cursor's place.
    pub cursor: Place,
    /// The cursor's owner, by place on the list; who is no longer there is nobody.
    pub owner: Option<usize>,
    /// Whether a killed relay's row is left beside that of its successor.
    pub has_ghost: bool,
    /// The relays.
    pub relays: [Relay; 2],
    /// What is on its way or not yet answered, in order.
    pub requests: Vec<Request>,
    /// Events (a bit each) that the target has.
    pub taken: u8,
    /// Those that a relay has heard it has.
    pub confirmed: u8,
    /// Those that may still arrive, of requests long given up. A copy of what has arrived changes nothing any more.
    pub late: u8,
    /// Faults that are left.
    pub crashes: u8,
    /// Faults that are left.
    pub stops: u8,
    /// Faults that are left.
    pub disconnects: u8,
    /// Beats that are left whose answers may take their time.
    pub slow: u8,
    /// What the last step has broken.
    pub broken: Option<&'static str>,
}

/// Whether a relay runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// It is not there.
    Down,
    /// It works.
    Up,
    /// It stands still (SIGSTOP).
    Stopped,
}

/// One relay. Times are ages in ticks; old ones are all the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Relay {
    /// Whether it runs.
    pub life: Life,
    /// Whether its row is on the list.
    pub is_listed: bool,
    /// Since the question of the youngest beat that was confirmed.
    pub lease: Option<u8>,
    /// A beat that was not answered yet.
    pub asked: Option<Asked>,
    /// Since when each of the others' rows has shown one and the same beat. Another beat is as good as a row that was never seen.
    pub seen: [Option<u8>; 3],
    /// What it works on.
    pub held: Option<Held>,
    /// What it is to do about the shard.
    pub wants: Wants,
    /// Since it gave up a request whose end it does not know.
    pub given_up: Option<u8>,
}

/// A beat's question. The database has seen it; the answer is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// Since then.
    pub age: u8,
    /// Whether the row was there.
    pub is_found: bool,
}

/// A shard that a relay works on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    /// Whether its epoch is the cursor's.
    pub is_current: bool,
    /// What is settled without a gap.
    pub place: Place,
    /// Events of the run above that are settled all the same.
    pub settled: u8,
}

/// What a relay is to do about the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wants {
    /// Nothing.
    Nothing,
    /// It is free, and nobody has claimed it since that was seen.
    Take,
    /// Others should have it.
    Release,
}

/// A request to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    /// Its event.
    pub event: u8,
    /// Who waits for the answer.
    pub by: Option<usize>,
    /// Whether its time is not over.
    pub is_recent: bool,
    /// Whether the target has it.
    pub is_applied: bool,
}

impl Relay {
    /// Nothing in memory, nothing on the list.
    pub fn absent() -> Self {
        Self {
            life: Life::Down,
            is_listed: false,
            lease: None,
            asked: None,
            seen: [None; 3],
            held: None,
            wants: Wants::Nothing,
            given_up: None,
        }
    }
}

impl Held {
    /// Moves over what is settled without a gap.
    pub fn advance(&mut self, log: &Log, reads_open: bool) {
        let Some((run, position)) = self.place.run() else {
            return;
        };
        let rows = log.rows(&run, position, reads_open);
        let settled = rows.iter().take_while(|event| self.settled & 1 << **event != 0).count();
        for event in &rows[..settled] {
            self.settled &= !(1 << *event);
        }
        if settled == rows.len() {
            self.place = Place {
                base: run.completed(),
                under_way: None,
            };
        } else if let (Some(last), Some((_, position))) = (rows[..settled].last(), &mut self.place.under_way) {
            *position = seq(*last);
        }
    }
}

impl World {
    pub(super) fn first(setting: &Setting) -> Self {
        Self {
            log: Log {
                old: if setting.has_old { Old::Open } else { Old::RolledBack },
                keyed: if setting.is_written { setting.keyed } else { 0 },
            },
            cursor: Place {
                base: Base::beginning(),
                under_way: None,
            },
            owner: None,
            has_ghost: false,
            relays: [Relay::absent(), Relay::absent()],
            requests: Vec::new(),
            taken: 0,
            confirmed: 0,
            late: 0,
            crashes: setting.crashes,
            stops: setting.stops,
            disconnects: setting.disconnects,
            slow: setting.slow,
            broken: None,
        }
    }

    /// Whether an event is confirmed, and passed.
    pub(super) fn is_done(&self, event: u8) -> bool {
        self.confirmed & 1 << event != 0 && is_passed(&self.cursor, event)
    }

    /// Events that nobody reads any more.
    pub(super) fn passed(&self) -> u8 {
        let passed = self.log.committed().filter(|event| is_passed(&self.cursor, *event));
        passed.fold(0, |mask, event| mask | 1 << event)
    }

    pub(super) fn broken_promise(&self) -> Option<&'static str> {
        if self.passed() & !self.confirmed != 0 {
            Some(NOTHING_PASSED)
        } else if self.taken & 0b100 != 0 && self.taken & 0b010 == 0 {
            Some(IN_ORDER)
        } else if self.log.old == Old::RolledBack && self.taken & 1 << OLD != 0 {
            Some(NOTHING_ROLLED_BACK)
        } else {
            None
        }
    }

    /// Forgets what makes no difference.
    pub(super) fn tidy(&mut self) {
        for request in &self.requests {
            if request.by.is_none() && !request.is_recent && !request.is_applied {
                self.late |= 1 << request.event;
            }
        }
        self.late &= !self.taken;
        self.requests
            .retain(|request| request.by.is_some() || request.is_recent);
        self.requests.sort_unstable();
    }

    /// Nobody waits any more for what this relay has sent. Returns whether there was anything.
    pub(super) fn give_up(&mut self, me: usize) -> bool {
        let mut any = false;
        for request in self.requests.iter_mut().filter(|request| request.by == Some(me)) {
            request.by = None;
            any = true;
        }
        any
    }

    /// A relay stops working on the shard, whatever is on its way.
    pub(super) fn drop_held(&mut self, me: usize) {
        self.relays[me].held = None;
        if self.give_up(me) {
            self.relays[me].given_up = Some(0);
        }
    }

    /// A row is taken off the list, and with it what others have seen of it and its ownership.
    pub(super) fn unlist(&mut self, row: usize) {
        match row {
            GHOST => self.has_ghost = false,
            relay => self.relays[relay].is_listed = false,
        }
        if self.owner == Some(row) {
            self.owner = None;
        }
        for relay in &mut self.relays {
            relay.seen[row] = None;
        }
    }

    /// The rows of the list.
    pub(super) fn rows(&self) -> impl Iterator<Item = usize> {
        let listed = [self.relays[0].is_listed, self.relays[1].is_listed, self.has_ghost];
        (0..3).filter(move |row| listed[*row])
    }
}
