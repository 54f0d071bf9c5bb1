//! What DynamoDB's answer to a transaction means. Pure.

use super::{
    effects::Effect,
    store::{Cancellation, Item, Transacted},
};
use crate::failure::{Failure, Reason};

/// What an unsuccessful answer means.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// There is a record already; as it was returned.
    Recorded(Option<Item>),
    /// Not applied; the same request may succeed a little later.
    Busy(String),
    /// Perhaps applied: only the record can tell.
    Unknown(String),
    /// Not applied, and not by trying again right away.
    Refused(Failure),
}

impl Reply {
    /// Of an answer that is not [`Transacted::Committed`].
    pub(crate) fn read(answer: Transacted, effects: &[Effect]) -> Self {
        match answer {
            Transacted::Committed => Self::Unknown("committed".to_owned()),
            Transacted::Canceled(reasons) => Self::canceled(&reasons, effects),
            Transacted::Busy(why) => Self::Busy(why),
            Transacted::Refused(why) => {
                // A deployment is wrong, and the messages must outlive that.
                Self::Refused(Failure::retryable(format!("DynamoDB refused the transaction: {why}")))
            }
            Transacted::Unknown(why) => Self::Unknown(why),
        }
    }

    /// The reasons stand in the order of the writes; the dedupe record is the first.
    fn canceled(reasons: &[Cancellation], effects: &[Effect]) -> Self {
        if let Some(Cancellation::ConditionFailed(record)) = reasons.first() {
            return Self::Recorded(record.clone());
        }
        // Before the effects' own conditions: what another transaction is changing right now may
        // hold when it is done.
        let busy = reasons.iter().find_map(|reason| match reason {
            Cancellation::Busy(code) => Some(code),
            _ => None,
        });
        if let Some(code) = busy {
            return Self::Busy(code.to_owned());
        }
        let mut failed = reasons.iter().enumerate();
        let Some((position, reason)) = failed.find(|(_, reason)| **reason != Cancellation::None) else {
            return Self::Busy("canceled without a reason".to_owned());
        };
        let Some(effect) = position.checked_sub(1).and_then(|index| effects.get(index)) else {
            return Self::Refused(Failure::retryable("DynamoDB refused the dedupe record"));
        };
        let table = &effect.table;
        Self::Refused(match reason {
            Cancellation::ConditionFailed(_) => match effect.guard().error.clone() {
                Some(error) if error.is_permanent() => Failure::permanent(Reason::ConditionFailed, error),
                Some(error) => error.into(),
                None => Failure::permanent(
                    Reason::ConditionFailed,
                    format!("the condition of effect {position}, on table `{table}`, does not hold"),
                ),
            },
            Cancellation::Invalid(code) => Failure::permanent(
                Reason::InvalidEffects,
                format!("DynamoDB refused effect {position}, on table `{table}`: {code}"),
            ),
            Cancellation::Other(code) | Cancellation::Busy(code) => Failure::retryable(format!(
                "DynamoDB refused effect {position}, on table `{table}`: {code}"
            )),
            Cancellation::None => Failure::retryable("canceled without a reason"),
        })
    }
}
