//! Every error of SQS to its class, in one place.

use aws_sdk_sqs::{
    error::{ProvideErrorMetadata, SdkError},
    operation::send_message_batch::SendMessageBatchError,
    types::BatchResultErrorEntry,
};

use crate::publish::{FailureClass, PublishError, Scope};

/// The class of a request that failed as a whole.
pub(super) fn request(error: &SdkError<SendMessageBatchError>) -> PublishError {
    match error {
        // The message could not even be written down as a request.
        SdkError::ConstructionFailure(_) => local(
            "ConstructionFailure",
            FailureClass::Permanent,
            "the request could not be built",
        ),
        SdkError::TimeoutError(_) => local(
            "Timeout",
            FailureClass::Transient,
            "no answer in time; the messages may have arrived",
        ),
        SdkError::DispatchFailure(failure) if failure.is_user() => local(
            "Dispatch",
            FailureClass::Auth,
            "no credentials could be loaded, or the client is misconfigured",
        ),
        SdkError::DispatchFailure(_) => local(
            "Dispatch",
            FailureClass::Transient,
            "the connection failed; the messages may have arrived",
        ),
        SdkError::ResponseError(_) => local(
            "Response",
            FailureClass::Transient,
            "the answer could not be read; the messages may have arrived",
        ),
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            let code = context.err().code().unwrap_or("Unknown");
            PublishError {
                class: by_code(code).unwrap_or_else(|| by_status(status)),
                code: code.to_owned(),
                message: context.err().message().unwrap_or("no message").to_owned(),
                scope: Scope::Request,
                // A 5xx may be said after the work was done.
                may_have_arrived: status >= 500,
            }
        }
        // SdkError is non-exhaustive: what we do not know may have arrived, so it is sent again.
        _ => local("Unknown", FailureClass::Transient, "unknown failure of the client"),
    }
}

/// The class of one entry that failed in a request that did not.
pub(super) fn entry(entry: &BatchResultErrorEntry) -> PublishError {
    let by_fault = if entry.sender_fault() {
        FailureClass::Permanent
    } else {
        FailureClass::Transient
    };
    PublishError {
        class: by_code(entry.code()).unwrap_or(by_fault),
        code: entry.code().to_owned(),
        message: entry.message().unwrap_or("no message").to_owned(),
        scope: Scope::Entry,
        may_have_arrived: !entry.sender_fault(),
    }
}

/// Codes that mean the same wherever they stand (Amazon SQS API reference, "Common errors" and
/// `SendMessageBatch`). With and without the query protocol's prefix.
fn by_code(code: &str) -> Option<FailureClass> {
    let code = code.rsplit(['#', '.']).next().unwrap_or(code);
    match code {
        "ThrottlingException" | "Throttling" | "ThrottledException" | "RequestThrottled" | "RequestThrottledException"
        | "TooManyRequestsException" | "RequestLimitExceeded" | "OverLimit" | "SlowDown" | "KmsThrottled" => {
            Some(FailureClass::Throttled)
        }
        "AccessDenied" | "AccessDeniedException" | "InvalidClientTokenId" | "SignatureDoesNotMatch" | "ExpiredToken"
        | "ExpiredTokenException" | "MissingAuthenticationToken" | "UnrecognizedClientException" | "InvalidSecurity"
        | "IncompleteSignature" | "OptInRequired" | "KmsAccessDenied" | "KmsDisabled" | "KmsNotFound"
        | "KmsInvalidState" | "KmsInvalidKeyUsage" | "KmsOptInRequired"
        // The queue is gone or not yet there: nothing is wrong with the message.
        | "QueueDoesNotExist" | "NonExistentQueue" | "InvalidAddress" => Some(FailureClass::Auth),
        "InternalFailure" | "InternalError" | "ServiceUnavailable" | "RequestExpired" | "RequestTimeout" => {
            Some(FailureClass::Transient)
        }
        "InvalidMessageContents" | "InvalidParameterValue" | "InvalidParameterValueException"
        | "InvalidParameterCombination" | "InvalidAttributeValue" | "MissingParameter" | "MessageTooLong"
        | "BatchRequestTooLong" | "UnsupportedOperation" | "ValidationError" | "InvalidBatchEntryId"
        | "BatchEntryIdsNotDistinct" | "EmptyBatchRequest" | "TooManyEntriesInBatchRequest" => {
            Some(FailureClass::Permanent)
        }
        _ => None,
    }
}

fn by_status(status: u16) -> FailureClass {
    match status {
        429 => FailureClass::Throttled,
        401 | 403 => FailureClass::Auth,
        408 => FailureClass::Transient,
        400..=499 => FailureClass::Permanent,
        _ => FailureClass::Transient,
    }
}

fn local(code: &str, class: FailureClass, message: &str) -> PublishError {
    PublishError {
        class,
        code: code.to_owned(),
        message: message.to_owned(),
        scope: Scope::Request,
        may_have_arrived: class == FailureClass::Transient,
    }
}
