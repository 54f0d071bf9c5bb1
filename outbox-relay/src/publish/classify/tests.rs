use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::{
    config::{Credentials, SharedCredentialsProvider},
    error::{ConnectorError, ErrorMetadata},
    operation::send_message_batch::SendMessageBatchError,
};
use tokio::net::TcpListener;

use super::{
    super::{Clients, claim_check, eventbridge, sns, sqs},
    FailureClass::{Auth, Permanent, Throttled, Transient},
    *,
};

/// A code and what it asks for.
type Expected = (&'static str, FailureClass);

/// Each service's codes, as a whole request's and as an entry's.
const TABLE: [(&str, Codes, &[Expected]); 4] = [
    (
        "sqs",
        sqs::class,
        &[
            ("InvalidMessageContents", Permanent),
            ("AWS.SimpleQueueService.BatchRequestTooLong", Permanent),
            ("com.amazonaws.sqs#RequestThrottled", Throttled),
            ("KmsThrottled", Throttled),
            ("OverLimit", Throttled),
            ("AWS.SimpleQueueService.NonExistentQueue", Auth),
            ("com.amazonaws.sqs#QueueDoesNotExist", Auth),
            ("KmsAccessDenied", Auth),
            ("AccessDenied", Auth),
            ("InternalError", Transient),
        ],
    ),
    (
        "sns",
        sns::class,
        &[
            ("Throttled", Throttled),
            ("KMSThrottling", Throttled),
            ("InvalidParameter", Permanent),
            ("ParameterValueInvalid", Permanent),
            ("BatchRequestTooLong", Permanent),
            ("TooManyEntriesInBatchRequest", Permanent),
            ("NotFound", Auth),
            ("AuthorizationError", Auth),
            ("InvalidSecurity", Auth),
            ("KMSDisabled", Auth),
            ("KMSInvalidState", Auth),
            ("KMSNotFound", Auth),
            ("KMSOptInRequired", Auth),
            ("KMSAccessDenied", Auth),
            ("EndpointDisabled", Auth),
            ("InternalError", Transient),
        ],
    ),
    (
        "eventbridge",
        eventbridge::class,
        &[
            ("ThrottlingException", Throttled),
            ("LimitExceededException", Throttled),
            ("InternalFailure", Transient),
            ("InternalException", Transient),
            ("ConcurrentModificationException", Transient),
            ("AccessDeniedException", Auth),
            ("NotAuthorizedForSourceException", Auth),
            ("NotAuthorizedForDetailTypeException", Auth),
            ("com.amazonaws.events#ResourceNotFoundException", Auth),
            ("ManagedRuleException", Auth),
            ("InvalidArgument", Permanent),
            ("MalformedDetail", Permanent),
            ("RedactionFailure", Permanent),
            ("ValidationException", Permanent),
        ],
    ),
    (
        "s3",
        claim_check::class,
        &[
            ("SlowDown", Throttled),
            ("KMS.ThrottlingException", Throttled),
            ("NoSuchBucket", Auth),
            ("AccessDenied", Auth),
            ("KMS.DisabledException", Auth),
            ("InternalError", Transient),
            ("RequestTimeout", Transient),
            ("BadDigest", Transient),
            ("EntityTooLarge", Permanent),
        ],
    ),
];

#[test]
fn each_code_has_its_class_whatever_else_the_answer_says() {
    for (target, own, codes) in TABLE {
        for (code, class) in codes {
            for status in [400, 403, 500] {
                let error = service(status, Some(code), None, own);
                assert_eq!((error.class, error.scope), (*class, Scope::Request), "{target} {code}");
                assert_eq!(error.may_have_arrived, status == 500, "{target} {code}");
            }
            for sender_fault in [None, Some(true), Some(false)] {
                let error = entry(code, None, sender_fault, own);
                assert_eq!((error.class, error.scope), (*class, Scope::Entry), "{target} {code}");
            }
        }
    }
}

#[test]
fn an_unknown_code_is_classed_by_whose_fault_it_is_and_else_by_the_status() {
    for (_, own, _) in TABLE {
        let class = |sender_fault| entry("NeverHeardOf", None, sender_fault, own).class;
        assert_eq!(
            [class(Some(true)), class(Some(false)), class(None)],
            [Permanent, Transient, Transient]
        );
        let by_status = [
            (429, Throttled),
            (401, Auth),
            (403, Auth),
            (408, Transient),
            (413, Permanent),
            (502, Transient),
        ];
        for (status, expected) in by_status {
            let unknown = Some("NeverHeardOf");
            assert_eq!(service(status, unknown, None, own).class, expected, "{status}");
            assert_eq!(service(status, None, None, own).class, expected, "{status} alone");
        }
        assert_eq!(service(400, Some("NeverHeardOf"), None, own).class, Permanent);
    }
}

#[test]
fn an_answer_that_names_no_error_says_nothing_about_an_event() {
    for status in [400, 404, 405, 407, 421, 451] {
        let error = service(status, None, None, sqs::class);
        assert_eq!((error.class, error.code), (Transient, format!("Status{status}")));
        assert!(error.message.contains("AWS_ENDPOINT_URL"), "{}", error.message);
    }
}

#[test]
fn an_entry_may_have_arrived_unless_the_target_says_whose_fault_it_was() {
    let arrived = |code, sender_fault| entry(code, None, sender_fault, eventbridge::class).may_have_arrived;
    assert!(arrived("InternalError", Some(false)));
    assert!(!arrived("InternalError", Some(true)));
    assert!(arrived("InternalFailure", None));
    assert!(!arrived("ThrottlingException", None));
    assert!(!arrived("MalformedDetail", None));
}

#[test]
fn a_message_never_repeats_the_value_that_it_refuses() {
    let shown = |message: &str| service(400, Some("ValidationException"), Some(message), sqs::class).message;
    let quoting = "1 validation error detected: Value '[{Detail: \"canary' at 'x\"}]' at 'entries' failed to satisfy \
                   constraint: Member must have length less than or equal to 10";
    assert!(shown(quoting).starts_with("at 'entries' failed"), "{}", shown(quoting));
    assert_eq!(shown("bad: Value 'canary is cut off"), "bad: ");
    assert_eq!(shown("no quote at all"), "no quote at all");
    assert_eq!(shown(&"é".repeat(1_000)).chars().count(), 300);
}

#[test]
fn a_failure_of_the_service_keeps_its_code_and_its_scope() {
    let metadata = ErrorMetadata::builder()
        .code("RequestThrottled")
        .message("slow down")
        .build();
    let response = HttpResponse::new(400.try_into().unwrap(), "".into());
    let error = request(
        &SdkError::service_error(SendMessageBatchError::generic(metadata), response),
        sqs::class,
    );
    assert_eq!((error.class, error.code.as_str()), (Throttled, "RequestThrottled"));
    assert_eq!((error.scope, error.may_have_arrived), (Scope::Request, false));
}

#[test]
fn what_never_became_a_request_cannot_have_arrived_and_what_was_answered_unreadably_may_have() {
    type Failed = SdkError<SendMessageBatchError, HttpResponse>;
    let seen = |failed: &Failed| {
        let error = request(failed, sqs::class);
        (error.class, error.may_have_arrived)
    };
    assert_eq!(seen(&Failed::construction_failure("too odd")), (Permanent, false));
    let misconfigured = ConnectorError::user("no credentials".into());
    assert_eq!(seen(&Failed::dispatch_failure(misconfigured)), (Auth, false));
    let response = || HttpResponse::new(200.try_into().unwrap(), "".into());
    assert_eq!(seen(&Failed::response_error("no JSON", response())), (Transient, true));
}

#[test]
fn an_answer_without_an_error_of_its_own_leaves_the_outcome_open_where_the_server_failed() {
    for (status, arrived) in [(404, false), (499, false), (500, true), (503, true)] {
        let error = service(status, None, None, sqs::class);
        assert_eq!(error.may_have_arrived, arrived, "{status}");
    }
}

async fn ask(endpoint: String) -> PublishError {
    let config = SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "id", "key", None, None, "test",
        )))
        .endpoint_url(endpoint)
        .build();
    let clients = Clients::new(&config, Duration::from_millis(500));
    let asked = clients.sqs.send_message_batch().queue_url("https://queue").send();
    request(&asked.await.unwrap_err(), sqs::class)
}

#[tokio::test]
async fn what_was_refused_a_connection_cannot_have_arrived() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = ask(endpoint).await;
    assert_eq!((error.code.as_str(), error.class), ("NotConnected", Transient));
    assert!(!error.may_have_arrived);
}

#[tokio::test]
async fn what_had_a_connection_and_no_answer_may_have_arrived() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let closing = tokio::spawn(async move {
        let (connection, _) = listener.accept().await.unwrap();
        connection.readable().await.unwrap();
        drop(connection);
        listener
    });
    let error = ask(endpoint.clone()).await;
    assert_eq!((error.code.as_str(), error.class), ("Dispatch", Transient), "{error}");
    assert!(error.may_have_arrived);

    let _silent = closing.await.unwrap();
    let error = ask(endpoint).await;
    assert_eq!((error.code.as_str(), error.class), ("Timeout", Transient));
    assert!(error.may_have_arrived);
}
