//! Events that the gap guard looks after, in whichever store their watermarks are.

use jiff::Timestamp;
use tokio::sync::SemaphorePermit;

use super::{Consumer, shared::Shared};
use crate::{
    claim_check::Resolved,
    failure::Failure,
    gap_guard::{Attempted, GapGuard, Place, Position},
    handler::Route,
    outcome::Verdict,
    record::{Content, Part},
};

/// An event of a key.
pub(super) struct InTurn<'a> {
    pub(super) guard: GapGuard,
    pub(super) position: Position<'a>,
    /// As it came; what a handler gets may have been fetched.
    pub(super) content: &'a Content,
    pub(super) waits_since: Option<Timestamp>,
}

impl Consumer {
    /// Whether watermarks are there.
    #[cfg(feature = "dynamodb")]
    pub(super) fn is_guarded_at(&self, place: Place) -> bool {
        self.gap_guard.is_some_and(|(_, at)| at == place)
    }

    /// Has the effect of an event when it is its turn within its key.
    pub(super) async fn consume_in_turn(
        &self,
        shared: &Shared<'_>,
        place: Place,
        turn: InTurn<'_>,
        ready: Result<(&Route, Resolved<'_>), Verdict>,
        permit: SemaphorePermit<'_>,
    ) -> Attempted {
        let InTurn {
            guard,
            position,
            content,
            waits_since,
        } = turn;
        // Found out when the consumer is built.
        let misplaced = || -> Verdict { Failure::retryable("the handler is not where the watermarks are").into() };
        let unplaced = || Attempted::alone(misplaced());
        match place {
            #[cfg(feature = "dynamodb")]
            Place::DynamoDb => {
                use crate::dynamodb::Task;
                let Some(batch) = &shared.transactional else {
                    return unplaced();
                };
                let task = match &ready {
                    Ok((Route::Transactional(handler), content)) => Task::Handle(handler.as_ref(), content),
                    Ok(_) => Task::End(misplaced()),
                    Err(verdict) => Task::End(verdict.clone()),
                };
                batch
                    .consume_in_turn(guard, position, content, task, waits_since, permit)
                    .await
            }
            #[cfg(feature = "postgres")]
            Place::Postgres => {
                use crate::postgres::Task;
                let Some(inbox) = &self.inbox else {
                    return unplaced();
                };
                let task = match &ready {
                    Ok((Route::Postgres(handler), content)) => Task::Handle(handler.as_ref(), content),
                    #[cfg(feature = "dynamodb")]
                    Ok(_) => Task::End(content, misplaced()),
                    Err(verdict) => Task::End(content, verdict.clone()),
                };
                let turn = crate::postgres::InTurn::new(guard, position, task, waits_since);
                let attempted = inbox.consume_in_turn(&self.name, turn, shared.invocation.budget).await;
                drop(permit);
                attempted
            }
        }
    }

    /// Lets the successors of an event go on that was set aside.
    ///
    /// # Errors
    /// Why they cannot: its message is the only thing then that lets them go on.
    pub(super) async fn pass_by(&self, shared: &Shared<'_>, part: &Part) -> Result<(), String> {
        let (Some((guard, place)), Ok(content)) = (self.gap_guard, &part.content) else {
            return Ok(());
        };
        let Some(position) = Position::of(content) else {
            return Ok(());
        };
        let missing = || Err("the store of the watermarks is missing".to_owned());
        match place {
            #[cfg(feature = "dynamodb")]
            Place::DynamoDb => match &shared.transactional {
                Some(batch) => batch.pass_by(guard, position).await,
                None => missing(),
            },
            #[cfg(feature = "postgres")]
            Place::Postgres => match &self.inbox {
                Some(inbox) => {
                    let budget = shared.invocation.budget;
                    inbox.pass_by(&self.name, guard, position, budget).await
                }
                None => missing(),
            },
        }
    }
}
