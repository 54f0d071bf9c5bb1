use super::*;

const DATA: &str = "{\"amount\": 1.00000000000000000000000000000001, \"name\": \"é\"}";

fn claim_check(prefix: &str) -> ClaimCheck {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .build();
    ClaimCheck {
        client: Client::from_conf(config),
        bucket: "bucket".to_owned(),
        prefix: prefix.to_owned(),
    }
}

fn envelope() -> RawEnvelope {
    let json = format!(
        r#"{{"specversion":"1.0","id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","source":"/s","type":"a.v1",
        "time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","tenant":"default","kind":"event",
        "partitionkey":"k","sequence":"00000000000000000001","data":{DATA}}}"#
    );
    RawEnvelope::from_json(json.as_bytes()).unwrap()
}

#[test]
fn a_reference_says_where_the_data_lies_how_long_it_is_and_what_it_hashes_to() {
    let hash = Sha256::digest(DATA.as_bytes());
    let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (referring, claim) = claim_check("some/prefix").refer(envelope()).unwrap();
    assert_eq!(claim.data(), DATA, "to the last byte");
    assert_eq!(
        claim.key(),
        format!("some/prefix/0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b/{hash}.json")
    );
    let json = referring.to_json();
    let read: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(read["dataref"], format!("s3://bucket/{}", claim.key()));
    assert_eq!(read["datalength"], DATA.len());
    assert_eq!(read["datasha256"], hash);
    assert_eq!(read["partitionkey"], "k", "everything else stays");
    assert!(read.get("data").is_none() && !json.contains("amount"));
}

#[test]
fn the_same_event_always_goes_to_the_same_place() {
    let key = |prefix: &str| claim_check(prefix).refer(envelope()).unwrap().1.key().to_owned();
    assert_eq!(key("p"), key("p"));
    assert!(!key("").starts_with('/'));
}

#[test]
fn a_failure_to_store_is_the_entrys_and_never_one_after_which_it_may_have_arrived() {
    for error in [classify::timeout(), PublishError::unanswered()] {
        let error = not_stored(error);
        assert_eq!((error.scope, error.may_have_arrived), (Scope::Entry, false));
        assert!(error.message.contains("bucket") && !error.message.contains("may have arrived"));
    }
}
