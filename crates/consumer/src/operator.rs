//! What a person may look at and do in a consumer's tables: the binary `oncebox-consumer` is made of it.
//!
//! Nothing here shows a payload.

mod gap;
mod outbox;
#[cfg(feature = "postgres")]
mod postgres;
mod record;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;

#[cfg(feature = "postgres")]
pub use self::postgres::PostgresOperator;
pub use self::{
    gap::KeyStanding,
    outbox::{EmittedEvent, OutboxOperator, OutboxStanding, ParcelStanding},
    record::RecordStanding,
};
use crate::dynamodb::{
    Key,
    store::{Item, ItemKey, Store, Transacted, Write},
};
pub use crate::leased::repair::Resolution;

/// A consumer's tables, in the hands of a person.
pub struct Operator {
    store: Arc<dyn Store>,
    consumer: String,
    table: String,
}

/// Why something could not be shown or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// DynamoDB or Postgres says no, or nothing. Nothing was changed.
    #[error("table `{table}` could not be read or written: {why}")]
    Table {
        /// The table.
        table: String,
        /// The service's word for it.
        why: String,
    },
    /// The reply to a write was lost, and so was the one to the question about it.
    #[error("whether it was done is not known ({why}); look again")]
    Unknown {
        /// What was lost.
        why: String,
    },
    /// An item that is not of the form that the library writes.
    #[error("the item of {what} in table `{table}` is not one that this version can read")]
    Unreadable {
        /// What was looked for.
        what: &'static str,
        /// The table.
        table: String,
    },
    /// A function or another person was faster. Nothing was changed.
    #[error("somebody has changed it meanwhile; nothing was changed, look again")]
    Moved,
    /// Another event is the one that is waited for.
    #[error("the key waits for sequence {expected}, not for {found}; nothing was changed")]
    NotAwaited {
        /// Who is waited for.
        expected: i64,
        /// Who was to be skipped.
        found: i64,
    },
    /// There is nothing to resolve.
    #[error("the state of its record is `{0}`, and only `unknown` is for a person to resolve; nothing was changed")]
    NotUnknown(&'static str),
    /// There is no record of the event.
    #[error("there is no record of this event; nothing was changed")]
    NoRecord,
    /// The watermark has no room for one more.
    #[error(
        "{0} events of this key were passed by already; redrive them, or give them up with `gap forget`; nothing was changed"
    )]
    TooManyMissed(usize),
    /// It was not passed by.
    #[error("sequence {0} was not passed by; nothing was changed")]
    NotMissed(i64),
}

impl Operator {
    /// For the consumer of this name, whose dedupe records are in `table`.
    #[must_use]
    pub fn new(client: Client, consumer: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            store: crate::dynamodb::store_of(client),
            consumer: consumer.into(),
            table: table.into(),
        }
    }

    async fn item(&self, key: Key) -> Result<Option<Item>, OperatorError> {
        let keys = [ItemKey::new(self.table.as_str(), key)];
        match self.store.read(&keys).await {
            Ok(mut items) => Ok(items.pop().flatten()),
            Err(why) => Err(self.refused(why)),
        }
    }

    async fn write(&self, write: Write) -> Transacted {
        let token = uuid::Uuid::new_v4().to_string();
        self.store.transact(&token, &[write]).await
    }

    fn refused(&self, why: String) -> OperatorError {
        OperatorError::Table {
            table: self.table.clone(),
            why,
        }
    }
}
