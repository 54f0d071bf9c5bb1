//! What a Lambda function needs to consume Oncebox events with one effect each.
//!
//! SQS and Lambda deliver at least once: a message comes again after a crash, a lost reply, a
//! visibility timeout, a redrive. This crate makes the *effect* happen once, by committing the
//! record that says "this event has been consumed" together with the effect itself:
//!
//! | mode | the effect lives in | the record |
//! |---|---|---|
//! | `transactional` | DynamoDB | an item in the same `TransactWriteItems` |
//! | `postgres` | Postgres | a row of `oncebox.inbox` in the same transaction |
//! | `leased` | somewhere else, by HTTP for instance | an item with one holder at a time; **not** effectively-once |
//!
//! An event may come alone or in a bundle, straight from SQS, by an SNS topic or by an `EventBridge`
//! rule, with its data or (feature `claim-check`) with a reference to data in S3: it is the same event.
//!
//! # Guarantees
//! - What a transactional handler emits ([`Effects::emit`]) is sent if and only if its effects are committed, at least once
//!   and under one id.
//! - Per consumer name and event id there is exactly one effect, however often, late or
//!   concurrently the message is delivered, for as long as the record is kept (DynamoDB: 35 days by
//!   default; Postgres: until rows of `oncebox.inbox` are deleted).
//! - The same id with another payload is an error of its own, never taken for a duplicate.
//! - On a FIFO queue a message is only worked on after all earlier ones of its group have been
//!   done or set aside in the dead-letter queue.
//! - A message that cannot succeed goes to the dead-letter queue with its reason and its original
//!   body; its neighbours are not failed with it. Of a bundle the event alone goes there.
//! - A bundle is acknowledged when each of its events is done or set aside; until then it comes
//!   again, and only what was not settled has an effect then.
//! - A handler sees data from S3 only if its length and hash are those of the envelope.
//! - No error, log line or dead-letter attribute of this crate shows a payload. (A handler's own
//!   panic message goes to stderr; the Lambda runtime and the SDK log nothing at `trace`, whatever
//!   `RUST_LOG` says.)
//!
//! What is not guaranteed: anything that a handler does outside of its effects or its transaction
//! (an HTTP call, a log line) happens once per *attempt*.
//!
//! # Reading order
//! [`Consumer`] and its builder, [`HandlerError`], then the modes (`transactional` with
//! `Effects`, `postgres`), `Consumer::settle_batch` for the flow of one batch, [`log`] for the
//! names that appear in the log, [`metrics`] for those of the metrics, `S3ClaimCheck` for data that lies in S3,
//! `test_kit::Trial` (feature `test-kit`) for tests of your own handlers.

#[cfg(not(any(feature = "dynamodb", feature = "postgres")))]
compile_error!("choose where effects live: enable feature `dynamodb`, `postgres` or both");

mod batch;
mod builder;
mod canonical;
mod claim_check;
mod dead_letter;
#[cfg(feature = "dynamodb")]
mod dynamodb;
mod failure;
mod gap_guard;
mod handler;
mod invocation;
mod lane;
#[cfg(feature = "dynamodb")]
mod leased;
pub mod log;
pub mod metrics;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(feature = "dynamodb")]
mod outbox;
mod outcome;
#[doc(hidden)]
pub mod planted;
#[cfg(feature = "postgres")]
mod postgres;
mod reading;
mod record;
mod response;
mod retry_delay;
mod router;
mod run;
mod sdk_error;
mod settlement;
mod shutdown;
mod sqs;
mod start_error;
#[cfg(feature = "test-kit")]
pub mod test_kit;
mod time;
#[cfg(feature = "otel")]
mod traces;
mod unknown_type;

/// The examples of the guide to the modes are compiled with those of the documentation here.
#[cfg(all(doctest, feature = "dynamodb", feature = "postgres"))]
#[doc = include_str!("../../../docs/effect-modes.md")]
mod effect_modes {}

pub use batch::{BatchError, Consumer};
pub use builder::ConsumerBuilder;
pub use failure::{HandlerError, Reason};
pub use gap_guard::GapGuard;
pub use handler::Handler;
pub use invocation::Invocation;
pub use outcome::Outcome;
pub use response::{MAX_RESPONSE_BYTES, Response, ResponseError};
pub use retry_delay::RetryDelay;
pub use settlement::{EventReport, Settlement};
pub use start_error::StartError;
pub use unknown_type::UnknownType;

#[cfg(feature = "claim-check")]
pub use claim_check::S3ClaimCheck;
#[cfg(feature = "dynamodb")]
pub use dynamodb::{
    Attribute, Check, Condition, Delete, DynamoDbDedupe, Effects, Key, Put, Transactional, TransactionalHandler,
    Update, transactional,
};
#[cfg(feature = "dynamodb")]
pub use leased::{
    LeaseContext, Leased, LeasedHandler, Park, Previous, Reconcile, ReconcileHandler, Reconciled, RetrySameKey,
    Undeclared, leased,
};
#[cfg(feature = "dynamodb")]
pub use outbox::{NewEvent, OutboxReport, SweepReport};
#[cfg(feature = "postgres")]
pub use postgres::{InTransaction, PostgresHandler, pool_from_env, postgres};
#[cfg(feature = "postgres")]
pub use sqlx::PgTransaction;
