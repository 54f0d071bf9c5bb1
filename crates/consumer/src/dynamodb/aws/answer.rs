//! What DynamoDB's answer to a transaction says. Pure.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::CancellationReason,
};

use crate::dynamodb::store::{Cancellation, Transacted};

pub(super) fn transacted<R: HttpStatus>(error: &SdkError<TransactWriteItemsError, R>) -> Transacted {
    match error {
        SdkError::ServiceError(refused) => of_service(refused.err(), refused.raw().status()),
        SdkError::ConstructionFailure(_) => Transacted::Busy("the request could not be made".to_owned()),
        SdkError::TimeoutError(_) => Transacted::Unknown("DynamoDB did not answer in time".to_owned()),
        SdkError::DispatchFailure(_) => Transacted::Unknown("the connection to DynamoDB broke".to_owned()),
        _ => Transacted::Unknown("DynamoDB's answer was unreadable".to_owned()),
    }
}

fn of_service(error: &TransactWriteItemsError, status: u16) -> Transacted {
    if let TransactWriteItemsError::TransactionCanceledException(canceled) = error {
        let reasons = canceled.cancellation_reasons();
        return if reasons.is_empty() {
            Transacted::Busy("canceled without a reason".to_owned())
        } else {
            Transacted::Canceled(reasons.iter().map(cancellation).collect())
        };
    }
    let code = error.code().unwrap_or("an unknown error").to_owned();
    match code.as_str() {
        "TransactionInProgressException"
        | "ThrottlingException"
        | "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded" => Transacted::Busy(code),
        // A server that failed may have applied the transaction before it did.
        _ if status >= 500 => Transacted::Unknown(code),
        _ => Transacted::Refused(code),
    }
}

/// The codes of the API Reference, `TransactWriteItems`, "Cancellation reason codes".
fn cancellation(reason: &CancellationReason) -> Cancellation {
    match reason.code().unwrap_or("None") {
        "None" => Cancellation::None,
        "ConditionalCheckFailed" => {
            Cancellation::ConditionFailed(reason.item().filter(|item| !item.is_empty()).cloned())
        }
        code @ ("TransactionConflict"
        | "ProvisionedThroughputExceeded"
        | "ThrottlingError"
        | "RequestLimitExceeded") => Cancellation::Busy(code.to_owned()),
        code @ ("ItemCollectionSizeLimitExceeded" | "ValidationError") => Cancellation::Invalid(code.to_owned()),
        code => Cancellation::Other(code.to_owned()),
    }
}

/// The status line of a reply, whatever type carries it.
pub(super) trait HttpStatus {
    fn status(&self) -> u16;
}

impl HttpStatus for aws_sdk_dynamodb::config::http::HttpResponse {
    fn status(&self) -> u16 {
        self.status().as_u16()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use aws_sdk_dynamodb::types::{
        AttributeValue,
        error::{InternalServerError, TransactionCanceledException, TransactionInProgressException},
    };

    use super::*;

    impl HttpStatus for u16 {
        fn status(&self) -> u16 {
            *self
        }
    }

    fn answer(error: TransactWriteItemsError, status: u16) -> Transacted {
        transacted(&SdkError::service_error(error, status))
    }

    #[test]
    fn each_reason_stands_at_the_place_of_its_write() {
        let item = HashMap::from([("pk".to_owned(), AttributeValue::S("a".to_owned()))]);
        let reason = |code: &str| CancellationReason::builder().code(code);
        let reasons = vec![
            reason("None").build(),
            reason("ConditionalCheckFailed").set_item(Some(item.clone())).build(),
            reason("ConditionalCheckFailed").build(),
            reason("TransactionConflict").build(),
            reason("ThrottlingError").build(),
            reason("ProvisionedThroughputExceeded").build(),
            reason("ValidationError").build(),
            reason("AccessDenied").build(),
            CancellationReason::builder().build(),
        ];
        let canceled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons));
        let error = TransactWriteItemsError::TransactionCanceledException(canceled.build());
        let busy = |code: &str| Cancellation::Busy(code.to_owned());
        let expected = vec![
            Cancellation::None,
            Cancellation::ConditionFailed(Some(item)),
            Cancellation::ConditionFailed(None),
            busy("TransactionConflict"),
            busy("ThrottlingError"),
            busy("ProvisionedThroughputExceeded"),
            Cancellation::Invalid("ValidationError".to_owned()),
            Cancellation::Other("AccessDenied".to_owned()),
            Cancellation::None,
        ];
        assert_eq!(answer(error, 400), Transacted::Canceled(expected));
    }

    #[test]
    fn a_failed_server_may_have_applied_it() {
        let error = TransactWriteItemsError::InternalServerError(InternalServerError::builder().build());
        assert!(matches!(answer(error, 500), Transacted::Unknown(_)));
    }

    #[test]
    fn without_reasons_it_may_succeed_later() {
        let canceled = TransactionCanceledException::builder().build();
        let error = TransactWriteItemsError::TransactionCanceledException(canceled);
        assert!(matches!(answer(error, 400), Transacted::Busy(_)));
        let meta = aws_sdk_dynamodb::error::ErrorMetadata::builder().code("TransactionInProgressException");
        let error = TransactionInProgressException::builder().meta(meta.build()).build();
        let error = TransactWriteItemsError::TransactionInProgressException(error);
        assert!(matches!(answer(error, 400), Transacted::Busy(_)));
    }
}
