//! Whose tables a command works on.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
};
use clap::Args;
use oncebox_consumer::operator::Operator;

/// The consumer and its table; region, credentials and endpoint as the AWS SDK finds them.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// The consumer's name, as its function was built with.
    #[arg(long, short, value_name = "NAME")]
    consumer: String,
    /// The table of its dedupe records.
    #[arg(long, short, env = "DEDUPE_TABLE", value_name = "TABLE")]
    table: String,
}

impl Tables {
    pub(crate) async fn open(&self) -> Operator {
        Operator::new(client().await, &self.consumer, &self.table)
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.consumer
    }
}

pub(crate) async fn client() -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_timeout(Duration::from_secs(15))
        .build();
    let shared = aws_config::load_from_env().await;
    Client::from_conf(Builder::from(&shared).timeout_config(timeouts).build())
}
