//! A target whose requests are traced.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{Message, PublishError, Publisher};
use crate::telemetry::traces::SinkTraces;

/// A publisher that records what it sends; without traces it only hands on.
#[derive(Debug, Clone)]
pub struct Traced<P> {
    publisher: P,
    traces: Option<Arc<SinkTraces>>,
}

impl<P> Traced<P> {
    /// `publisher`, with the sink's traces if there are any.
    pub fn new(publisher: P, traces: Option<SinkTraces>) -> Self {
        Self {
            publisher,
            traces: traces.map(Arc::new),
        }
    }
}

impl<P: Publisher> Publisher for Traced<P> {
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let Some(traces) = &self.traces else {
            return self.publisher.publish(batch).await;
        };
        let (started, clock) = (SystemTime::now(), Instant::now());
        let results = self.publisher.publish(batch).await;
        traces.record(batch, &results, started, clock.elapsed());
        results
    }
}
