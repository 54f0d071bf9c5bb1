//! The parts of a run: a server, the ways to it, targets, queues and tables.

use std::sync::Arc;

use anyhow::{Context, Result};

use crate::{
    AwsProxy, Bus, Database, DatabaseProxy, EVERYTHING, Fault, Queue, RelayConfig, Request, Server, Stack, Tables,
    Topic, chaos::Side, ledger::Order,
};

/// What all events of a run are.
pub(super) const EVENT: &str = "chaos.happened.v1";
/// Events of keys that begin like this are refused by FIFO targets: they are parked.
pub(super) const REFUSED: &str = "refused-";

/// `RECORDER_MODE` of a consumer with a gap guard.
pub(super) const GAP_GUARD: &str = "gap-guard";

/// A sink of the relays, and the consumer at its end. Both have one name.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) name: &'static str,
    /// `RECORDER_MODE`.
    pub(super) mode: &'static str,
    pub(super) order: Order,
    pub(super) queue: Queue,
    pub(super) dead_letters: Queue,
    /// The sink's target as `relay.toml` has it.
    target: String,
}

/// Everything. The order of the fields is the order in which they go.
pub(super) struct Stage {
    _topic: Topic,
    _bus: Bus,
    pub(super) consumers: Vec<Arc<Consumer>>,
    pub(super) tables: Arc<Tables>,
    /// Between relays and AWS.
    pub(super) relay_aws: AwsProxy,
    /// Between functions and AWS.
    pub(super) function_aws: AwsProxy,
    relay_database: DatabaseProxy,
    function_database: DatabaseProxy,
    writer_database: DatabaseProxy,
    pub(super) database: Database,
    pub(super) server: Server,
    pub(super) stack: Stack,
}

impl Stage {
    pub(super) async fn set() -> Result<Self> {
        let stack = Stack::from_env().await?;
        let server = Server::start().await?;
        let database = Database::create_on(&server).await?;
        prepare(&database).await.context("making the recorder's table")?;
        let topic = Topic::fifo(&stack).await?;
        let events = Queue::standard(&stack).await?;
        let bus = Bus::to_queue(&stack, &format!("{{\"detail-type\": [\"{EVENT}\"]}}"), &events).await?;
        let orders = Queue::fifo(&stack).await?;
        let guarded = Queue::standard(&stack).await?;
        let topical = Queue::fifo(&stack).await?;
        topic.subscribe(&topical).await?;
        let sqs = |queue: &Queue| format!("sqs = {{ queue = \"{}\" }}", queue.name);
        let consumers = vec![
            Consumer {
                name: "fifo",
                mode: "postgres",
                order: Order::PerKey,
                target: sqs(&orders),
                queue: orders,
                dead_letters: Queue::fifo(&stack).await?,
            },
            Consumer {
                name: "topic",
                mode: "transactional",
                order: Order::PerKey,
                target: format!("sns = {{ topic = \"{}\" }}", topic.arn),
                queue: topical,
                dead_letters: Queue::fifo(&stack).await?,
            },
            Consumer {
                name: "guarded",
                mode: GAP_GUARD,
                order: Order::PerKey,
                target: sqs(&guarded),
                queue: guarded,
                dead_letters: Queue::standard(&stack).await?,
            },
            Consumer {
                name: "bus",
                mode: "transactional",
                order: Order::None,
                target: format!("eventbridge = {{ bus = \"{}\" }}", bus.name),
                queue: events,
                dead_letters: Queue::standard(&stack).await?,
            },
        ];
        let stage = Self {
            _topic: topic,
            _bus: bus,
            consumers: consumers.into_iter().map(Arc::new).collect(),
            tables: Arc::new(Tables::create(&stack).await?),
            relay_aws: AwsProxy::start(&stack).await?,
            function_aws: AwsProxy::start(&stack).await?,
            relay_database: DatabaseProxy::start(&database.url).await?,
            function_database: DatabaseProxy::start(&database.url).await?,
            writer_database: DatabaseProxy::start(&database.url).await?,
            database,
            server,
            stack,
        };
        stage.heal_aws();
        Ok(stage)
    }

    pub(super) fn way_to_postgres(&self, side: Side) -> &DatabaseProxy {
        match side {
            Side::Relays => &self.relay_database,
            Side::Functions => &self.function_database,
            Side::Writers => &self.writer_database,
        }
    }

    /// Ends what is wrong with AWS, but for the keys that are refused for good.
    pub(super) fn heal_aws(&self) {
        self.function_aws.heal();
        self.relay_aws.heal();
        let is_refused = |key: &Option<String>| key.as_ref().is_some_and(|key| key.starts_with(REFUSED));
        self.relay_aws.inject(
            usize::MAX,
            Fault::refuse(move |entry| is_refused(&entry.key)),
            move |request: &Request| {
                let mut entries = request.entries.iter();
                entries.any(|entry| entry.queue.ends_with(".fifo") && is_refused(&entry.key))
            },
        );
    }

    /// The relays' configuration.
    pub(super) fn config(&self) -> RelayConfig {
        let toml = "drain_timeout_secs = 3\nlease_secs = 5\n\n[database]\nurl = \"env:DATABASE_URL\"\n\n\
                    [http]\nlisten = \"127.0.0.1:0\"\n";
        let config = RelayConfig::from_toml(toml)
            .env("DATABASE_URL", self.relay_database.url.as_str())
            .env("AWS_ENDPOINT_URL", &self.relay_aws.endpoint);
        self.consumers.iter().fold(config, |config, consumer| {
            config.sink_table(consumer.name, EVERYTHING, &consumer.target)
        })
    }

    /// The environment of a consumer's functions.
    pub(super) fn variables(&self, consumer: &Consumer) -> Vec<(&'static str, String)> {
        vec![
            ("RECORDER_MODE", consumer.mode.to_owned()),
            ("RECORDER_CONSUMER", consumer.name.to_owned()),
            ("RECORDER_TABLE", self.tables.audit.clone()),
            ("DEDUPE_TABLE", self.tables.dedupe.clone()),
            ("DATABASE_URL", self.function_database.url.to_string()),
            ("ONCEBOX_DLQ_URL", consumer.dead_letters.url.clone()),
            ("AWS_ENDPOINT_URL", self.function_aws.endpoint.clone()),
        ]
    }
}

async fn prepare(database: &Database) -> Result<()> {
    // Nothing is unique: a second effect of an event is a second row.
    sqlx::raw_sql(
        "create schema recorder;
         create table recorder.effect (
           place bigserial, consumer text not null, event uuid not null, key text, sequence bigint,
           payload text not null, at_ns bigint not null)",
    )
    .execute(&database.pool)
    .await?;
    Ok(())
}
