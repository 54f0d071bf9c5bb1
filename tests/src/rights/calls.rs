//! What a proxy has seen a process ask for.

use std::collections::BTreeSet;

use super::Need;
use crate::Request;

/// Every kind of call that was seen, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// Such as `sqs:SendMessageBatch`: the API's operation, which is not always the right's name.
    pub operations: BTreeSet<String>,
    /// The rights that these calls ask for.
    pub needs: BTreeSet<Need>,
    /// Calls of which nobody has written down what they ask for.
    pub unknown: BTreeSet<String>,
}

impl Calls {
    pub(crate) fn add(&mut self, request: &Request) {
        self.operations.insert(request.full_operation());
        match Need::of(request) {
            Ok(needs) => self.needs.extend(needs),
            Err(unknown) => {
                self.unknown.insert(unknown);
            }
        }
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.operations.extend(others.operations);
        self.needs.extend(others.needs);
        self.unknown.extend(others.unknown);
        self
    }
}
