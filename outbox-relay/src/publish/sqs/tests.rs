use aws_sdk_sqs::types::SendMessageBatchResultEntry;

use super::*;

#[test]
fn each_entry_has_its_own_result_and_silence_is_no_success() {
    let successful = |id: &str| {
        let entry = SendMessageBatchResultEntry::builder().id(id).message_id("m");
        entry.md5_of_message_body("x").build().unwrap()
    };
    let failed = BatchResultErrorEntry::builder()
        .id("3")
        .code("InternalError")
        .sender_fault(false);
    let output = SendMessageBatchOutput::builder()
        .successful(successful("2"))
        .successful(successful("0"))
        .failed(failed.build().unwrap())
        .build()
        .unwrap();
    let results = results(5, &output);
    assert!(results[0].is_ok() && results[2].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().code, "NoResult");
    assert_eq!(results[3].as_ref().unwrap_err().class, FailureClass::Transient);
    assert_eq!(results[4].as_ref().unwrap_err().class, FailureClass::Transient);
}
