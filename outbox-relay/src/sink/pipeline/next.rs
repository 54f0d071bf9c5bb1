//! What the loop does with the database next, and when it wakes.

use std::time::Duration;

use tokio::time::Instant;

use super::{Pipeline, job::Job, poll::LONGEST};
use crate::{
    log::{Seq, connection::Connection, page::PageLimits},
    publish::Publisher,
    sink::{
        outgoing::{Origin, Outgoing},
        reader::PageWanted,
    },
};

const PAGE: PageLimits = PageLimits {
    span: 1_000,
    max_bytes: 4 * 1024 * 1024,
};
/// How often it is asked whether parked events are to be sent again, where there are any.
const ASK_FOR_RETRIES: Duration = Duration::from_millis(500);
/// Most parked events that are on their way again at once.
const MAX_LOADED: usize = 2_000;
/// Most events, and bytes of them, whose payload is loaded again at once.
const MAX_AGAIN: (usize, usize) = (500, 4 * 1024 * 1024);
/// How often the log is measured while nothing may be read.
const MEASURE: Duration = Duration::from_secs(1);

impl<P: Publisher, C: Connection> Pipeline<P, C> {
    pub(super) fn next_wake(&self) -> Instant {
        let mut wake = self.next_due();
        if self.desk.is_idle() {
            wake = wake.min(if self.has_room() { self.pace.next } else { self.measure });
            wake = self
                .saving
                .due(|| self.reader.has_moved())
                .map_or(wake, |due| wake.min(due));
            if self.parking.any {
                wake = wake.min(self.ask_for_retries);
            }
        }
        wake
    }

    /// When something is to be sent; soon, where it is the lease that forbids it now.
    pub(super) fn next_due(&self) -> Instant {
        let wake = Instant::now() + LONGEST;
        self.dispatch.next_due().map_or(wake, |due| wake.min(due))
    }

    /// What to do with the database next: write what is due, load what was given up and is needed, send
    /// again what was parked, read on, look for more.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        let now = Instant::now();
        if self
            .saving
            .due(|| self.reader.has_moved())
            .is_some_and(|due| due <= now)
        {
            return Some(self.save());
        }
        if self.dispatch.wants_load() && !std::mem::replace(&mut self.has_loaded, true) {
            return Some(self.load());
        }
        self.has_loaded = false;
        if self.parking.any && self.ask_for_retries <= now {
            self.ask_for_retries = now + ASK_FOR_RETRIES;
            let loaded = self.parking.loaded();
            let has_room = self.dispatch.held_bytes() < self.sink.max_held_bytes && self.held.is_empty();
            if loaded.len() < MAX_LOADED && has_room && !self.parking.has_changes() {
                return Some(Job::Retries { loaded });
            }
        }
        if !self.has_room() {
            if self.dispatch.wants_load() {
                self.has_loaded = true;
                return Some(self.load());
            }
            if self.measure > now {
                return None;
            }
            self.measure = now + MEASURE;
            return Some(Job::Measure);
        }
        let is_due = self.pace.next <= now && self.reader.wants_look();
        match self.reader.next_page() {
            Some(wanted) if !is_due => Some(self.page(wanted)),
            _ if is_due => Some(Job::Look(self.poll)),
            _ if self.dispatch.wants_load() => Some(self.load()),
            _ => None,
        }
    }

    fn page(&self, wanted: PageWanted) -> Job {
        let room = self.sink.max_window.saturating_sub(self.reader.len());
        let limits = PageLimits {
            span: PAGE.span.min(Seq::try_from(room).unwrap_or(PAGE.span)),
            ..PAGE
        };
        Job::Page {
            wanted: Box::new(wanted),
            limits,
            ask_parked: self.parking.any,
        }
    }

    pub(super) fn save(&mut self) -> Job {
        self.saving.begins();
        let changes = self.parking.take();
        let claims = self.reader.places(&self.sink.name, !changes.is_empty());
        self.saving_held.append(&mut self.held);
        Job::Save { claims, changes }
    }

    pub(super) fn load(&self) -> Job {
        let (max_events, max_bytes) = MAX_AGAIN;
        let is_parked = |event: &&Outgoing| matches!(event.origin, Origin::Parked(_));
        let wanted = self.dispatch.wanted(max_events, max_bytes);
        let (parked, log): (Vec<&Outgoing>, Vec<&Outgoing>) = wanted.into_iter().partition(is_parked);
        let seqs = |events: Vec<&Outgoing>| events.into_iter().map(|event| event.seq).collect();
        Job::Load {
            log: seqs(log),
            parked: seqs(parked),
        }
    }

    /// Lets what is stuck give up its payload, when it leaves no room for others.
    pub(super) fn make_room(&mut self) {
        if self.dispatch.held_bytes() >= self.sink.max_held_bytes {
            self.dispatch.unload_blocked(self.sink.max_held_bytes / 2);
        }
    }

    /// Whether another page may be read: bounded events, bytes and runs, whatever the backlog.
    fn has_room(&self) -> bool {
        let enough_to_send = self.sink.max_in_flight * self.sink.limits.max_entries + PAGE.span.unsigned_abs() as usize;
        self.reader.len() + self.passed.len() < self.sink.max_window
            && self.parking.changes() < self.sink.max_window
            && self.dispatch.held_bytes() < self.sink.max_held_bytes
            && self.dispatch.ready() < enough_to_send
            && self.held.is_empty()
    }
}
