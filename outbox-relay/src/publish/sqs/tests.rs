use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchResultEntry};

use super::*;

fn successful(id: &str) -> SendMessageBatchResultEntry {
    SendMessageBatchResultEntry::builder()
        .id(id)
        .message_id("m")
        .md5_of_message_body("x")
        .build()
        .unwrap()
}

fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
    BatchResultErrorEntry::builder()
        .id(id)
        .code(code)
        .sender_fault(sender_fault)
        .build()
        .unwrap()
}

fn output(ok: &[&str], not_ok: Vec<BatchResultErrorEntry>) -> SendMessageBatchOutput {
    SendMessageBatchOutput::builder()
        .set_successful(Some(ok.iter().map(|id| successful(id)).collect()))
        .set_failed(Some(not_ok))
        .build()
        .unwrap()
}

#[test]
fn each_entry_has_its_own_result_and_silence_is_no_success() {
    let reply = output(&["2", "0"], vec![failed("3", "InternalError", false)]);
    let results = results(5, &reply);
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().code, "NoResult");
    assert_eq!(results[3].as_ref().unwrap_err().class, FailureClass::Transient);
    assert_eq!(results[4].as_ref().unwrap_err().class, FailureClass::Transient);
}

#[test]
fn an_entry_named_as_both_counts_as_failed_and_unknown_ids_count_for_nothing() {
    let reply = output(&["0", "7", "x"], vec![failed("0", "InternalError", false)]);
    let results = results(2, &reply);
    assert!(results.iter().all(Result::is_err));
}

#[test]
fn an_entry_is_classed_by_its_code_and_else_by_whose_fault_it_is() {
    let class = |code, sender_fault| classify::entry(&failed("0", code, sender_fault)).class;
    assert_eq!(class("InvalidMessageContents", true), FailureClass::Permanent);
    assert_eq!(class("KmsThrottled", true), FailureClass::Throttled);
    assert_eq!(class("AccessDenied", true), FailureClass::Auth);
    assert_eq!(class("NeverHeardOf", true), FailureClass::Permanent);
    assert_eq!(class("NeverHeardOf", false), FailureClass::Transient);
    assert_eq!(
        class("com.amazonaws.sqs#RequestThrottled", true),
        FailureClass::Throttled
    );
    assert_eq!(
        class("AWS.SimpleQueueService.NonExistentQueue", true),
        FailureClass::Auth
    );
}
