//! What an error of the AWS SDK means, without what it quotes.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// An SDK error without its message, which may quote the request.
pub(crate) fn describe<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    match error {
        SdkError::ServiceError(refused) => refused.err().code().unwrap_or("unknown error").to_owned(),
        SdkError::TimeoutError(_) => "timeout".to_owned(),
        SdkError::DispatchFailure(_) => "no connection".to_owned(),
        SdkError::ResponseError(_) => "unreadable reply".to_owned(),
        _ => "request not sent".to_owned(),
    }
}
