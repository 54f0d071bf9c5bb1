use aws_sdk_sns::types::PublishBatchResultEntry;

use super::*;

#[test]
fn each_entry_has_its_own_result_and_silence_is_no_success() {
    let failed = BatchResultErrorEntry::builder()
        .id("3")
        .code("InvalidParameter")
        .sender_fault(true);
    let output = PublishBatchOutput::builder()
        .successful(PublishBatchResultEntry::builder().id("2").build())
        .successful(PublishBatchResultEntry::builder().message_id("whose?").build())
        .failed(failed.build().unwrap())
        .build();
    let results = results(4, &output);
    assert!(results[2].is_ok());
    for unanswered in [0, 1] {
        assert_eq!(results[unanswered].as_ref().unwrap_err().code, "NoResult");
    }
    assert_eq!(results[3].as_ref().unwrap_err().class, FailureClass::Permanent);
}
