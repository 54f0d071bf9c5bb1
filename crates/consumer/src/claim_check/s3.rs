//! Data in Amazon S3.

use std::sync::Arc;

use aws_sdk_s3::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::SdkError,
    operation::get_object::GetObjectError,
};
use oncebox_envelope::DataRef;
use serde_json::value::RawValue;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::download::Download;
use crate::{
    failure::{Failure, Reason},
    sdk_error::describe,
};

/// Fetches the data of events whose envelope has a `dataref`.
///
/// Before the handler sees it, the object must have the length and the SHA-256 that the envelope
/// says. One that is missing, other or too large sets the event aside; one that cannot be had right
/// now (no connection, throttling, no permission) sends its message back.
///
/// The function needs `s3:GetObject` on the objects, and `s3:ListBucket` on the bucket: without the
/// latter S3 says of a missing object that access is denied, and the message is tried again until
/// its queue gives up.
///
/// Keep the objects for as long as their messages may come again: the retention of the queue and of
/// its dead-letter queue, and the time within which anybody replays. Data is fetched before anything
/// tells that an event has been consumed.
#[derive(Clone)]
pub struct S3ClaimCheck {
    /// Made at first use: most invocations need none, and a client costs time at a cold start.
    client: Arc<OnceCell<Client>>,
    max_bytes: u64,
    /// A permit for each byte that may be held.
    room: Arc<Semaphore>,
}

impl S3ClaimCheck {
    /// 64 MiB.
    pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;

    /// Data through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::with_client(OnceCell::new_with(Some(client)))
    }

    /// Data through a client with the SDK's configuration from the environment.
    #[must_use]
    pub fn from_env() -> Self {
        Self::with_client(OnceCell::new())
    }

    fn with_client(client: OnceCell<Client>) -> Self {
        Self {
            client: Arc::new(client),
            max_bytes: 0,
            room: Arc::new(Semaphore::new(0)),
        }
        .max_bytes(Self::DEFAULT_MAX_BYTES)
    }

    /// The most bytes that the data of one event may have, and that all events that are worked on
    /// at a time may have together: whoever comes later waits. Larger data sets its event aside.
    ///
    /// A handler has the data as text and as its type at once, so allow the function's memory some
    /// four times as much.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        let bytes = bytes.min(DataRef::MAX_LENGTH);
        self.max_bytes = bytes;
        self.room = Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(Semaphore::MAX_PERMITS)));
        self
    }

    /// The data, and the room that it takes.
    ///
    /// # Cancel safety
    /// Dropping it ends the download and leaves nothing behind.
    pub(crate) async fn fetch(&self, data_ref: &DataRef) -> Result<(Box<RawValue>, OwnedSemaphorePermit), Failure> {
        let length = data_ref.length();
        let permits = u32::try_from(length).ok().filter(|_| length <= self.max_bytes);
        let permits = permits.ok_or_else(|| {
            let text = format!(
                "the data has {length} bytes; this consumer fetches up to {}",
                self.max_bytes
            );
            Failure::permanent(Reason::ClaimCheck, format!("{text}, see `S3ClaimCheck::max_bytes`"))
        })?;
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        let room = room.map_err(|_| Failure::retryable("the consumer fetches no more data"))?;
        let request = self.client().await.get_object();
        let request = request.bucket(data_ref.bucket()).key(data_ref.key());
        let mut reply = request.send().await.map_err(|error| refused(&error))?;
        let found = reply.content_length().and_then(|found| u64::try_from(found).ok());
        let mut download = Download::begin(data_ref, found)?;
        while let Some(bytes) = reply.body.next().await {
            download.push(&bytes.map_err(|_| Failure::retryable("the connection to S3 broke"))?)?;
        }
        Ok((download.finish()?, room))
    }

    async fn client(&self) -> &Client {
        let make = || async {
            // The SDK waits for a reply for ever by default; a lost one would cost the whole
            // invocation. The attempt ends with the reply's head, so this does not bound the data.
            let timeouts = TimeoutConfig::builder()
                .connect_timeout(std::time::Duration::from_secs(1))
                .operation_attempt_timeout(std::time::Duration::from_secs(5))
                .build();
            let config = Builder::from(&aws_config::load_from_env().await)
                .timeout_config(timeouts)
                .build();
            Client::from_conf(config)
        };
        self.client.get_or_init(make).await
    }
}

/// Only an object or a bucket that is not there will never be had. A permission, a key of
/// encryption or an archived object is a matter of the deployment, and messages outlive that.
fn refused(error: &SdkError<GetObjectError>) -> Failure {
    let text = format!("S3 did not give the object at `dataref`: {}", describe(error));
    match error.raw_response().map(|response| response.status().as_u16()) {
        Some(404) => Failure::permanent(Reason::ClaimCheck, text),
        Some(_) | None => Failure::Retryable(text),
    }
}
