//! What a leased handler gets beside its event.

use oncebox_envelope::EventId;
use tokio_util::sync::CancellationToken;

/// The lease under which a handler runs.
#[derive(Debug)]
pub struct LeaseContext {
    pub(super) idempotency_key: String,
    pub(super) fence: u64,
    pub(super) previous: Previous,
    pub(super) stop: CancellationToken,
}

/// How the attempt before this one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Previous {
    /// There was none that is remembered.
    None,
    /// It failed, and said that it had no effect.
    Failed,
    /// Nobody knows: its function was killed, its lease was lost, or it said so itself.
    Unknown,
}

impl LeaseContext {
    pub(super) fn new(event: EventId, fence: u64, previous: Previous) -> Self {
        Self {
            idempotency_key: event.to_string(),
            fence,
            previous,
            stop: CancellationToken::new(),
        }
    }

    /// The event's id: the same in every attempt, whoever makes it.
    ///
    /// For the `Idempotency-Key` of an HTTP request or what the receiver calls it. Where several consumers,
    /// or several requests of one handler, go to one receiver, add a word to it for each.
    #[must_use]
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }

    /// Rises with each attempt. A receiver that refuses a lower one than it has seen for this event is safe even from
    /// a function that was frozen in the middle of its work.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// How the attempt before this one ended.
    #[must_use]
    pub fn previous(&self) -> Previous {
        self.previous
    }

    /// Whether to begin nothing more: the lease is lost or about to end, or the invocation is.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until [`is_stopping`](Self::is_stopping). A tenth of the lease later at the latest, or when
    /// the invocation's time is over, the handler is dropped.
    ///
    /// # Cancel safety
    /// Safe: it only waits.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }
}
