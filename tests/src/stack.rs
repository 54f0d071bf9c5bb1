//! The running stack, as its environment tells it.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use url::Url;

/// LocalStack and Postgres, started by `localstack/stack.py`.
#[derive(Debug, Clone)]
pub struct Stack {
    /// Where LocalStack answers.
    pub endpoint: String,
    /// Postgres from this machine; the role is a superuser.
    pub database_url: Url,
    /// Postgres from a deployed function (another address when that runs in a container).
    pub function_database_url: Url,
    /// The stack's folder.
    pub dir: PathBuf,
    /// A Python with boto3.
    pub python: PathBuf,
    /// A psql; the stack's own where it has one.
    pub psql: PathBuf,
    aws: SdkConfig,
}

impl Stack {
    /// Reads the environment that `stack.py run` gives.
    ///
    /// # Errors
    /// There is no stack; the message says how to run with one.
    pub async fn from_env() -> Result<Self> {
        let endpoint = variable("AWS_ENDPOINT_URL")?;
        Ok(Self {
            aws: aws_config::from_env().endpoint_url(&endpoint).load().await,
            endpoint,
            database_url: url("DATABASE_URL")?,
            function_database_url: url("ONCEBOX_FUNCTION_DATABASE_URL")?,
            dir: variable("ONCEBOX_STACK_DIR")?.into(),
            python: variable("ONCEBOX_PYTHON")?.into(),
            psql: env::var_os("ONCEBOX_POSTGRES_BIN")
                .map(PathBuf::from)
                .unwrap_or_default()
                .join("psql"),
        })
    }

    /// A client for SQS, past every proxy.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.aws)
    }

    /// A client for SNS, past every proxy.
    #[must_use]
    pub fn sns(&self) -> aws_sdk_sns::Client {
        aws_sdk_sns::Client::new(&self.aws)
    }

    /// A client for EventBridge, past every proxy.
    #[must_use]
    pub fn eventbridge(&self) -> aws_sdk_eventbridge::Client {
        aws_sdk_eventbridge::Client::new(&self.aws)
    }

    /// A client for S3, past every proxy.
    #[must_use]
    pub fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::config::Builder::from(&self.aws).force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// The configuration of every client here, with LocalStack's address.
    #[must_use]
    pub fn aws(&self) -> &SdkConfig {
        &self.aws
    }

    /// A client for DynamoDB, past every proxy.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.aws)
    }

    /// Where a deployed function's output goes.
    #[must_use]
    pub fn function_log(&self, function_name: &str) -> PathBuf {
        self.dir.join("logs/functions").join(format!("{function_name}.log"))
    }
}

fn url(name: &str) -> Result<Url> {
    variable(name)?.parse().with_context(|| format!("{name} is no URL"))
}

fn variable(name: &str) -> Result<String> {
    env::var(name).ok().filter(|value| !value.is_empty()).with_context(|| {
        format!(
            "no stack to test on ({name} is not set): run `make test`, or \
             `python3 localstack/stack.py run -- cargo nextest run -p system-tests`"
        )
    })
}
