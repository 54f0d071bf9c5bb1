//! Looking at a target for what would go wrong later. Reads only, and never fails: what may not be read
//! is a remark that names the permission.
//!
//! Whether messages may be sent shows only when one is.

use aws_sdk_sqs::error::ProvideErrorMetadata;

use super::{Target, resolve::describe};

/// Something to know of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How bad it is.
    pub weight: Weight,
    /// What it is, and what to do where something is to be done.
    pub text: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is as it should be.
    Ok,
    /// It works, and may not be meant.
    Warning,
    /// It does not work.
    Fault,
}

/// What a target is asked besides whether it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Whether messages may be bundles.
    pub bundles: bool,
    /// Whether there is a claim check.
    pub claim_check: bool,
}

impl Remark {
    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Ok,
            text: text.into(),
        }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Warning,
            text: text.into(),
        }
    }

    pub(super) fn fault(text: impl Into<String>) -> Self {
        Self {
            weight: Weight::Fault,
            text: text.into(),
        }
    }

    /// Something could not be read.
    pub(super) fn unread<E>(what: &str, permission: &str, error: &E) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        Self::warning(format!(
            "{what} could not be read ({}); allow {permission} to have it checked",
            describe(error)
        ))
    }
}

/// Looks at a target that was found, and at its claim check's bucket.
///
/// # Cancel safety
/// Reads only.
pub async fn inspect(target: &Target, used: Use) -> Vec<Remark> {
    let mut remarks = vec![limit(target, used)];
    remarks.extend(target.inspect(used).await);
    remarks
}

fn limit(target: &Target, used: Use) -> Remark {
    let (most, usual) = (
        target.limits().max_message_bytes,
        target.kind().limits().max_message_bytes,
    );
    let larger = if used.claim_check {
        "larger ones go by reference"
    } else {
        "larger ones are parked: there is no claim_check"
    };
    let text = format!("takes messages of up to {most} bytes; {larger}");
    if most < usual && !used.claim_check {
        return Remark::warning(format!(
            "{text}. Raise MaximumMessageSize to {usual}, or configure claim_check"
        ));
    }
    Remark::ok(text)
}
