//! Several relays over one log: who publishes what, and never two at once.

mod hanging;
mod light;
mod membership;
mod random;
mod sharing;
mod standby;
mod steps;
mod takeover;

use anyhow::ensure;
use system_tests::{AwsProxy, Database, EVERYTHING, Queue, Relay, RelayConfig, Stack, until};

pub(crate) const SINK: &str = "all";

/// A database, a FIFO queue, and relays that each may have a proxy of their own.
pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) database: Database,
    pub(crate) queue: Queue,
    pub(crate) proxy: AwsProxy,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        Self {
            database: Database::create(&stack).await.unwrap(),
            queue: Queue::fifo(&stack).await.unwrap(),
            proxy: AwsProxy::start(&stack).await.unwrap(),
            stack,
        }
    }

    /// The configuration of a relay that sends through `proxy`.
    pub(crate) fn config(&self, proxy: &AwsProxy, lease_secs: u32, max_in_flight: u32) -> RelayConfig {
        let toml = format!(
            "drain_timeout_secs = 20\nlease_secs = {lease_secs}\n[database]\nurl = \"env:DATABASE_URL\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[[sink]]\nname = \"{SINK}\"\nmatch = {EVERYTHING}\n\
             sqs = {{ queue = \"{}\" }}\nmax_in_flight = {max_in_flight}\n",
            self.queue.name
        );
        RelayConfig::from_toml(&toml)
            .env("DATABASE_URL", self.database.url.as_str())
            .env("AWS_ENDPOINT_URL", &proxy.endpoint)
    }

    /// A relay on the scene's own proxy, with the shortest lease.
    pub(crate) async fn relay(&self) -> Relay {
        Relay::start(&self.config(&self.proxy, 2, 16)).await.unwrap()
    }

    /// How many shards each living relay holds, the fewest first.
    pub(crate) async fn shares(&self) -> Vec<i64> {
        sqlx::query_scalar(
            "select count(c.shard) as held from oncebox.relay r
             left join oncebox.cursor c on c.owner = r.id and c.sink = $1
             group by r.id order by held",
        )
        .bind(SINK)
        .fetch_all(&self.database.pool)
        .await
        .unwrap()
    }

    pub(crate) async fn until_shares_are(&self, expected: &[i64]) {
        until(&format!("the relays to hold {expected:?} shards"), async || {
            let shares = self.shares().await;
            ensure!(shares == expected, "they hold {shares:?}");
            Ok(())
        })
        .await
        .unwrap();
    }

    pub(crate) async fn until_settled(&self) {
        until("the cursors to be past everything", async || {
            let ahead = self.database.unpublished(SINK).await?;
            ensure!(ahead == 0, "{ahead} events ahead of the cursors");
            Ok(())
        })
        .await
        .unwrap();
    }

    /// Two events of each of twelve keys, which lie in several shards.
    pub(crate) async fn commit_some(&self) -> Vec<String> {
        let mut committed = Vec::new();
        for _ in 0..2 {
            for key in 0..12 {
                committed.push(self.database.enqueue(Some(&format!("key-{key}"))).await.unwrap());
            }
        }
        committed
    }
}
