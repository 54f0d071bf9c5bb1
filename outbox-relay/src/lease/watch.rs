//! Who has stopped beating.

use std::{collections::HashMap, time::Duration};

use super::term::Moment;
use crate::planted::{Bug, is_planted};

/// A row of `oncebox.relay`, as one look shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The relay.
    pub relay: String,
    /// Its counter.
    pub beat: i64,
    /// How long the relay may publish after a beat.
    pub term: Duration,
}

/// Two machines' clocks may run at speeds that differ by this part: a watcher waits that much longer.
pub(super) const CLOCKS_DIFFER: u32 = 20;

/// What one relay knows about the beats of the others: each with the moment since which it has not
/// changed. Starts from nothing, so a relay that has just started waits a whole term before it
/// declares anybody dead.
#[derive(Debug, Default)]
pub struct Watch {
    seen: HashMap<String, (i64, Moment)>,
}

impl Watch {
    /// Notes what a look has shown. `now` is taken after the answer was read. Returns the beats that
    /// have stood still for their term: whoever still has one of them may not publish any more.
    pub fn observe(&mut self, beats: &[Beat], now: Moment) -> Vec<Beat> {
        self.seen
            .retain(|relay, _| beats.iter().any(|beat| beat.relay == *relay));
        let mut dead = Vec::new();
        for beat in beats {
            let (number, since) = self.seen.entry(beat.relay.clone()).or_insert((beat.beat, now));
            if *number != beat.beat {
                (*number, *since) = (beat.beat, now);
            } else if now.since(*since) >= patience(beat.term) {
                dead.push(beat.clone());
            }
        }
        dead
    }
}

fn patience(term: Duration) -> Duration {
    if is_planted(Bug::DeadTooEarly) {
        return term / 4;
    }
    term + term / CLOCKS_DIFFER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(relay: &str, beat: i64) -> Beat {
        Beat {
            relay: relay.to_owned(),
            beat,
            term: Duration::from_nanos(100),
        }
    }

    #[test]
    fn a_relay_is_dead_when_one_beat_was_seen_for_a_whole_term() {
        let mut watch = Watch::default();
        let at = Moment::of_nanos;
        assert_eq!(watch.observe(&[beat("a", 7), beat("b", 1)], at(1_000)), []);
        assert_eq!(watch.observe(&[beat("a", 7), beat("b", 2)], at(1_099)), []);
        assert_eq!(watch.observe(&[beat("a", 7), beat("b", 2)], at(1_104)), []);
        assert_eq!(watch.observe(&[beat("a", 7), beat("b", 2)], at(1_105)), [beat("a", 7)]);
        assert_eq!(
            watch.observe(&[beat("a", 8), beat("b", 2)], at(1_150)),
            [],
            "it has beaten after all"
        );
        assert_eq!(
            watch.observe(&[beat("a", 8), beat("b", 2)], at(1_204)),
            [beat("b", 2)],
            "counted from when the beat was first seen"
        );
    }

    #[test]
    fn a_relay_that_comes_back_is_counted_anew() {
        let mut watch = Watch::default();
        let at = Moment::of_nanos;
        watch.observe(&[beat("a", 7)], at(0));
        watch.observe(&[], at(50));
        assert_eq!(watch.observe(&[beat("a", 7)], at(120)), []);

        // Though another one was there all the time.
        let mut watch = Watch::default();
        watch.observe(&[beat("a", 7), beat("b", 1)], at(0));
        watch.observe(&[beat("b", 1)], at(50));
        assert_eq!(watch.observe(&[beat("a", 7), beat("b", 1)], at(120)), [beat("b", 1)]);
    }
}
