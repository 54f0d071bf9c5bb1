//! A bus's rules.

use aws_sdk_eventbridge::types::RuleState;

use super::EventBus;
use crate::publish::{
    inspect::Remark,
    listing::{self, Listed},
};

impl EventBus {
    pub(in crate::publish) async fn inspect(&self) -> Vec<Remark> {
        let Listed { elements, error } = listing::rules(&self.client, &self.arn).await;
        if let Some(error) = error {
            return vec![Remark::unread("its rules", "events:ListRules", &error)];
        }
        let enabled = elements
            .iter()
            .filter(|rule| rule.state() != Some(&RuleState::Disabled));
        vec![match enabled.count() {
            0 => Remark::warning(
                "has no rule that is enabled: EventBridge confirms events that no rule matches, and drops them; make a rule",
            ),
            rules => Remark::ok(format!("has {rules} rules")),
        }]
    }
}
