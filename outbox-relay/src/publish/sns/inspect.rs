//! A topic's subscriptions.

use std::collections::HashMap;

use super::SnsTopic;
use crate::publish::{
    inspect::{Remark, Use},
    listing::{self, Listed},
};

/// Most subscriptions that are asked for their attributes.
const MAX_ASKED: usize = 50;
const PENDING: &str = "PendingConfirmation";

/// What the subscriptions of a topic are like.
#[derive(Debug, Default)]
struct Subscriptions {
    confirmed: usize,
    pending: usize,
    /// Queues without raw message delivery.
    wrapped: usize,
    /// With a filter policy on message attributes.
    filtered: usize,
}

impl SnsTopic {
    pub(in crate::publish) async fn inspect(&self, used: Use) -> Vec<Remark> {
        let Listed { elements, error } = listing::subscriptions(&self.client, &self.arn).await;
        if let Some(error) = error {
            return vec![Remark::unread(
                "its subscriptions",
                "sns:ListSubscriptionsByTopic",
                &error,
            )];
        }
        let mut found = Subscriptions::default();
        for subscription in &elements {
            let arn = subscription.subscription_arn().unwrap_or_default();
            if arn == PENDING {
                found.pending += 1;
                continue;
            }
            found.confirmed += 1;
            if found.confirmed > MAX_ASKED {
                continue;
            }
            let asked = self.client.get_subscription_attributes().subscription_arn(arn);
            match asked.send().await {
                Ok(attributes) => {
                    let is_queue = subscription.protocol() == Some("sqs");
                    found.add(is_queue, &attributes.attributes.unwrap_or_default());
                }
                Err(error) => {
                    let what = "the attributes of its subscriptions";
                    return vec![Remark::unread(what, "sns:GetSubscriptionAttributes", &error)];
                }
            }
        }
        found.judge(used)
    }
}

impl Subscriptions {
    /// Amazon SNS API reference, `GetSubscriptionAttributes`.
    fn add(&mut self, is_queue: bool, attributes: &HashMap<String, String>) {
        let is = |name: &str, value: &str| attributes.get(name).is_some_and(|found| found == value);
        if is_queue && !is("RawMessageDelivery", "true") {
            self.wrapped += 1;
        }
        let has_filter = attributes
            .get("FilterPolicy")
            .is_some_and(|policy| !matches!(policy.trim(), "" | "{}"));
        if has_filter {
            self.filtered += 1;
        }
    }

    fn judge(&self, used: Use) -> Vec<Remark> {
        let mut remarks = Vec::new();
        if self.confirmed == 0 {
            remarks.push(Remark::warning(
                "has no confirmed subscription: what is published goes nowhere; subscribe a queue",
            ));
        } else {
            remarks.push(Remark::ok(format!("has {} subscriptions", self.confirmed)));
        }
        if self.confirmed > MAX_ASKED {
            remarks.push(Remark::ok(format!(
                "the first {MAX_ASKED} of its subscriptions were asked for raw delivery and filter policies, not the others"
            )));
        }
        if self.pending > 0 {
            let pending = self.pending;
            remarks.push(Remark::warning(format!(
                "{pending} of its subscriptions wait to be confirmed and get nothing"
            )));
        }
        if self.wrapped > 0 {
            let wrapped = self.wrapped;
            remarks.push(Remark::ok(format!(
                "{wrapped} of its queues are subscribed without raw message delivery: consumers of Oncebox read both, \
                 others find an SNS notification around the envelope"
            )));
        }
        if used.bundles && self.filtered > 0 {
            let filtered = self.filtered;
            remarks.push(Remark::warning(format!(
                "{filtered} of its subscriptions have a filter policy, and the sink makes bundles: a bundle has no \
                 attributes of its events to match; leave `bundle` out, or filter with sinks of their own"
            )));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::inspect::Weight;

    #[test]
    fn filters_and_bundles_do_not_go_together() {
        let mut found = Subscriptions {
            confirmed: 1,
            ..Subscriptions::default()
        };
        found.add(
            true,
            &HashMap::from([("FilterPolicy".to_owned(), "{\"ce-type\":[\"a\"]}".to_owned())]),
        );
        let used = |bundles| Use {
            bundles,
            claim_check: false,
        };
        let warnings = |remarks: Vec<Remark>| remarks.iter().filter(|r| r.weight == Weight::Warning).count();
        assert_eq!(warnings(found.judge(used(true))), 1);
        assert_eq!(warnings(found.judge(used(false))), 0);
        assert_eq!(found.wrapped, 1);
        let told = |confirmed| {
            let many = Subscriptions {
                confirmed,
                ..Subscriptions::default()
            };
            many.judge(used(false))
                .iter()
                .any(|remark| remark.text.contains("the first 50"))
        };
        assert_eq!((told(50), told(51)), (false, true), "what was not looked at is told");
        assert_eq!(
            warnings(Subscriptions::default().judge(used(true))),
            1,
            "nobody listens"
        );
    }
}
