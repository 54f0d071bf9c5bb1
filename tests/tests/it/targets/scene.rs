//! A database and a proxy; each test adds its own target.

use anyhow::{Context as _, Result, ensure};
use system_tests::{AwsProxy, Database, EVERYTHING, Entry, Relay, RelayConfig, Request, Stack, until};

/// The sink's name in every test here.
pub(crate) const SINK: &str = "all";

/// An EventBridge pattern that lets every plain event through.
pub(crate) const EVERY_EVENT: &str = r#"{ "detail-type": ["test.happened.v1"] }"#;

pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) database: Database,
    pub(crate) proxy: AwsProxy,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        Self {
            database: Database::create(&stack).await.unwrap(),
            proxy: AwsProxy::start(&stack).await.unwrap(),
            stack,
        }
    }

    /// A relay with one sink, whose target (and claim check) is written in `lines`.
    pub(crate) async fn relay(&self, lines: &str) -> Relay {
        Relay::start(&self.config(lines)).await.unwrap()
    }

    pub(crate) fn config(&self, lines: &str) -> RelayConfig {
        RelayConfig::new(&self.database)
            .sink_table(SINK, EVERYTHING, lines)
            .env("AWS_ENDPOINT_URL", &self.proxy.endpoint)
    }

    /// Enqueues an event whose data is a string of `bytes` characters; returns its id.
    pub(crate) async fn enqueue_large(&self, key: Option<&str>, bytes: i32) -> String {
        let id: uuid::Uuid = sqlx::query_scalar(
            "select oncebox.enqueue(type => 'test.happened.v1', data => to_jsonb(repeat('x', $2)), key => $1)",
        )
        .bind(key)
        .bind(bytes)
        .fetch_one(&mut self.database.connect().await.unwrap())
        .await
        .unwrap();
        id.to_string()
    }

    /// Waits until the target has taken each of these events, and returns what it took, copies included.
    pub(crate) async fn taken(&self, ids: &[String]) -> Vec<Entry> {
        until(&format!("{} events to be taken", ids.len()), async || -> Result<_> {
            let taken = self.proxy.taken();
            let missing = ids.iter().find(|id| taken.iter().all(|entry| entry.event_id != **id));
            ensure!(missing.is_none(), "{} is missing", missing.context("one")?);
            Ok(taken)
        })
        .await
        .unwrap()
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
}

/// Requests that carry an event with this sequence.
pub(crate) fn has(sequence: i64) -> impl Fn(&Request) -> bool + Send + 'static {
    move |request| request.entries.iter().any(|entry| entry.sequence == Some(sequence))
}

/// How often each event was sent, whatever came of it, in the order of `ids`.
pub(crate) fn times_sent(proxy: &AwsProxy, ids: &[String]) -> Vec<usize> {
    let sends = proxy.sends();
    let of = |id: &String| {
        let entries = sends.iter().flat_map(|send| &send.entries);
        entries.filter(|entry| entry.event_id == *id).count()
    };
    ids.iter().map(of).collect()
}
