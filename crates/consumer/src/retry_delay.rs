//! When a message that failed is delivered again.

use std::time::Duration;

use rand::RngExt as _;

/// When a record that goes back to its queue is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryDelay {
    /// After 1, 2, 4, … seconds by receive count, at most 15 minutes, half of it random.
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

/// The delay after the `receive_count`th delivery, in whole seconds.
///
/// `at_least` is the first delay where it is known that coming earlier is of no use.
pub(crate) fn delay_secs(receive_count: u32, at_least: Option<Duration>, rng: &mut impl rand::Rng) -> i32 {
    let doublings = receive_count.saturating_sub(1).min(16);
    // Half of a delay is random, and the shorter half must be long enough.
    let first = at_least.map_or(FIRST, |least| (least * 2).max(FIRST));
    let full = first.saturating_mul(2_u32.pow(doublings)).min(LONGEST);
    let full = full.as_secs() + u64::from(full.subsec_nanos() > 0);
    let secs = rng.random_range(full.div_ceil(2)..=full);
    i32::try_from(secs).unwrap_or(i32::MAX)
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

    #[test]
    fn delays_double_with_each_delivery_and_end_at_fifteen_minutes() {
        let mut rng = rand::rng();
        for (count, least, most) in [
            (0, 1, 1),
            (1, 1, 1),
            (2, 1, 2),
            (5, 8, 16),
            (11, 450, 900),
            (u32::MAX, 450, 900),
        ] {
            let secs = delay_secs(count, None, &mut rng);
            assert!((least..=most).contains(&secs), "{count}: {secs}");
        }
    }

    #[test]
    fn a_delay_that_is_known_is_waited_at_least() {
        let mut rng = rand::rng();
        for (count, after_ms, least, most) in [
            (1, 15_000, 15, 30),
            (2, 15_000, 30, 60),
            (9, 15_000, 450, 900),
            (1, 100, 1, 1),
        ] {
            let secs = delay_secs(count, Some(Duration::from_millis(after_ms)), &mut rng);
            assert!((least..=most).contains(&secs), "{count}: {secs}");
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
