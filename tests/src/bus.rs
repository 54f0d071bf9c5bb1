//! An EventBridge event bus of a test's own.

use anyhow::{Context, Result};
use aws_sdk_eventbridge::{Client, types::Target};

use crate::{Queue, Stack, cleanup, unique};

const RULE: &str = "all";

/// An event bus in LocalStack whose events all go to a queue; deleted with this value.
#[derive(Debug)]
pub struct Bus {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    endpoint: String,
}

impl Bus {
    /// Makes a bus with one rule that matches `pattern` (JSON) and hands the matching events to `queue`.
    ///
    /// # Errors
    /// LocalStack does not answer, or refuses.
    pub async fn to_queue(stack: &Stack, pattern: &str, queue: &Queue) -> Result<Self> {
        let client = stack.eventbridge();
        let name = unique("b");
        let created = client.create_event_bus().name(&name).send().await;
        let arn = created.with_context(|| format!("creating event bus {name}"))?;
        let bus = Self {
            arn: arn.event_bus_arn.context("an event bus without an ARN")?,
            name,
            endpoint: stack.endpoint.clone(),
        };
        let rule = client.put_rule().event_bus_name(&bus.name).name(RULE);
        rule.event_pattern(pattern).send().await.context("making a rule")?;
        let target = Target::builder().id("queue").arn(&queue.arn).build()?;
        let targets = client.put_targets().event_bus_name(&bus.name).rule(RULE);
        targets
            .targets(target)
            .send()
            .await
            .context("giving the rule a target")?;
        Ok(bus)
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let name = self.name.clone();
        cleanup::run_with_aws(self.endpoint.clone(), async move |config| {
            let client = Client::new(&config);
            let targets = client.remove_targets().event_bus_name(&name).rule(RULE);
            let _ = targets.ids("queue").send().await;
            let _ = client.delete_rule().event_bus_name(&name).name(RULE).send().await;
            let _ = client.delete_event_bus().name(name).send().await;
        });
    }
}
