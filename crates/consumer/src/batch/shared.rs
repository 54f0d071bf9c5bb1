//! What the lanes of a batch share.

#[cfg(feature = "dynamodb")]
use crate::{dynamodb::TransactionalBatch, outbox::Posting, outcome::Outcome};
use crate::{invocation::Invocation, record::Delivery, settlement::EventReport};

/// What the lanes of a batch share.
pub(super) struct Shared<'a> {
    pub(super) delivery: &'a Delivery,
    pub(super) invocation: &'a Invocation,
    #[cfg(feature = "dynamodb")]
    pub(super) transactional: Option<TransactionalBatch<'a>>,
    /// Sends what is emitted.
    #[cfg(feature = "dynamodb")]
    pub(super) posting: Option<&'a Posting<'a>>,
}

#[cfg(feature = "dynamodb")]
impl Shared<'_> {
    pub(super) async fn commit(&self) {
        if let Some(transactional) = &self.transactional {
            transactional.committer.run().await;
        }
    }

    /// Nothing is committed any more.
    pub(super) fn committed(&self, reports: &[(usize, EventReport)]) {
        let Some(posting) = self.posting else { return };
        // Whoever had its effect before did not acknowledge it: it may have crashed before it sent.
        let is_sign = |report: &EventReport| {
            report.outcome == Outcome::Duplicate && report.receive_count.is_some_and(|count| count > 1)
        };
        if reports.iter().any(|(_, report)| is_sign(report)) {
            posting.suspect();
        }
        posting.end();
    }

    pub(super) async fn post(&self) {
        if let Some(posting) = self.posting {
            posting.run().await;
        }
    }

    pub(super) fn lane_ended(&self) {
        if let Some(transactional) = &self.transactional {
            transactional.committer.lane_ended();
        }
    }
}

#[cfg(not(feature = "dynamodb"))]
#[expect(
    clippy::unused_async,
    clippy::unused_self,
    reason = "the same face with and without DynamoDB"
)]
impl Shared<'_> {
    pub(super) async fn commit(&self) {}

    pub(super) fn committed(&self, _: &[(usize, EventReport)]) {}

    pub(super) async fn post(&self) {}

    pub(super) fn lane_ended(&self) {}
}
