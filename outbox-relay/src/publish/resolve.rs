//! Finding a target at start: what can be wrong with it.

use std::error::Error;

use aws_sdk_sqs::error::ProvideErrorMetadata;

/// Why a target cannot be published to. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The text is no reference to a target of the kind.
    #[error("`{text}` is no {what}: {problem}; write {forms}")]
    Malformed {
        /// Queue, topic or event bus.
        what: &'static str,
        /// The configured text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
        /// What may stand there.
        forms: &'static str,
    },
    /// There is no such target.
    #[error("{what} `{text}` does not exist for these credentials in this region; create it or correct the name")]
    Missing {
        /// Queue, topic or event bus.
        what: &'static str,
        /// The configured text.
        text: String,
    },
    /// The service could not be asked, or refused.
    #[error(
        "{what} `{text}` could not be looked up: {problem}; check AWS_ENDPOINT_URL, region, credentials and {permissions}"
    )]
    Failed {
        /// Queue, topic or event bus.
        what: &'static str,
        /// The configured text.
        text: String,
        /// What the service or the client said.
        problem: String,
        /// What the role has to be allowed.
        permissions: &'static str,
    },
}

impl ResolveError {
    /// Whether it may go away while the relay runs: by somebody creating the target, or giving the right, or
    /// by the service coming back.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Malformed { .. } => false,
            Self::Missing { .. } | Self::Failed { .. } => true,
        }
    }
}

/// What is looked up, for the errors about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) what: &'static str,
    pub(super) text: &'a str,
    pub(super) forms: &'static str,
    pub(super) permissions: &'static str,
}

impl Subject<'_> {
    pub(super) fn malformed(&self, problem: &'static str) -> ResolveError {
        ResolveError::Malformed {
            what: self.what,
            text: self.text.to_owned(),
            problem,
            forms: self.forms,
        }
    }

    pub(super) fn missing(&self) -> ResolveError {
        ResolveError::Missing {
            what: self.what,
            text: self.text.to_owned(),
        }
    }

    /// What a failed call means: the target is missing if the service said one of these codes.
    pub(super) fn failed<E>(&self, error: &E, missing: &[&str]) -> ResolveError
    where
        E: Error + ProvideErrorMetadata + 'static,
    {
        let is_missing = |code: &str| missing.iter().any(|missing| code.ends_with(missing));
        if error.code().is_some_and(is_missing) {
            return self.missing();
        }
        self.refused(describe(error))
    }

    pub(super) fn refused(&self, problem: String) -> ResolveError {
        ResolveError::Failed {
            what: self.what,
            text: self.text.to_owned(),
            problem,
            permissions: self.permissions,
        }
    }
}

/// What the service said, or the innermost cause where it said nothing.
pub(super) fn describe<E: Error + ProvideErrorMetadata + 'static>(error: &E) -> String {
    if let Some(code) = error.code() {
        return format!("{code}: {}", error.message().unwrap_or("no message"));
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The parts of `arn:partition:service:region:account:resource`, if it is one of `service`.
pub(super) struct Arn<'a> {
    pub(super) account: &'a str,
    pub(super) resource: &'a str,
}

impl<'a> Arn<'a> {
    pub(super) fn of(service: &str, text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().unwrap_or_default();
        let (arn, partition, found, region, account, resource) = (next(), next(), next(), next(), next(), next());
        let is_right = arn == "arn" && !partition.is_empty() && found == service && !region.is_empty();
        is_right.then_some(Self { account, resource })
    }
}
