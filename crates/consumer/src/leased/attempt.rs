//! One delivery of one event: claim, work, record.

use uuid::Uuid;

use super::{
    LeasedRoute, Policy, Reconciled,
    context::{LeaseContext, Previous},
    hold::{Held, Hold},
    meeting::{Meeting, meet},
    record::{Record, State},
    table::{Expected, Table, Written},
    watch::{Watched, watch},
};
use crate::{
    dynamodb::DynamoDbDedupe,
    failure::{Failure, Reason},
    invocation::Budget,
    outcome::{Outcome, Verdict},
    planted::{Bug, is_planted},
    record::Content,
    response::Response,
    time,
};

/// One delivery, which may come to hold the record.
struct Delivery<'a> {
    table: Table<'a>,
    /// What it would write as a first claim.
    claim: Record,
    content: &'a Content,
    route: &'a LeasedRoute,
    budget: Budget,
}

/// What a delivery does next about the record that it found.
enum Step {
    /// Put this in its place; the attempt before ended like that.
    Write(Record, Previous),
    /// Something else is there by now.
    MeetAgain(Option<Record>),
}

/// How the work came out.
enum Ended {
    Done(Option<Response>),
    /// Surely without an effect.
    Failed(Failure),
    Unknown(Failure),
    /// Unknown too, and no longer ours to say.
    Lost(&'static str),
}

/// Works on an event under a lease.
///
/// # Cancel safety
/// Dropped, it leaves a claim without a holder: the next delivery takes it over when its lease has passed.
pub(crate) async fn consume(
    dedupe: &DynamoDbDedupe,
    consumer: &str,
    content: &Content,
    route: &LeasedRoute,
    budget: Budget,
) -> Verdict {
    let delivery = Delivery {
        table: Table { dedupe },
        claim: Record {
            pk: format!("{consumer}#{}", content.envelope.id),
            state: State::Claimed,
            own: Uuid::new_v4().to_string(),
            fence: 1,
            beat: 0,
            lease: route.lease,
            waited: std::time::Duration::ZERO,
            hash: content.hash.as_bytes().to_vec(),
            response: None,
            ttl_secs: 0,
        },
        content,
        route,
        budget,
    };
    match delivery.claim().await {
        Ok((hold, previous)) => delivery.work(hold, previous).await,
        Err(verdict) => verdict,
    }
}

impl<'a> Delivery<'a> {
    /// Claims the event, or says why it is not to be worked on.
    async fn claim(&self) -> Result<(Hold<'a>, Previous), Verdict> {
        // Most events are new: it is tried before anything is read.
        let mut found: Option<Record> = None;
        loop {
            let (claim, previous) = match self.next_step(found.as_ref()).await? {
                Step::Write(claim, previous) => (claim, previous),
                Step::MeetAgain(now) => {
                    found = now;
                    continue;
                }
            };
            let expected = found.as_ref().map_or(Expected::Absent, Expected::AsRead);
            let since = time::now();
            match self.table.write(&claim, expected, self.budget.start_until).await {
                Written::Yes if claim.state == State::Unknown => {
                    return Err(parked("the function of the last attempt ended in the middle of it").into());
                }
                Written::Yes => {
                    let (table, record) = (self.table, claim);
                    return Ok((Hold { table, record, since }, previous));
                }
                Written::No(now) => found = now,
                Written::GaveUp(why) => {
                    return Err(Failure::retryable(format!("the event could not be claimed in time: {why}")).into());
                }
            }
        }
    }

    /// What is to be written in place of `found`.
    async fn next_step(&self, found: Option<&Record>) -> Result<Step, Verdict> {
        let Some(found) = found else {
            return Ok(Step::Write(self.claim.clone(), Previous::None));
        };
        let successor = |state| Record {
            state,
            fence: found.fence + u64::from(!is_planted(Bug::FenceNotRaised)),
            ..self.claim.clone()
        };
        match meet(found, self.route.policy, &self.claim.hash, self.table.now_secs()) {
            Meeting::Claim(previous) => Ok(Step::Write(successor(State::Claimed), previous)),
            Meeting::Duplicate => Err(replied(Outcome::Duplicate, found.response.clone())),
            Meeting::SetAside => Err(parked("an attempt ended without an answer").into()),
            Meeting::AnotherPayload => Err(Failure::payload_mismatch().into()),
            Meeting::Watch if is_planted(Bug::ClaimIsDone) => Err(Verdict::Duplicate),
            Meeting::Watch if is_planted(Bug::ClaimTakenOver) => {
                Ok(Step::Write(successor(State::Claimed), Previous::Unknown))
            }
            Meeting::Watch => match watch(self.table, found, self.budget.start_until, self.budget.work_until).await {
                Watched::Moved(Some(now)) if now.state == State::Claimed => Err(Verdict::InProgress(now.lease)),
                Watched::Moved(now) => Ok(Step::MeetAgain(now)),
                Watched::OutOfTime(left) => Err(Verdict::InProgress(left)),
                Watched::Dead if self.route.policy == Policy::Park => {
                    Ok(Step::Write(successor(State::Unknown), Previous::Unknown))
                }
                Watched::Dead => Ok(Step::Write(successor(State::Claimed), Previous::Unknown)),
            },
        }
    }

    /// Runs the handler under the claim, and records how it ended.
    async fn work(&self, hold: Hold<'a>, previous: Previous) -> Verdict {
        let ended = if let Some(why) = self.begins_nothing(&hold) {
            let failure = Failure::retryable(why);
            match previous {
                // Who begins nothing says nothing about the one before.
                Previous::Unknown => Ended::Unknown(failure),
                Previous::None | Previous::Failed => Ended::Failed(failure),
            }
        } else {
            let lease = LeaseContext::new(self.content.envelope.id, hold.record.fence, previous);
            if is_planted(Bug::DoneBeforeEffect) {
                let done = Record {
                    state: State::Done,
                    ..hold.record.clone()
                };
                self.table.write(&done, Expected::Mine, self.budget.settle_until).await;
            }
            match hold.run(&lease, self.budget, self.handle(&lease)).await {
                Held::Returned(ended) => ended,
                Held::Lost(why) => Ended::Lost(why),
                Held::OutOfTime => Ended::Unknown(Failure::Unknown(
                    "the handler was not done within the time of this invocation".to_owned(),
                )),
            }
        };
        let (state, response) = match &ended {
            Ended::Done(response) => (State::Done, response.clone()),
            Ended::Failed(_) => (State::Released, None),
            Ended::Unknown(_) | Ended::Lost(_) if is_planted(Bug::UnknownIsFailed) => (State::Released, None),
            Ended::Lost(_) if is_planted(Bug::ReleasedWithoutFence) => (State::Released, None),
            Ended::Unknown(_) | Ended::Lost(_) => (State::Unknown, None),
        };
        let record = Record {
            state,
            response,
            ..hold.record
        };
        let written = self
            .table
            .write(&record, Expected::Mine, self.budget.settle_until)
            .await;
        self.verdict(ended, written)
    }

    /// Why a claim is given back untouched.
    fn begins_nothing(&self, hold: &Hold<'_>) -> Option<&'static str> {
        if time::now() >= self.budget.start_until {
            Some("too little time was left after the event was claimed")
        } else if !hold.is_fresh() {
            Some("the claim was confirmed when its lease was over")
        } else {
            None
        }
    }

    async fn handle(&self, lease: &LeaseContext) -> Ended {
        let (work, event) = (&self.route.work, &self.content.envelope);
        // An attempt that fails says nothing about the one before it.
        let mut is_in_doubt = lease.previous == Previous::Unknown;
        if is_in_doubt && self.route.policy == Policy::Reconcile {
            match work.reconcile(event.clone(), lease).await {
                Ok(Reconciled::NotDone) => is_in_doubt = false,
                Ok(Reconciled::Done(response)) => return Ended::Done(response),
                Err(failure) => return Ended::Unknown(failure),
            }
        }
        match work.run(event.clone(), lease).await {
            Ok(response) => Ended::Done(response),
            Err(failure) if is_in_doubt || matches!(failure, Failure::Unknown(_)) => Ended::Unknown(failure),
            Err(failure) => Ended::Failed(failure),
        }
    }

    /// What an ending means, once it was written or could not be.
    fn verdict(&self, ended: Ended, written: Written) -> Verdict {
        let parks = self.route.policy == Policy::Park;
        match (ended, written) {
            (Ended::Done(response), Written::Yes) => replied(Outcome::Done, response),
            (Ended::Done(_), Written::GaveUp(why)) => {
                Failure::retryable(format!("the effect happened, and could not be recorded in time: {why}")).into()
            }
            (Ended::Lost(why), Written::Yes) if parks => parked(&format!("the lease was lost: {why}")).into(),
            (Ended::Unknown(Failure::Unknown(why)), Written::Yes) if parks => parked(&why).into(),
            (Ended::Lost(why), written) => Verdict::LeaseLost {
                error: format!("the lease was lost: {why}"),
                is_taken_over: matches!(written, Written::No(_)),
            },
            (_, Written::No(_)) => Verdict::LeaseLost {
                error: "the lease was lost: another delivery has taken over".to_owned(),
                is_taken_over: true,
            },
            // Not recorded: the next delivery waits for the lease to end, and asks the policy.
            (Ended::Failed(failure) | Ended::Unknown(failure), Written::Yes | Written::GaveUp(_)) => failure.into(),
        }
    }
}

fn parked(why: &str) -> Failure {
    Failure::permanent(
        Reason::UnknownOutcome,
        format!("whether the effect happened is not known: {why}"),
    )
}

fn replied(outcome: Outcome, response: Option<Response>) -> Verdict {
    match (outcome, response) {
        (outcome, Some(response)) => Verdict::Replied(outcome, response),
        (Outcome::Done, None) => Verdict::Done,
        (_, None) => Verdict::Duplicate,
    }
}
