//! The claim check: data that is too large for a target goes to Amazon S3, and its message says where.
//!
//! Decided when a message is made, so that its size is known then: `ClaimCheck::refer` turns an
//! envelope into one without data, and the data into a [`Claim`]. `ClaimCheck::store` puts it into
//! the bucket before the message is sent. An object's key holds the event's id and the data's hash, so
//! a retry or a replay writes the same bytes to the same place, and nothing ever changes there.

mod inspect;

use std::sync::Arc;

use aws_sdk_s3::{Client, primitives::ByteStream, types::ChecksumAlgorithm};
use oncebox_envelope::{DataRef, EnvelopeError, RawEnvelope, wire};
use sha2::{Digest as _, Sha256};

use super::{FailureClass, PublishError, Scope, classify};

/// Where large data goes.
#[derive(Debug, Clone)]
pub(super) struct ClaimCheck {
    pub(super) client: Client,
    pub(super) bucket: String,
    /// Without a slash at its end; empty for none.
    pub(super) prefix: String,
}

/// Data that has to be in the bucket before its message may be sent.
#[derive(Debug, Clone)]
pub struct Claim {
    key: String,
    data: Arc<str>,
}

impl Claim {
    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The data's JSON text.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }
}

impl ClaimCheck {
    /// The envelope with `dataref`, `datalength` (bytes of the data's JSON text) and `datasha256` (its
    /// hash in lower-case hex) in place of its data.
    ///
    /// # Errors
    /// The reference breaks a rule of the envelope, or there is no data.
    pub(super) fn refer(&self, mut envelope: RawEnvelope) -> Result<(RawEnvelope, Claim), EnvelopeError> {
        let data = envelope.data.take().ok_or(EnvelopeError::Unresolved)?;
        let data: Arc<str> = data.get().into();
        let digest = Sha256::digest(data.as_bytes());
        let hash = digest
            .iter()
            .fold(String::with_capacity(64), |hex, byte| format!("{hex}{byte:02x}"));
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        let key = format!("{}{separator}{}/{hash}.json", self.prefix, envelope.id);
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let reference = DataRef::new(format!("s3://{}/{key}", self.bucket), length, digest.into())?;
        envelope.data_ref = Some(reference);
        Ok((envelope, Claim { key, data }))
    }

    /// Puts the data into the bucket, with its checksum.
    ///
    /// # Errors
    /// Of the entry, never of the request, and never one after which the message may have arrived: it
    /// was not sent.
    ///
    /// # Cancel safety
    /// A cancelled call may have stored the object, which is as good as having stored it.
    pub(super) async fn store(&self, claim: &Claim) -> Result<(), PublishError> {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(&claim.key)
            .content_type(wire::DATA_CONTENT_TYPE)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .body(ByteStream::from(claim.data.as_bytes().to_vec()));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_stored(classify::request(&error, class))),
        }
    }
}

/// The failure of the entry whose data could not be stored.
pub(super) fn not_stored(error: PublishError) -> PublishError {
    let message = match error.code.as_str() {
        "Timeout" | "Dispatch" | "Response" => "no answer from Amazon S3".to_owned(),
        _ => error.message,
    };
    PublishError {
        class: error.class,
        code: error.code,
        message: format!("the data could not be stored in the claim check's bucket: {message}"),
        scope: Scope::Entry,
        may_have_arrived: false,
    }
}

/// Amazon S3 API reference, "Error responses", as far as `PutObject` answers with it.
pub(super) fn class(code: &str) -> Option<FailureClass> {
    match code {
        "ServiceUnavailable" | "ThrottlingException" | "KMS.ThrottlingException" => Some(FailureClass::Throttled),
        // The bucket, its key or its policy: nothing is wrong with the message.
        "NoSuchBucket"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "InvalidBucketName"
        | "InvalidBucketState"
        | "AccountProblem"
        | "AllAccessDisabled"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "KMS.NotFoundException"
        | "KMS.DisabledException"
        | "KMS.KMSInvalidStateException"
        | "KMS.InvalidStateException"
        | "EncryptionTypeMismatch" => Some(FailureClass::Auth),
        // Damaged on the way; and a write to the same key at the same moment.
        "BadDigest" | "IncompleteBody" | "OperationAborted" | "ConditionalRequestConflict" => {
            Some(FailureClass::Transient)
        }
        "EntityTooLarge" | "KeyTooLongError" | "InvalidRequest" | "InvalidArgument" | "InvalidDigest" => {
            Some(FailureClass::Permanent)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
