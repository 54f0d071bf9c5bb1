//! A bus's rules.

use aws_sdk_eventbridge::types::RuleState;

use super::EventBus;
use crate::publish::inspect::Remark;

impl EventBus {
    pub(in crate::publish) async fn inspect(&self) -> Vec<Remark> {
        // The first hundred tell enough.
        let listed = match self.client.list_rules().event_bus_name(&self.arn).send().await {
            Ok(listed) => listed.rules.unwrap_or_default(),
            Err(error) => return vec![Remark::unread("its rules", "events:ListRules", &error)],
        };
        let enabled = listed.iter().filter(|rule| rule.state() != Some(&RuleState::Disabled));
        vec![match enabled.count() {
            0 => Remark::warning(
                "has no rule that is enabled: EventBridge confirms events that no rule matches, and drops them; make a rule",
            ),
            rules => Remark::ok(format!("has {rules} rules")),
        }]
    }
}
