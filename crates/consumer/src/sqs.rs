//! The SQS client of a consumer.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
};
use tokio::sync::OnceCell;

/// A client that is made when it is first needed: most invocations need none, and it costs time at a cold start.
pub(crate) struct SqsClient(OnceCell<Client>);

impl SqsClient {
    pub(crate) fn new(client: Option<Client>) -> Self {
        Self(OnceCell::new_with(client))
    }

    pub(crate) async fn get(&self) -> &Client {
        let make = || async {
            let shared = aws_config::load_from_env().await;
            Client::from_conf(Builder::from(&shared).timeout_config(timeouts()).build())
        };
        self.0.get_or_init(make).await
    }
}

/// The SDK waits for a reply for ever by default; a lost one would cost the whole invocation.
pub(crate) fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(Duration::from_secs(3))
        .build()
}
