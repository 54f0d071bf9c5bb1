//! Why a consumer does not start.

/// A fault in how a consumer is put together or in its environment, found before the first message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An environment variable is absent or empty.
    #[error("environment variable `{name}` is not set; it must hold {holds}")]
    MissingEnv {
        /// The variable.
        name: String,
        /// What it is for.
        holds: &'static str,
    },
    /// An environment variable cannot be used. The value is not shown: it may be a secret.
    #[error("environment variable `{name}` is not {expected}")]
    InvalidEnv {
        /// The variable.
        name: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The name breaks the rule; it becomes part of every dedupe record.
    #[error("consumer name `{name}` must be 1 to 100 letters, digits, `-`, `_` or `.`")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Nothing to do.
    #[error("consumer `{consumer}` handles no event type; call `.on` or `.on_any`")]
    NoHandler {
        /// The consumer.
        consumer: String,
    },
    /// Two handlers for one type: only one could run.
    #[error("event type `{event_type}` has two handlers; keep one")]
    TwoHandlers {
        /// The event type, `*` for `on_any`.
        event_type: String,
    },
    /// A transactional handler without its dedupe table.
    #[error("the handler of `{event_type}` is transactional; call `.dedupe(DynamoDbDedupe::from_env().await?)`")]
    NoDedupe {
        /// The event type, `*` for `on_any`.
        event_type: String,
    },
    /// A leased handler without its dedupe table.
    #[error("the handler of `{event_type}` is leased; call `.dedupe(DynamoDbDedupe::from_env().await?)`")]
    NoLeases {
        /// The event type, `*` for `on_any`.
        event_type: String,
    },
    /// A lease that is too short or too long.
    #[error("the handler of `{event_type}` has a lease of {lease:?}; it must be from 500 ms to 15 min")]
    InvalidLease {
        /// The event type, `*` for `on_any`.
        event_type: String,
        /// As given.
        lease: std::time::Duration,
    },
    /// A Postgres handler without a database.
    #[error("the handler of `{event_type}` works in Postgres; call `.postgres(pool_from_env()?)`")]
    NoPostgres {
        /// The event type, `*` for `on_any`.
        event_type: String,
    },
    /// A step between versions of an event type that leads nowhere.
    #[error("upcast from `{from}` to `{to}`: {problem}")]
    Upcast {
        /// The older version.
        from: String,
        /// The later version.
        to: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The schema that was made of an event type is no JSON Schema.
    #[error("the schema of `{event_type}` cannot be compiled; correct its `JsonSchema`, or do not validate")]
    Schema {
        /// The event type.
        event_type: String,
    },
    /// A gap guard over a handler whose effect is not in a transaction that could hold its watermark.
    #[error("the consumer has a gap guard, and the handler of `{event_type}` is leased; give one of them up")]
    GapGuard {
        /// The event type, `*` for `on_any`.
        event_type: String,
    },
    /// A gap guard over handlers in DynamoDB and in Postgres.
    #[error(
        "the consumer has a gap guard, and the handler of `{event_type}` has its effect in another store than the others: \
         a key has one watermark; make two consumers of them"
    )]
    TwoWatermarks {
        /// The event type, `*` for `on_any`.
        event_type: String,
    },
    /// Traces are asked for that there cannot be.
    #[cfg(feature = "otel")]
    #[error("invocations cannot be traced")]
    Traces(#[source] oncebox_otlp::Error),
    /// Events are emitted without a table that holds them.
    #[error("target `{target}` takes what handlers emit, and the consumer has no outbox; call `.outbox(TABLE)`")]
    NoOutbox {
        /// A target.
        target: String,
    },
    /// An outbox that nobody can write to.
    #[error("only transactional handlers emit, and the consumer has no `.dedupe(…)`; call it, or give `.outbox` up")]
    OutboxWithoutDedupe,
    /// A target that nothing can be sent to.
    #[error("target `{target}` is {problem}")]
    InvalidTarget {
        /// Its name.
        target: String,
        /// What it is, and the fix.
        problem: &'static str,
    },
    /// The Lambda runtime ended.
    #[error("the Lambda runtime ended")]
    Runtime(#[source] lambda_runtime::Error),
}

/// Reads a variable that must be there.
pub(crate) fn required_env(name: &str, holds: &'static str) -> Result<String, StartError> {
    optional_env(name).ok_or_else(|| StartError::MissingEnv {
        name: name.to_owned(),
        holds,
    })
}

/// Reads a variable; an empty one counts as absent, since templates cannot leave one out.
pub(crate) fn optional_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
