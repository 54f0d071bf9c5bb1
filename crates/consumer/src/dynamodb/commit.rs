//! From an event to a committed transaction, and what is done when the answer is unclear.

use std::time::Duration;

use aws_sdk_dynamodb::types::TransactWriteItem;
use rand::RngExt as _;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    dedupe::{Claim, DynamoDbDedupe, Owner},
    effects::{Effect, Effects},
    reply::Reply,
    transaction::{compile, record_put},
};
use crate::{failure::Failure, handler::Attempt, invocation::Budget, outcome::Verdict, record::Content};

/// Pauses between attempts are random, up to a bound that doubles from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl DynamoDbDedupe {
    pub(crate) async fn consume(
        &self,
        consumer: &str,
        content: &Content,
        handler: &dyn Attempt<Effects>,
        budget: Budget,
    ) -> Verdict {
        let mut effects = Effects::default();
        let described = timeout_at(
            budget.work_until,
            handler.attempt(content.envelope.clone(), &mut effects),
        );
        match described.await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return failure.into(),
            Err(_) => return Failure::retryable("the handler was not done within the time of this invocation").into(),
        }
        let claim = Claim::new(consumer, content, self);
        let record = match record_put(&self.table, claim.item(), claim.now_secs) {
            Ok(record) => record,
            Err(_) => return Failure::retryable("the dedupe record could not be written down").into(),
        };
        match compile(record, &effects.list, &self.tables) {
            Ok(items) => self.commit(&claim, &items, &effects.list, budget.work_until).await,
            Err(failure) => failure.into(),
        }
    }

    /// Sends the transaction until its fate is known or time is up.
    ///
    /// Each try carries the same claim, so one that was applied without our knowing is recognised
    /// by the next: the record is there and its owner is this attempt.
    async fn commit(&self, claim: &Claim, items: &[TransactWriteItem], effects: &[Effect], until: Instant) -> Verdict {
        let mut pause = FIRST_PAUSE;
        loop {
            let why = match self.write(claim, items, effects, until).await {
                None => return Verdict::Done,
                Some(Reply::Refused(failure)) => return failure.into(),
                Some(Reply::Recorded(Some(record))) => match claim.owner(&record) {
                    Some(owner) => return verdict(&owner),
                    None => "the dedupe record expired just now".to_owned(),
                },
                Some(Reply::Busy(why)) => why,
                Some(Reply::Recorded(None)) => match self.owner(claim, until).await {
                    Some(owner) => return verdict(&owner),
                    None => "the dedupe record could not be read".to_owned(),
                },
                Some(Reply::Unknown(why)) => match self.owner(claim, until).await {
                    Some(owner) => return verdict(&owner),
                    // Not there *yet*: the lost request may still be on its way. The next try meets
                    // its record, if it arrives.
                    None => why,
                },
            };
            let resume = Instant::now() + rand::rng().random_range(pause / 2..=pause);
            if resume >= until {
                return Failure::retryable(format!("not committed within the time of this invocation: {why}")).into();
            }
            sleep_until(resume).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends it once (the SDK may send it again by itself); `None` when DynamoDB says it is applied.
    async fn write(
        &self,
        claim: &Claim,
        items: &[TransactWriteItem],
        effects: &[Effect],
        until: Instant,
    ) -> Option<Reply> {
        let request = self
            .client
            .transact_write_items()
            // Within ten minutes DynamoDB itself recognises a repeat by this token.
            .client_request_token(&claim.own)
            .set_transact_items(Some(items.to_vec()));
        match timeout_at(until, request.send()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Reply::read(&error, effects)),
            Err(_) => Some(Reply::Unknown("no answer".to_owned())),
        }
    }

    /// Who owns the record now, by a strongly consistent read; `None` when there is none that
    /// counts or it cannot be read.
    async fn owner(&self, claim: &Claim, until: Instant) -> Option<Owner> {
        let request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", aws_sdk_dynamodb::types::AttributeValue::S(claim.pk.clone()))
            .consistent_read(true);
        let reply = timeout_at(until, request.send()).await.ok()?.ok()?;
        claim.owner(reply.item()?)
    }
}

fn verdict(owner: &Owner) -> Verdict {
    match owner {
        Owner::Me => Verdict::Done,
        Owner::Another => Verdict::Duplicate,
        Owner::AnotherPayload => Failure::payload_mismatch().into(),
    }
}
