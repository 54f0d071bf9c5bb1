//! Asking what became of an attempt, and what the answer is worth.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use oncebox_consumer::{
    Consumer, HandlerError, LeaseContext, LeasedHandler, Outcome, Previous, Reason, ReconcileHandler, Reconciled,
    leased,
    test_kit::{MemoryTables, without_waiting},
};
use oncebox_envelope::Envelope;

use super::receiver::{LEASE, builder, invoke};
use crate::{
    delivery::Message,
    ping::{Act, Ping},
};

type Says = Result<String, HandlerError>;
type Finds = Result<Reconciled<String>, HandlerError>;

/// A handler and its reconciliation that say what they are told to, in this order.
#[derive(Clone)]
struct Told(Arc<Mutex<Script>>);

struct Script {
    says: Vec<Says>,
    finds: Vec<Finds>,
    /// What each attempt was told of the one before.
    attempts: Vec<Previous>,
    asked: usize,
}

impl Told {
    fn to(says: impl Into<Vec<Says>>, finds: impl Into<Vec<Finds>>) -> Self {
        Self(Arc::new(Mutex::new(Script {
            says: says.into(),
            finds: finds.into(),
            attempts: Vec::new(),
            asked: 0,
        })))
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    fn consumer(&self, tables: &MemoryTables) -> Consumer {
        let handler = leased(self.clone()).lease(LEASE).reconcile(self.clone());
        builder(tables).on::<Ping, _>(handler).build().unwrap()
    }
}

impl<'a> LeasedHandler<'a, Ping> for Told {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Says> + Send + 'a>>;

    fn handle(&self, _: Envelope<Ping>, lease: &'a LeaseContext) -> Self::Future {
        let mut script = self.script();
        script.attempts.push(lease.previous());
        let says = script.says.remove(0);
        Box::pin(async { says })
    }
}

impl<'a> ReconcileHandler<'a, Ping> for Told {
    type Response = String;
    type Future = Pin<Box<dyn Future<Output = Finds> + Send + 'a>>;

    fn reconcile(&self, _: Envelope<Ping>, _: &'a LeaseContext) -> Self::Future {
        let mut script = self.script();
        script.asked += 1;
        let finds = script.finds.remove(0);
        Box::pin(async { finds })
    }
}

fn unknown() -> HandlerError {
    HandlerError::outcome_unknown("the reply was lost")
}

#[tokio::test]
async fn while_nobody_can_say_what_became_of_an_attempt_the_handler_does_not_run_again() {
    without_waiting(1, async {
        let told = Told::to(
            [Err(unknown())],
            [
                Err(HandlerError::retryable("not reachable")),
                Err(unknown()),
                Err(HandlerError::permanent("no such receiver")),
                Ok(Reconciled::Done("receipt".to_owned())),
            ],
        );
        let tables = MemoryTables::new();
        let (function, message) = (told.consumer(&tables), Message::new(Act::Succeed));
        for expected in [
            (Outcome::Retryable, None),
            (Outcome::Retryable, None),
            (Outcome::Retryable, None),
            (Outcome::Permanent, Some(Reason::Rejected)),
            (Outcome::Done, None),
        ] {
            let settled = invoke(&function, &message).await;
            let event = &settled.events[0];
            assert_eq!((event.outcome, event.reason), expected);
        }
        let duplicate = invoke(&function, &message).await;
        let response = duplicate.events[0].response.as_ref().unwrap();
        assert_eq!(
            response.read(),
            Ok("receipt".to_owned()),
            "what the reconciliation has found"
        );
        let script = told.script();
        assert_eq!((script.attempts.as_slice(), script.asked), (&[Previous::None][..], 4));
    })
    .await;
}

#[tokio::test]
async fn when_it_was_found_that_nothing_had_happened_an_attempt_that_fails_leaves_no_doubt() {
    without_waiting(1, async {
        let told = Told::to(
            [
                Err(unknown()),
                Err(HandlerError::retryable("refused")),
                Ok("receipt".to_owned()),
            ],
            [Ok(Reconciled::NotDone)],
        );
        let tables = MemoryTables::new();
        let (function, message) = (told.consumer(&tables), Message::new(Act::Succeed));
        for expected in [Outcome::Retryable, Outcome::Retryable, Outcome::Done] {
            assert_eq!(invoke(&function, &message).await.events[0].outcome, expected);
        }
        let script = told.script();
        assert_eq!(
            (script.attempts.as_slice(), script.asked),
            (&[Previous::None, Previous::Unknown, Previous::Failed][..], 1)
        );
    })
    .await;
}
