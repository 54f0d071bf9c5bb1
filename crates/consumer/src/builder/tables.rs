//! Where transactional and leased handlers keep their records and effects, and what they emit to.

use super::ConsumerBuilder;
use crate::{
    outbox::Target,
    start_error::{StartError, required_env},
};

impl ConsumerBuilder {
    /// Where transactional handlers keep their dedupe records.
    pub fn dedupe(mut self, dedupe: crate::DynamoDbDedupe) -> Self {
        self.dedupe = Some(dedupe);
        self
    }

    /// Names a table: effects on `alias` go to the table `name`. A table that has no alias is
    /// called by its own name.
    pub fn table(mut self, alias: impl Into<String>, name: impl Into<String>) -> Self {
        self.tables.insert(alias.into(), name.into());
        self
    }

    /// Like [`table`](Self::table), with the name from an environment variable that must be set.
    pub fn table_from_env(mut self, alias: impl Into<String>, variable: &str) -> Self {
        match required_env(variable, "the name of a DynamoDB table") {
            Ok(name) => self.table(alias, name),
            Err(error) => {
                self.fail(error);
                self
            }
        }
    }

    /// The table that holds what transactional handlers emit until it is sent: partition key `pk` and sort key `sk`,
    /// both strings, no TTL. It is reached by the client of [`dedupe`](Self::dedupe).
    ///
    /// What an invocation leaves unsent, a later one sends; so that there is one, let a schedule invoke the function
    /// with `{"Records": []}` every few minutes.
    pub fn outbox(mut self, table: impl Into<String>) -> Self {
        self.outbox = Some(table.into());
        self
    }

    /// Names a target for [`Effects::emit`](crate::Effects::emit): an SQS queue by its URL, an SNS topic (feature `sns`) or an
    /// EventBridge event bus (feature `eventbridge`) by its ARN, all in the function's region. FIFO queues and topics, whose
    /// names end in `.fifo`, get the events of a key in the order in which their causes have had their effects.
    pub fn target(mut self, alias: impl Into<String>, address: impl AsRef<str>) -> Self {
        let alias = alias.into();
        match Target::new(address.as_ref()) {
            Ok(target) => {
                self.targets.insert(alias, target);
            }
            Err(problem) => self.fail(StartError::InvalidTarget { target: alias, problem }),
        }
        self
    }

    /// Like [`outbox`](Self::outbox), with the name from an environment variable that must be set.
    pub fn outbox_from_env(mut self, variable: &str) -> Self {
        match required_env(variable, "the name of the DynamoDB table for emitted events") {
            Ok(table) => self.outbox(table),
            Err(error) => {
                self.fail(error);
                self
            }
        }
    }

    /// Like [`target`](Self::target), with the address from an environment variable that must be set.
    pub fn target_from_env(mut self, alias: impl Into<String>, variable: &str) -> Self {
        match required_env(
            variable,
            "the URL of an SQS queue, or the ARN of an SNS topic or an event bus",
        ) {
            Ok(address) => self.target(alias, address),
            Err(error) => {
                self.fail(error);
                self
            }
        }
    }
}
