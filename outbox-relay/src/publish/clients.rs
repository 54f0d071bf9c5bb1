//! The clients of the AWS services, configured in one place.

use std::time::Duration;

use aws_config::{Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};

/// Time for one request unless something else bounds it, from the first byte sent to the last byte read.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Clients whose own retries are off, since the lanes decide what is sent again and in which order.
#[derive(Debug, Clone)]
pub struct Clients {
    pub(super) sqs: aws_sdk_sqs::Client,
    pub(super) sns: aws_sdk_sns::Client,
    pub(super) eventbridge: aws_sdk_eventbridge::Client,
    /// Only asked by a check.
    pub(super) lambda: aws_sdk_lambda::Client,
    pub(super) s3: aws_sdk_s3::Client,
    pub(super) sts: aws_sdk_sts::Client,
    pub(super) region: Option<Region>,
    pub(super) request_timeout: Duration,
}

impl Clients {
    /// Clients whose requests, and whose calls of [`super::Publisher::publish`], end within
    /// `request_timeout`.
    #[must_use]
    pub fn new(config: &SdkConfig, request_timeout: Duration) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(request_timeout))
            .operation_timeout(request_timeout)
            .build();
        let config = config
            .clone()
            .into_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .build();
        // A bucket has a host name of its own on AWS, and rarely one on an endpoint that was set.
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(config.endpoint_url().is_some())
            .build();
        Self {
            sqs: aws_sdk_sqs::Client::new(&config),
            sns: aws_sdk_sns::Client::new(&config),
            eventbridge: aws_sdk_eventbridge::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sts: aws_sdk_sts::Client::new(&config),
            region: config.region().cloned(),
            request_timeout,
        }
    }
}
