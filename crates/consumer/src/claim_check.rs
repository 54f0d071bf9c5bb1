//! Claim checks: data that lies elsewhere is there before the handler begins.
//!
//! What was fetched stands in for what was sent: the handler and the dedupe record see an envelope
//! that holds its data itself, so an event counts as one whichever way it comes.

#[cfg(feature = "claim-check")]
mod download;
#[cfg(feature = "claim-check")]
mod s3;

#[cfg(feature = "claim-check")]
pub use s3::S3ClaimCheck;

use tokio::time::Instant;

use crate::{
    failure::{Failure, Reason},
    record::Content,
};

/// How a consumer gets data that lies elsewhere.
#[derive(Default)]
pub(crate) struct ClaimCheck {
    #[cfg(feature = "claim-check")]
    pub(crate) s3: Option<S3ClaimCheck>,
}

/// An event whose data is there.
pub(crate) enum Resolved<'a> {
    /// It came with its data.
    AsItCame(&'a Content),
    /// The data was fetched; it counts against the bound for as long as this lives.
    #[cfg(feature = "claim-check")]
    Fetched {
        content: Box<Content>,
        _room: tokio::sync::OwnedSemaphorePermit,
    },
}

impl std::ops::Deref for Resolved<'_> {
    type Target = Content;

    fn deref(&self) -> &Content {
        match self {
            Self::AsItCame(content) => content,
            #[cfg(feature = "claim-check")]
            Self::Fetched { content, .. } => content,
        }
    }
}

impl ClaimCheck {
    /// The event with its data, by `until` at the latest.
    #[cfg(feature = "claim-check")]
    pub(crate) async fn resolve<'a>(&self, content: &'a Content, until: Instant) -> Result<Resolved<'a>, Failure> {
        let Some(data_ref) = &content.envelope.data_ref else {
            return Ok(Resolved::AsItCame(content));
        };
        let Some(s3) = &self.s3 else {
            return Err(not_configured());
        };
        let (data, room) = tokio::time::timeout_at(until, s3.fetch(data_ref))
            .await
            .map_err(|_| Failure::retryable("the data was not fetched within the time of this invocation"))??;
        let mut envelope = content.envelope.clone();
        envelope.data = Some(data);
        envelope.data_ref = None;
        Ok(Resolved::Fetched {
            content: Box::new(Content::new(envelope)),
            _room: room,
        })
    }

    /// The event, if it has its data.
    #[cfg(not(feature = "claim-check"))]
    #[expect(clippy::unused_async, reason = "the shape that it has with the feature")]
    pub(crate) async fn resolve<'a>(&self, content: &'a Content, _: Instant) -> Result<Resolved<'a>, Failure> {
        match &content.envelope.data_ref {
            None => Ok(Resolved::AsItCame(content)),
            Some(_) => Err(not_configured()),
        }
    }
}

fn not_configured() -> Failure {
    Failure::permanent(
        Reason::ClaimCheck,
        "the data lies at `dataref`; enable feature `claim-check` and call `.claim_check(S3ClaimCheck::from_env())`",
    )
}
