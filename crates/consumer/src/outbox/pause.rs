//! Targets that do not answer are left alone for a while: waiting for them holds up the batch and what goes elsewhere.

use std::{collections::HashMap, time::Duration};

use super::target::Target;
use crate::time::Instant;

/// A request that fails sooner holds nobody up.
const SLOW: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60);

/// Which targets of a process are left alone, and until when. Pure.
#[derive(Default)]
pub(super) struct Pauses(HashMap<Target, Pause>);

struct Pause {
    until: Instant,
    length: Duration,
}

impl Pauses {
    /// How long a target is still left alone.
    pub(super) fn left(&self, target: &Target, now: Instant) -> Option<Duration> {
        let left = self.0.get(target)?.until.saturating_duration_since(now);
        (left > Duration::ZERO).then_some(left)
    }

    /// A request to a target has ended after so long; whether anything of it has arrived.
    pub(super) fn ended(&mut self, target: &Target, has_arrived: bool, took: Duration, now: Instant) {
        if has_arrived {
            self.0.remove(target);
        } else if took >= SLOW {
            let length = self.0.get(target).map_or(FIRST, |pause| pause.length * 2).min(LONGEST);
            let until = now + length;
            self.0.insert(target.clone(), Pause { until, length });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    fn who_does_not_answer_is_left_alone_for_longer_and_longer_and_not_once_it_answers() {
        let [slow, other] = ["a", "b"].map(|name| Target::new(&format!("https://sqs.test/0/{name}")).unwrap());
        let mut pauses = Pauses::default();
        let mut now = time::now();
        pauses.ended(&slow, false, SLOW / 2, now);
        assert_eq!(pauses.left(&slow, now), None);
        for secs in [10, 20, 40, 60, 60] {
            pauses.ended(&slow, false, SLOW, now);
            let length = Duration::from_secs(secs);
            assert_eq!(
                (pauses.left(&slow, now), pauses.left(&other, now)),
                (Some(length), None)
            );
            now += length;
            assert_eq!(pauses.left(&slow, now), None);
        }
        pauses.ended(&slow, true, SLOW, now);
        pauses.ended(&slow, false, SLOW, now);
        assert_eq!(pauses.left(&slow, now), Some(FIRST));
    }
}
