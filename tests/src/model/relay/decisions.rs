//! The relay's own decisions about time, asked in ticks.

use std::time::Duration;

use outbox_relay::lease::{
    term::{Clock, Lease, Moment, Terms},
    watch::{Beat, Watch},
};

/// A tick in the relay's units.
const TICK: Duration = Duration::from_nanos(20);
/// Ticks of a term.
pub(super) const TERM: u8 = 2;
/// From here on a beat that stands still is as old as it may get: a term and its margin are over.
pub(super) const STILL: u8 = 3;

const TERMS: Terms = Terms {
    term: Duration::from_nanos(40),
    beat: TICK,
    request_timeout: TICK,
    clock: Clock::Machine,
};

/// The names that relays have on the list.
pub(super) const NAMES: [&str; 3] = ["a", "b", "ghost"];

/// A moment so many ticks after an early one.
fn moment(ticks: u8) -> Moment {
    Moment::of_nanos(1_000 + 20 * u64::from(ticks))
}

/// Whether who has this lease may begin a request: the relay's own decision.
pub(super) fn may_send(lease: Option<u8>) -> bool {
    let beats = Lease::new(TERMS);
    if let Some(age) = lease {
        beats.extend(moment(TERM - age));
    }
    beats.may_send_at(moment(TERM))
}

/// Whether who has stood still for so long is dead: the relay's own decision.
pub(super) fn is_dead(age: u8) -> bool {
    let beat = Beat {
        relay: NAMES[0].to_owned(),
        beat: 1,
        term: TERMS.term,
    };
    let mut watch = Watch::default();
    watch.observe(std::slice::from_ref(&beat), moment(0));
    !watch.observe(&[beat], moment(age)).is_empty()
}
