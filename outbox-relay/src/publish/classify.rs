//! Every error of every target to its class, in one place.
//!
//! What all services share stands here: the ways in which a request can fail as a whole, and the
//! codes that mean the same everywhere. A target adds the codes of its own API reference as a function
//! ([`Codes`]), which is asked first.

use std::{error::Error, io::ErrorKind};

use aws_sdk_sqs::{
    config::http::HttpResponse,
    error::{ConnectorError, ProvideErrorMetadata, SdkError},
};

use super::{FailureClass, PublishError, Scope};

/// The class of a code that one service's API reference lists; `None` for any other.
pub(super) type Codes = fn(&str) -> Option<FailureClass>;

/// The class of a request that failed as a whole.
pub(super) fn request<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, own: Codes) -> PublishError {
    match error {
        // The messages could not even be written down as a request.
        SdkError::ConstructionFailure(_) => local(
            "ConstructionFailure",
            FailureClass::Permanent,
            false,
            "the request could not be built",
        ),
        SdkError::TimeoutError(_) => timeout(),
        SdkError::DispatchFailure(failure) if failure.is_user() => local(
            "Dispatch",
            FailureClass::Auth,
            false,
            "no credentials could be loaded, or the client is misconfigured",
        ),
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some_and(never_connected) => local(
            "NotConnected",
            FailureClass::Transient,
            false,
            "no connection could be made; nothing was sent",
        ),
        SdkError::DispatchFailure(_) => local(
            "Dispatch",
            FailureClass::Transient,
            true,
            "the connection failed; the messages may have arrived",
        ),
        SdkError::ResponseError(_) => local(
            "Response",
            FailureClass::Transient,
            true,
            "the answer could not be read; the messages may have arrived",
        ),
        SdkError::ServiceError(context) => service(
            context.raw().status().as_u16(),
            context.err().code(),
            context.err().message(),
            own,
        ),
        // SdkError is non-exhaustive: what we do not know may have arrived, so it is sent again.
        _ => local(
            "Unknown",
            FailureClass::Transient,
            true,
            "unknown failure of the client",
        ),
    }
}

/// No answer in time.
pub(super) fn timeout() -> PublishError {
    local(
        PublishError::TIMEOUT,
        FailureClass::Transient,
        true,
        "no answer in time; the messages may have arrived",
    )
}

/// The class of one entry that failed in a request that did not. `sender_fault` is what the target
/// said of whose fault it is, where it says so.
pub(super) fn entry(code: &str, message: Option<&str>, sender_fault: Option<bool>, own: Codes) -> PublishError {
    let by_fault = match sender_fault {
        Some(true) => FailureClass::Permanent,
        Some(false) | None => FailureClass::Transient,
    };
    let class = by_code(code, own).unwrap_or(by_fault);
    PublishError {
        class,
        code: code.to_owned(),
        message: said(message),
        scope: Scope::Entry,
        may_have_arrived: match sender_fault {
            Some(is_ours) => !is_ours,
            None => class == FailureClass::Transient,
        },
    }
}

fn service(status: u16, code: Option<&str>, message: Option<&str>, own: Codes) -> PublishError {
    let Some(code) = code else {
        return PublishError {
            class: by_status_alone(status),
            code: format!("Status{status}"),
            message: "the answer names no error, so it may not be from AWS: see AWS_ENDPOINT_URL and what lies between"
                .to_owned(),
            scope: Scope::Request,
            may_have_arrived: status >= 500,
        };
    };
    PublishError {
        class: by_code(code, own).unwrap_or_else(|| by_status(status)),
        code: code.to_owned(),
        message: said(message),
        scope: Scope::Request,
        // A 5xx may be said after the work was done.
        may_have_arrived: status >= 500,
    }
}

/// With and without the prefixes of the query protocol and of the JSON protocols.
fn by_code(code: &str, own: Codes) -> Option<FailureClass> {
    let short = code.rsplit(['#', '.']).next().unwrap_or(code);
    own(code).or_else(|| own(short)).or_else(|| shared(short))
}

/// Codes that every service may answer with (AWS API references, "Common errors", and the retryable
/// codes that the AWS SDKs agree on).
fn shared(code: &str) -> Option<FailureClass> {
    match code {
        "ThrottlingException"
        | "Throttling"
        | "Throttled"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "BandwidthLimitExceeded"
        | "LimitExceededException"
        | "PriorRequestNotComplete"
        | "SlowDown" => Some(FailureClass::Throttled),
        "AccessDenied"
        | "AccessDeniedException"
        | "NotAuthorized"
        | "AuthFailure"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "UnrecognizedClientException"
        | "IncompleteSignature"
        | "OptInRequired"
        | "RequestTimeTooSkewed" => Some(FailureClass::Auth),
        "InternalFailure"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "RequestExpired"
        | "RequestTimeout"
        | "RequestTimeoutException" => Some(FailureClass::Transient),
        "InvalidParameterValue"
        | "InvalidParameterValueException"
        | "InvalidParameterCombination"
        | "InvalidQueryParameter"
        | "MalformedQueryString"
        | "MissingParameter"
        | "MissingAction"
        | "InvalidAction"
        | "SerializationException"
        | "ValidationError"
        | "ValidationException" => Some(FailureClass::Permanent),
        _ => None,
    }
}

/// Every error of AWS has a code. An answer without one is a proxy's or another server's, and says nothing about
/// the events, unless it is that the request is too large.
fn by_status_alone(status: u16) -> FailureClass {
    match (status, by_status(status)) {
        (413, _) => FailureClass::Permanent,
        (_, FailureClass::Permanent) => FailureClass::Transient,
        (_, class) => class,
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

/// Whether it failed before there was a connection. Our clients have a connect timeout and no read
/// timeout, so a timeout while dispatching is the former; the operation's is no dispatch failure.
fn never_connected(failure: &ConnectorError) -> bool {
    if failure.is_timeout() {
        return true;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(failure);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            )
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What the service said, without what it quotes: a validation message repeats the value that it
/// refuses, which may be the payload (`1 validation error detected: Value '…' at 'entries' failed …`).
fn said(message: Option<&str>) -> String {
    const MOST_CHARS: usize = 300;
    let message = message.unwrap_or("no message");
    let shown = match (message.find("Value '"), message.rfind("' at '")) {
        (None, _) => message,
        (Some(_), Some(end)) => &message[end + "' ".len()..],
        (Some(start), None) => &message[..start],
    };
    shown.chars().take(MOST_CHARS).collect()
}

fn local(code: &str, class: FailureClass, may_have_arrived: bool, message: &str) -> PublishError {
    PublishError {
        class,
        code: code.to_owned(),
        message: message.to_owned(),
        scope: Scope::Request,
        may_have_arrived,
    }
}

#[cfg(test)]
mod tests;
