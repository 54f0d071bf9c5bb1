//! Putting a consumer together.

mod build;
#[cfg(feature = "dynamodb")]
mod tables;

use std::{collections::HashMap, sync::Arc};

use oncebox_envelope::{Event, RawData};

use crate::{
    batch::Consumer,
    claim_check::ClaimCheck,
    failure::HandlerError,
    gap_guard::GapGuard,
    handler::{Handler, Route},
    reading::{Contract, Read, Upcast},
    retry_delay::RetryDelay,
    start_error::{StartError, optional_env},
    unknown_type::UnknownType,
};

type MakeRoute = Box<dyn FnOnce(&Arc<Contract>) -> Route + Send>;

/// Builds a [`Consumer`]; from [`Consumer::builder`].
///
/// Faults in the wiring are collected and reported by [`build`](Self::build), before any message
/// is read.
#[must_use]
pub struct ConsumerBuilder {
    name: String,
    /// Made when it is built: what they read depends on what is declared beside them.
    routes: HashMap<&'static str, MakeRoute>,
    any: Option<Route>,
    upcasts: Vec<Upcast>,
    #[cfg(feature = "schema")]
    schemas: Vec<crate::reading::Document>,
    #[cfg(feature = "schema")]
    is_validating: bool,
    fault: Option<StartError>,
    unknown_type: UnknownType,
    retry_delay: RetryDelay,
    concurrency: usize,
    dead_letter_url: Option<String>,
    max_receive_count: Option<u32>,
    sqs: Option<aws_sdk_sqs::Client>,
    claim_check: ClaimCheck,
    #[cfg(feature = "dynamodb")]
    dedupe: Option<crate::DynamoDbDedupe>,
    #[cfg(feature = "dynamodb")]
    tables: HashMap<String, String>,
    #[cfg(feature = "dynamodb")]
    outbox: Option<String>,
    #[cfg(feature = "dynamodb")]
    targets: HashMap<String, crate::outbox::Target>,
    #[cfg(feature = "test-kit")]
    post: Option<Arc<dyn crate::outbox::Post>>,
    #[cfg(feature = "test-kit")]
    own_queues: Option<Arc<dyn crate::sqs::OwnQueues>>,
    gap_guard: Option<GapGuard>,
    #[cfg(feature = "postgres")]
    pool: Option<sqlx::PgPool>,
}

impl Consumer {
    /// Starts to build a consumer.
    ///
    /// `name` is the namespace of its dedupe records: two consumers with different names each have
    /// their own effect for an event, and renaming one makes it forget what it has consumed.
    pub fn builder(name: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder {
            name: name.into(),
            routes: HashMap::new(),
            any: None,
            upcasts: Vec::new(),
            #[cfg(feature = "schema")]
            schemas: Vec::new(),
            #[cfg(feature = "schema")]
            is_validating: false,
            fault: None,
            unknown_type: UnknownType::default(),
            retry_delay: RetryDelay::default(),
            concurrency: 10,
            dead_letter_url: None,
            max_receive_count: None,
            sqs: None,
            claim_check: ClaimCheck::default(),
            #[cfg(feature = "dynamodb")]
            dedupe: None,
            #[cfg(feature = "dynamodb")]
            tables: HashMap::new(),
            #[cfg(feature = "dynamodb")]
            outbox: None,
            #[cfg(feature = "dynamodb")]
            targets: HashMap::new(),
            #[cfg(feature = "test-kit")]
            post: None,
            #[cfg(feature = "test-kit")]
            own_queues: None,
            gap_guard: None,
            #[cfg(feature = "postgres")]
            pool: None,
        }
    }
}

impl ConsumerBuilder {
    /// Handles events of type `E`.
    pub fn on<E: Event, H: Handler<E>>(mut self, handler: H) -> Self {
        let route = |contract: &Arc<Contract>| handler.into_route(Read::event(contract));
        self.know::<E>();
        if self.routes.insert(E::TYPE, Box::new(route)).is_some() {
            self.fail(StartError::TwoHandlers {
                event_type: E::TYPE.to_owned(),
            });
        }
        self
    }

    /// Handles events of every type that has no handler of its own, with their data unread.
    pub fn on_any<H: Handler<RawData>>(mut self, handler: H) -> Self {
        if self.any.replace(handler.into_route(Read::any())).is_some() {
            self.fail(StartError::TwoHandlers {
                event_type: "*".to_owned(),
            });
        }
        self
    }

    /// Brings events of the older version `A` up to the later version `B` of their type, whose handler
    /// they then get; several steps make a chain (`v1` to `v2` to `v3`).
    ///
    /// The steps run in memory at each attempt. The dedupe record is of the data as it came, so an event
    /// that was consumed before a step was added or changed is still the same event. A permanent error
    /// sets the event aside with the reason `upcast_failed`.
    ///
    /// ```
    /// # use oncebox_consumer::{Consumer, HandlerError};
    /// # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// # struct PaidV1 { euros: u64 }
    /// # #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
    /// # struct PaidV2 { cents: u64 }
    /// # impl oncebox_envelope::Event for PaidV1 { const TYPE: &'static str = "invoice.paid.v1"; }
    /// # impl oncebox_envelope::Event for PaidV2 { const TYPE: &'static str = "invoice.paid.v2"; }
    /// fn in_cents(old: PaidV1) -> Result<PaidV2, HandlerError> {
    ///     let cents = old.euros.checked_mul(100);
    ///     Ok(PaidV2 { cents: cents.ok_or(HandlerError::permanent("`euros` is too large"))? })
    /// }
    /// let builder = Consumer::builder("ledger").upcast(in_cents);
    /// ```
    pub fn upcast<A: Event, B: Event>(
        mut self,
        step: impl Fn(A) -> Result<B, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        self.know::<A>();
        self.upcasts.push(Upcast::new(step));
        self
    }

    /// Checks data against the JSON Schema of its event type before it is read, older versions
    /// against theirs before their upcast. What does not match is set aside with the reason
    /// `wrong_schema`, the path and the rule that it breaks, never the value.
    ///
    /// Reading the data as its Rust type already finds what is missing or of the wrong shape; this adds
    /// what only the schema says (ranges, lengths, patterns). Formats such as `uuid` are not checked
    /// again. Schemas are compiled once, by [`build`](Self::build).
    #[cfg(feature = "schema")]
    pub fn validate_schemas(mut self) -> Self {
        self.is_validating = true;
        self
    }

    /// What happens to events without a handler; by default they go to the dead-letter queue.
    pub fn unknown_type(mut self, policy: UnknownType) -> Self {
        self.unknown_type = policy;
        self
    }

    /// How many events (on FIFO: groups) are worked on at a time in this process; by default 10, at least 1.
    ///
    /// On Lambda Managed Instances several invocations run at once in one process, and share them: what
    /// gets none within its invocation's time goes back to the queue, not started.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.concurrency = events.max(1);
        self
    }

    /// When a record that failed is delivered again.
    pub fn retry_delay(mut self, delay: RetryDelay) -> Self {
        self.retry_delay = delay;
        self
    }

    /// The URL of the dead-letter queue; [`run`](Self::run) takes it from `ONCEBOX_DLQ_URL` if it
    /// is not set here.
    ///
    /// Without one, what can never succeed is failed until the queue's redrive policy moves it; on
    /// FIFO its group waits as long.
    pub fn dead_letter_queue(mut self, url: impl Into<String>) -> Self {
        self.dead_letter_url = Some(url.into());
        self
    }

    /// The `maxReceiveCount` of the queue's redrive policy; [`run`](Self::run) takes it from
    /// `ONCEBOX_MAX_RECEIVE_COUNT` if it is not set here. Counts only where there is a dead-letter queue.
    ///
    /// A message that fails retryably at its last delivery but one is then set aside by the consumer, with
    /// the reason `attempts_exhausted`. Left to SQS, it would go there without its error; on FIFO
    /// its followers, which were delivered as often and never attempted, would go with it, and of a bundle
    /// the events that are done.
    pub fn max_receive_count(mut self, deliveries: u32) -> Self {
        self.max_receive_count = Some(deliveries);
        self
    }

    /// The SQS client for dead letters and retry delays; by default one from the environment,
    /// made when it is first needed.
    pub fn sqs(mut self, client: aws_sdk_sqs::Client) -> Self {
        self.sqs = Some(client);
        self
    }

    /// How data that lies in S3 is fetched. Without it, an event with a `dataref` is set aside.
    #[cfg(feature = "claim-check")]
    pub fn claim_check(mut self, s3: crate::S3ClaimCheck) -> Self {
        self.claim_check.s3 = Some(s3);
        self
    }

    /// Holds back events whose predecessors within their key have not had their effect yet.
    ///
    /// It looks after every event that has a `partitionkey` and a `sequence`, also those that are
    /// dropped; the others are consumed as without it. An event that goes to the dead-letter queue
    /// when it was its turn lets its successors go on, and has its effect late when it is redriven; one that goes there since a
    /// predecessor never came (reason `gap`) does not, and its successors follow it.
    ///
    /// All handlers must be transactional, or all work in Postgres. A watermark per key stays in the dedupe table, or
    /// in `oncebox.watermark`, for good.
    pub fn gap_guard(mut self, guard: GapGuard) -> Self {
        self.gap_guard = Some(guard);
        self
    }

    /// Sends what is emitted to targets in memory, and dead letters too; there it says too when its own messages are to
    /// be delivered again.
    #[cfg(feature = "test-kit")]
    pub fn queues(mut self, queues: &crate::test_kit::MemoryQueues) -> Self {
        self.post = Some(queues.post());
        self.own_queues = Some(queues.own());
        self
    }

    /// The database of the handlers that work in Postgres; it must have `oncebox.inbox`.
    ///
    /// An event takes one connection, so no more than the pool's size run at a time.
    #[cfg(feature = "postgres")]
    pub fn postgres(mut self, pool: sqlx::PgPool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Sets up the log (JSON lines on stdout, filtered by `RUST_LOG`), takes `ONCEBOX_DLQ_URL` and
    /// `ONCEBOX_MAX_RECEIVE_COUNT` from the environment and serves the Lambda runtime until it ends.
    ///
    /// After each batch a line of [`metrics`](crate::metrics) goes to stdout. On SIGTERM, which Lambda
    /// sends before it stops an environment, nothing more is begun and what runs has 400 ms to end.
    ///
    /// # Errors
    /// As [`build`](Self::build), [`StartError::InvalidEnv`] and [`StartError::Runtime`].
    ///
    /// # Cancel safety
    /// Dropping it drops the batch that is being worked on; its messages are delivered again.
    pub async fn run(mut self) -> Result<(), StartError> {
        crate::log::init();
        self.dead_letter_url = self.dead_letter_url.or_else(|| optional_env("ONCEBOX_DLQ_URL"));
        if self.max_receive_count.is_none() {
            self.max_receive_count = max_receive_count_from_env()?;
        }
        crate::run::serve(self.build()?).await
    }

    /// Remembers how to get the schema of an event type.
    #[cfg_attr(
        not(feature = "schema"),
        expect(clippy::unused_self, reason = "the shape that it has with the feature")
    )]
    fn know<E: Event>(&mut self) {
        #[cfg(feature = "schema")]
        self.schemas.push((E::TYPE, crate::reading::document::<E>));
    }

    fn fail(&mut self, fault: StartError) {
        self.fault.get_or_insert(fault);
    }
}

fn max_receive_count_from_env() -> Result<Option<u32>, StartError> {
    let name = "ONCEBOX_MAX_RECEIVE_COUNT";
    let Some(value) = optional_env(name) else {
        return Ok(None);
    };
    match value.trim().parse() {
        Ok(count @ 1..=1_000) => Ok(Some(count)),
        _ => Err(StartError::InvalidEnv {
            name: name.to_owned(),
            expected: "the queue's maxReceiveCount, a number from 1 to 1000",
        }),
    }
}
