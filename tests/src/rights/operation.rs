//! What a request is a call of: the service, and the operation where no header names it.

use axum::http::{Method, header::AUTHORIZATION};

use crate::Request;

/// The credential scope of a signed request: `AWS4-HMAC-SHA256 Credential=ID/date/region/service/aws4_request, …`
/// (Amazon IAM User Guide, "Create a signed AWS API request").
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

impl Request {
    /// Service and operation, such as `sqs:SendMessageBatch`; with what was seen instead where that is not known.
    #[must_use]
    pub fn full_operation(&self) -> String {
        let service = self.scope().map_or("?", |scope| scope.service);
        let operation = self.operation_name();
        operation.map_or_else(
            || format!("{service}:{} {}", self.method, self.uri.path()),
            |operation| format!("{service}:{operation}"),
        )
    }

    pub(super) fn scope(&self) -> Option<Scope<'_>> {
        let header = self.headers.get(AUTHORIZATION)?.to_str().ok()?;
        let credential = header.split("Credential=").nth(1)?.split(',').next()?;
        let mut parts = credential.split('/').skip(2);
        Some(Scope {
            region: parts.next()?,
            service: parts.next()?,
        })
    }

    /// Services that speak REST name their operations by method and path.
    pub(super) fn operation_name(&self) -> Option<&str> {
        if !self.operation.is_empty() {
            return Some(&self.operation);
        }
        let path: Vec<&str> = self.path_parts();
        match (self.scope()?.service, self.method.clone(), path.as_slice()) {
            ("s3", Method::PUT, [_, _, ..]) => Some("PutObject"),
            ("s3", Method::GET, [_, _, ..]) => Some("GetObject"),
            ("s3", Method::HEAD, [_]) => Some("HeadBucket"),
            ("lambda", Method::GET, ["2015-03-31", "event-source-mappings"]) => Some("ListEventSourceMappings"),
            ("lambda", Method::GET, ["2015-03-31", "functions", _, "configuration"]) => {
                Some("GetFunctionConfiguration")
            }
            _ => None,
        }
    }

    pub(super) fn path_parts(&self) -> Vec<&str> {
        self.uri.path().split('/').filter(|part| !part.is_empty()).collect()
    }
}
