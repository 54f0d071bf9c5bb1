//! When a message that failed is delivered again.

use std::time::Duration;

/// When a record that goes back to its queue is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryDelay {
    /// After 1, 2, 4, … seconds by receive count, at most 15 minutes, half of it random. What a
    /// [`GapGuard`](crate::GapGuard) holds comes again when its turn may have come instead, however often it was delivered.
    ///
    /// Best effort, by `ChangeMessageVisibility`; where that fails, the queue's visibility timeout
    /// counts. On FIFO the messages of a group get one delay, by the count of the first that goes back:
    /// SQS hands out none of a group while any of it is in flight, so its order does not depend on it.
    #[default]
    ByReceiveCount,
    /// When the queue's visibility timeout is over.
    QueueDefault,
}

/// Delays double from this one.
const FIRST: Duration = Duration::from_secs(1);
/// No delay is longer; SQS itself would allow twelve hours from the receive on (Amazon SQS API
/// Reference, `ChangeMessageVisibility`).
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What an event's delay is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Retry {
    /// How often it was delivered.
    #[default]
    ByCount,
    /// How often another one was delivered that must go before it.
    ByCountOf(u32),
    /// Coming earlier than this is of no use; by how often it was delivered from there on.
    AtLeast(Duration),
    /// Its place in its key: it is worth coming when those before it have had their turn.
    InTurn {
        /// How many of them are missing.
        missing: u64,
        /// How long its key has stood still while it waited.
        waited: Duration,
    },
}

impl Retry {
    /// The least delay, where it is known.
    pub(crate) fn known(self) -> Option<Duration> {
        match self {
            Self::ByCount | Self::ByCountOf(_) => None,
            Self::AtLeast(least) => Some(least),
            Self::InTurn { .. } => Some(self.full(1) / 2),
        }
    }

    /// The longest delay after the `receive_count`th delivery; half of it is random.
    fn full(self, receive_count: u32) -> Duration {
        let doubled = |first: Duration, count: u32| first.saturating_mul(2_u32.pow(count.saturating_sub(1).min(16)));
        let full = match self {
            Self::ByCount => doubled(FIRST, receive_count),
            Self::ByCountOf(receive_count) => doubled(FIRST, receive_count),
            // The shorter half must be long enough.
            Self::AtLeast(least) => doubled((least * 2).max(FIRST), receive_count),
            // A key's backlog goes on by about one event in a second; one that stands still is asked less and less.
            Self::InTurn { missing, waited } => (FIRST + PER_EVENT.saturating_mul(clamped(missing))).max(waited),
        };
        full.min(LONGEST)
    }
}

/// What an event that is too early waits for each that is missing before it.
const PER_EVENT: Duration = Duration::from_secs(1);

fn clamped(missing: u64) -> u32 {
    u32::try_from(missing).unwrap_or(u32::MAX)
}

/// The delay of a message after its `receive_count`th delivery, in whole seconds; `chance`, from 0 to below 1, is what is
/// random in it.
///
/// Of the events in it, those that wait for their turn are worth it when the first one's has come; the others when
/// the slowest is.
pub(crate) fn delay_secs(receive_count: u32, events: &[Retry], chance: f64) -> i32 {
    let full = |retry: &Retry| retry.full(receive_count);
    let (in_turn, others): (Vec<&Retry>, Vec<&Retry>) =
        events.iter().partition(|retry| matches!(retry, Retry::InTurn { .. }));
    let first_turn = in_turn.into_iter().map(full).min();
    let slowest = others.into_iter().map(full).max();
    let full = first_turn.max(slowest).unwrap_or(FIRST);
    let full = full.as_secs() + u64::from(full.subsec_nanos() > 0);
    let least = full.div_ceil(2);
    // At most 900: no digit is lost, and the product is below the number of choices.
    let further = ((full - least + 1) as f64 * chance) as u64;
    i32::try_from((least + further).min(full)).unwrap_or(i32::MAX)
}

/// The URL of a queue, which `ChangeMessageVisibility` asks for, from its ARN.
///
/// As Amazon SQS writes it (Developer Guide, "Queue and message identifiers"). An endpoint of the
/// SDK's own configuration goes before the host of the URL.
pub(crate) fn queue_url(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sqs", region, account, name] => {
            let suffix = if *partition == "aws-cn" {
                "amazonaws.com.cn"
            } else {
                "amazonaws.com"
            };
            Some(format!("https://sqs.{region}.{suffix}/{account}/{name}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANCES: [f64; 4] = [0.0, 0.3, 0.7, 1.0 - f64::EPSILON];

    #[test]
    fn delays_double_with_each_delivery_and_end_at_fifteen_minutes() {
        for (count, least, most) in [
            (0, 1, 1),
            (1, 1, 1),
            (2, 1, 2),
            (5, 8, 16),
            (11, 450, 900),
            (u32::MAX, 450, 900),
        ] {
            let secs = CHANCES.map(|chance| delay_secs(count, &[Retry::ByCount], chance));
            assert!(
                secs.iter().all(|secs| (least..=most).contains(secs)),
                "{count}: {secs:?}"
            );
            assert_eq!((secs[0], secs[3]), (least, most), "every one of them may come");
        }
    }

    #[test]
    fn a_delay_that_is_known_is_waited_at_least() {
        for (count, after_ms, least, most) in [
            (1, 15_000, 15, 30),
            (2, 15_000, 30, 60),
            (9, 15_000, 450, 900),
            (1, 100, 1, 1),
        ] {
            let retry = Retry::AtLeast(Duration::from_millis(after_ms));
            let secs = CHANCES.map(|chance| delay_secs(count, &[retry], chance));
            assert!(
                secs.iter().all(|secs| (least..=most).contains(secs)),
                "{count}: {secs:?}"
            );
        }
    }

    #[test]
    fn what_waits_for_its_turn_comes_when_that_may_have_come_however_often_it_was_delivered() {
        let turn = |missing, waited_secs| Retry::InTurn {
            missing,
            waited: Duration::from_secs(waited_secs),
        };
        let cases: [(&[Retry], _, _); 11] = [
            (&[turn(0, 0)], 1, 1),
            (&[turn(0, 16)], 8, 16),
            (&[turn(1, 0)], 1, 2),
            (&[turn(9, 0)], 5, 10),
            (&[turn(u64::MAX, 0)], 450, 900),
            (&[turn(9, 7)], 5, 10),
            (&[turn(9, 100)], 50, 100),
            (&[turn(1, 3_000)], 450, 900),
            // Several in one message: the first whose turn comes, but not before a lease is over.
            (&[turn(30, 0), turn(9, 0), turn(31, 0)], 5, 10),
            (&[turn(30, 0), Retry::ByCountOf(3)], 16, 31),
            (&[turn(1, 0), Retry::ByCountOf(6)], 16, 32),
        ];
        for (events, least, most) in cases {
            for count in [1, 9] {
                let secs = CHANCES.map(|chance| delay_secs(count, events, chance));
                assert!(
                    secs.iter().all(|secs| (least..=most).contains(secs)),
                    "{events:?}: {secs:?}"
                );
            }
        }
    }

    #[test]
    fn the_url_of_a_queue_follows_from_its_arn() {
        assert_eq!(
            queue_url("arn:aws:sqs:eu-west-1:123456789012:orders").as_deref(),
            Some("https://sqs.eu-west-1.amazonaws.com/123456789012/orders")
        );
        assert_eq!(
            queue_url("arn:aws-cn:sqs:cn-north-1:1:q").as_deref(),
            Some("https://sqs.cn-north-1.amazonaws.com.cn/1/q")
        );
        assert_eq!(queue_url("arn:aws:sns:eu-west-1:1:topic"), None);
    }
}
