use super::*;

fn entry(event_id: Option<&str>, code: Option<&str>) -> PutEventsResultEntry {
    PutEventsResultEntry::builder()
        .set_event_id(event_id.map(str::to_owned))
        .set_error_code(code.map(str::to_owned))
        .build()
}

fn output(entries: Vec<PutEventsResultEntry>) -> PutEventsOutput {
    PutEventsOutput::builder().set_entries(Some(entries)).build()
}

#[test]
fn entries_are_answered_by_their_place_and_silence_is_no_success() {
    let results = results(
        4,
        &output(vec![
            entry(Some("e"), None),
            entry(None, Some("ThrottlingException")),
            entry(Some("e"), Some("InternalFailure")),
            entry(None, None),
        ]),
    );
    assert!(results[0].is_ok());
    assert_eq!(results[1].as_ref().unwrap_err().class, FailureClass::Throttled);
    assert_eq!(results[2].as_ref().unwrap_err().class, FailureClass::Transient);
    assert_eq!(results[3].as_ref().unwrap_err().code, "NoResult");
}

#[test]
fn an_answer_with_another_number_of_entries_answers_nothing() {
    for entries in [0, 1, 3] {
        let output = output(vec![entry(Some("e"), None); entries]);
        let results = results(2, &output);
        assert_eq!(results.len(), 2);
        assert!(results.iter().all(Result::is_err), "{entries}");
    }
}

#[test]
fn a_source_of_awss_own_is_refused_for_good() {
    let refused = check_source("aws.s3").unwrap_err();
    assert_eq!(
        (refused.class, refused.may_have_arrived),
        (FailureClass::Permanent, false)
    );
    for good in ["/invoicing", "aws", "awsome.app"] {
        assert!(check_source(good).is_ok(), "{good}");
    }
}
