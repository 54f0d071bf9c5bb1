//! A database, a queue behind a proxy, and the relay between them.

use anyhow::{Result, ensure};
use system_tests::{AwsProxy, Database, EVERYTHING, Entry, Queue, Relay, RelayConfig, Server, Stack, until};

/// The sink's name in every test here.
pub(crate) const SINK: &str = "all";

pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) database: Database,
    pub(crate) queue: Queue,
    pub(crate) proxy: AwsProxy,
}

impl Scene {
    pub(crate) async fn fifo() -> Self {
        let stack = Stack::from_env().await.unwrap();
        let queue = Queue::fifo(&stack).await.unwrap();
        Self::with(stack, queue).await
    }

    pub(crate) async fn standard() -> Self {
        let stack = Stack::from_env().await.unwrap();
        let queue = Queue::standard(&stack).await.unwrap();
        Self::with(stack, queue).await
    }

    async fn with(stack: Stack, queue: Queue) -> Self {
        let database = Database::create(&stack).await.unwrap();
        Self::of(stack, queue, database).await
    }

    /// On a server of the test's own, with a FIFO queue.
    pub(crate) async fn fifo_on(server: &Server) -> Self {
        let stack = Stack::from_env().await.unwrap();
        let queue = Queue::fifo(&stack).await.unwrap();
        let database = Database::create_on(server).await.unwrap();
        Self::of(stack, queue, database).await
    }

    async fn of(stack: Stack, queue: Queue, database: Database) -> Self {
        let proxy = AwsProxy::start(&stack).await.unwrap();
        Self {
            stack,
            database,
            queue,
            proxy,
        }
    }

    pub(crate) fn config(&self) -> RelayConfig {
        RelayConfig::new(&self.database)
            .sink(SINK, EVERYTHING, &self.queue)
            .env("AWS_ENDPOINT_URL", &self.proxy.endpoint)
    }

    pub(crate) async fn relay(&self) -> Relay {
        Relay::start(&self.config()).await.unwrap()
    }

    /// Waits until SQS has taken each of these events at least once.
    pub(crate) async fn published(&self, ids: &[String]) {
        let look = async || -> Result<()> {
            let taken = self.proxy.taken();
            let missing: Vec<&String> = ids
                .iter()
                .filter(|id| taken.iter().all(|e| e.event_id != **id))
                .collect();
            ensure!(
                missing.is_empty(),
                "{} of {} are missing, such as {}",
                missing.len(),
                ids.len(),
                missing[0]
            );
            Ok(())
        };
        until(&format!("{} events to be published", ids.len()), look)
            .await
            .unwrap();
    }

    /// Waits until the sink's cursors are past everything that is committed.
    pub(crate) async fn settled(&self) {
        until("the cursors to be past everything", async || {
            let ahead = self.database.unpublished(SINK).await?;
            ensure!(ahead == 0, "{ahead} events ahead of the cursors");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// The ids of what SQS took, in its order, copies included.
    pub(crate) fn taken_ids(&self) -> Vec<String> {
        self.proxy.taken().into_iter().map(|entry| entry.event_id).collect()
    }

    /// The sequences that SQS took of a key, in its order, copies included.
    pub(crate) fn sequences(&self, key: &str) -> Vec<i64> {
        let of_key = |entry: &Entry| (entry.key.as_deref() == Some(key)).then_some(entry.sequence)?;
        self.proxy.taken().iter().filter_map(of_key).collect()
    }
}
