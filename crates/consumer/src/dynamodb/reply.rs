//! What DynamoDB's answer to a transaction means. Pure.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, CancellationReason},
};

use super::effects::Effect;
use crate::failure::{Failure, Reason};

/// What an unsuccessful answer means.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// There is a record already; as it was returned.
    Recorded(Option<HashMap<String, AttributeValue>>),
    /// Not applied; the same request may succeed a little later.
    Busy(String),
    /// Perhaps applied: only the record can tell.
    Unknown(String),
    /// Not applied, and not by trying again right away.
    Refused(Failure),
}

impl Reply {
    pub(crate) fn read<R: HttpStatus>(error: &SdkError<TransactWriteItemsError, R>, effects: &[Effect]) -> Self {
        match error {
            SdkError::ServiceError(refused) => Self::refused(refused.err(), refused.raw().status(), effects),
            SdkError::ConstructionFailure(_) => Self::Busy("the request could not be made".to_owned()),
            SdkError::TimeoutError(_) => Self::Unknown("DynamoDB did not answer in time".to_owned()),
            SdkError::DispatchFailure(_) => Self::Unknown("the connection to DynamoDB broke".to_owned()),
            _ => Self::Unknown("DynamoDB's answer was unreadable".to_owned()),
        }
    }

    fn refused(error: &TransactWriteItemsError, status: u16, effects: &[Effect]) -> Self {
        if let TransactWriteItemsError::TransactionCanceledException(canceled) = error {
            return Self::canceled(canceled.cancellation_reasons(), effects);
        }
        let code = error.code().unwrap_or("an unknown error").to_owned();
        match code.as_str() {
            "TransactionInProgressException"
            | "ThrottlingException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded" => Self::Busy(code),
            // A server that failed may have applied the transaction before it did.
            _ if status >= 500 => Self::Unknown(code),
            // Missing rights, a missing table, a request that is invalid as a whole: a deployment
            // is wrong, and the messages must outlive that.
            _ => Self::Refused(Failure::retryable(format!("DynamoDB refused the transaction: {code}"))),
        }
    }

    /// The reasons stand in the order of the actions; the dedupe record is the first.
    fn canceled(reasons: &[CancellationReason], effects: &[Effect]) -> Self {
        let codes = || reasons.iter().map(|reason| reason.code().unwrap_or("None"));
        if codes().next() == Some("ConditionalCheckFailed") {
            return Self::Recorded(reasons[0].item().cloned());
        }
        // Before the effects' own conditions: what another transaction is changing right now may
        // hold when it is done.
        let is_busy = |code: &&str| {
            matches!(
                *code,
                "TransactionConflict" | "ProvisionedThroughputExceeded" | "ThrottlingError" | "RequestLimitExceeded"
            )
        };
        if let Some(code) = codes().find(is_busy) {
            return Self::Busy(code.to_owned());
        }
        let Some((position, code)) = codes().enumerate().find(|(_, code)| *code != "None") else {
            return Self::Busy("canceled without a reason".to_owned());
        };
        let Some(effect) = position.checked_sub(1).and_then(|index| effects.get(index)) else {
            return Self::Refused(Failure::retryable(format!(
                "DynamoDB refused the dedupe record: {code}"
            )));
        };
        let table = &effect.table;
        Self::Refused(match code {
            "ConditionalCheckFailed" => match effect.guard().error.clone() {
                Some(error) if error.is_permanent() => Failure::permanent(Reason::ConditionFailed, error),
                Some(error) => error.into(),
                None => Failure::permanent(
                    Reason::ConditionFailed,
                    format!("the condition of effect {position}, on table `{table}`, does not hold"),
                ),
            },
            "ItemCollectionSizeLimitExceeded" | "ValidationError" => Failure::permanent(
                Reason::InvalidEffects,
                format!("DynamoDB refused effect {position}, on table `{table}`: {code}"),
            ),
            code => Failure::retryable(format!(
                "DynamoDB refused effect {position}, on table `{table}`: {code}"
            )),
        })
    }
}

/// The status line of a reply, whatever type carries it.
pub(crate) trait HttpStatus {
    fn status(&self) -> u16;
}

impl HttpStatus for aws_sdk_dynamodb::config::http::HttpResponse {
    fn status(&self) -> u16 {
        self.status().as_u16()
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::error::{InternalServerError, TransactionCanceledException};

    use super::*;
    use crate::{Condition, Effects, HandlerError, Key};

    impl HttpStatus for u16 {
        fn status(&self) -> u16 {
            *self
        }
    }

    fn canceled(codes: &[&str], effects: &Effects) -> Reply {
        let reasons = codes
            .iter()
            .map(|code| CancellationReason::builder().code(*code).build())
            .collect();
        let error = TransactionCanceledException::builder()
            .set_cancellation_reasons(Some(reasons))
            .build();
        let error = TransactWriteItemsError::TransactionCanceledException(error);
        Reply::read(&SdkError::service_error(error, 400_u16), &effects.list)
    }

    fn two_effects() -> Effects {
        let mut effects = Effects::default();
        effects.update("stock", Key::new("pk", "a")).add("n", 1);
        effects
            .check("orders", Key::new("pk", "b"), Condition::exists("pk"))
            .or_fail(HandlerError::retryable("the order is not there yet"));
        effects
    }

    #[test]
    fn a_record_that_is_there_goes_before_everything_else() {
        let reply = canceled(
            &[
                "ConditionalCheckFailed",
                "TransactionConflict",
                "ConditionalCheckFailed",
            ],
            &two_effects(),
        );
        assert_eq!(reply, Reply::Recorded(None));
    }

    #[test]
    fn a_conflict_or_a_throttle_is_tried_again_even_beside_a_condition() {
        for code in [
            "TransactionConflict",
            "ProvisionedThroughputExceeded",
            "ThrottlingError",
        ] {
            let reply = canceled(&["None", "ConditionalCheckFailed", code], &two_effects());
            assert_eq!(reply, Reply::Busy(code.to_owned()));
        }
    }

    #[test]
    fn a_condition_that_does_not_hold_means_what_the_handler_said() {
        let declared = canceled(&["None", "None", "ConditionalCheckFailed"], &two_effects());
        assert_eq!(
            declared,
            Reply::Refused(Failure::retryable("the order is not there yet"))
        );
        let by_default = canceled(&["None", "ConditionalCheckFailed", "None"], &two_effects());
        assert!(
            matches!(&by_default, Reply::Refused(Failure::Permanent(Reason::ConditionFailed, text)) if text.contains("effect 1")),
            "{by_default:?}"
        );
    }

    #[test]
    fn an_invalid_effect_is_permanent_and_an_unknown_code_is_not() {
        let invalid = canceled(&["None", "ValidationError", "None"], &two_effects());
        assert!(matches!(
            invalid,
            Reply::Refused(Failure::Permanent(Reason::InvalidEffects, _))
        ));
        for codes in [["None", "AccessDenied", "None"], ["ValidationError", "None", "None"]] {
            assert!(matches!(
                canceled(&codes, &two_effects()),
                Reply::Refused(Failure::Retryable(_))
            ));
        }
    }

    #[test]
    fn a_failed_server_may_have_applied_it() {
        let error = TransactWriteItemsError::InternalServerError(InternalServerError::builder().build());
        let reply = Reply::read(&SdkError::service_error(error, 500_u16), &[]);
        assert!(matches!(reply, Reply::Unknown(_)), "{reply:?}");
    }
}
