//! Any valid envelope.

use std::collections::BTreeMap;

use jiff::Timestamp;
use oncebox_envelope::{DataRef, ExtensionName, ExtensionValue, Kind, RawEnvelope, Sequence};
use proptest::prelude::*;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Any string that an attribute may hold: everything but control characters and noncharacters.
fn text(max_chars: usize) -> impl Strategy<Value = String> {
    let allowed = |c: char| {
        let code = u32::from(c);
        !c.is_control() && code & 0xFFFE != 0xFFFE && !(0xFDD0..=0xFDEF).contains(&code)
    };
    proptest::collection::vec(
        any::<char>().prop_filter("allowed in CloudEvents", move |c| allowed(*c)),
        1..max_chars,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

fn data() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?",
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(", "))),
            proptest::collection::vec((any::<String>(), inner), 0..4).prop_map(|v| {
                let members: Vec<String> = v
                    .into_iter()
                    .map(|(k, v)| format!("{} : {v}", serde_json::to_string(&k).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn time() -> impl Strategy<Value = Timestamp> {
    // From year 1 to where jiff's timestamps end, in the last days of 9999.
    (-62_135_596_800_i64..253_402_207_200, 0_i32..1_000_000_000)
        .prop_map(|(secs, nanos)| Timestamp::new(secs, if secs < 0 { 0 } else { nanos }).unwrap())
}

fn extension() -> impl Strategy<Value = (ExtensionName, ExtensionValue)> {
    let name = "x[a-z0-9]{0,19}".prop_map(|name| ExtensionName::new(name).unwrap());
    let value = prop_oneof![
        any::<bool>().prop_map(ExtensionValue::Boolean),
        any::<i32>().prop_map(ExtensionValue::Integer),
        text(40).prop_map(ExtensionValue::String),
    ];
    (name, value)
}

prop_compose! {
    fn data_ref()(
        bucket in "[a-z0-9][a-z0-9.-]{1,30}[a-z0-9]",
        key in "[A-Za-z0-9!_*'()-]{1,20}(/[A-Za-z0-9!_*'()-]{1,20}){0,2}",
        length in 1..=DataRef::MAX_LENGTH,
        sha256 in any::<[u8; 32]>(),
    ) -> DataRef {
        DataRef::new(format!("s3://{bucket}/{key}"), length, sha256).unwrap()
    }
}

prop_compose! {
    fn conversation()(
        correlation_id in proptest::option::of(text(40)),
        causation_id in proptest::option::of(text(40)),
        reply_to in proptest::option::of(text(40)),
        trace_parent in proptest::option::of("0[0-9a-e]-[0-9a-f]{31}1-[0-9a-f]{15}1-[0-9a-f]{2}"),
        trace_state in proptest::option::of(text(40)),
    ) -> [Option<String>; 5] {
        [correlation_id, causation_id, reply_to, trace_parent, trace_state]
    }
}

prop_compose! {
    /// Any valid envelope.
    pub(crate) fn envelope()(
        id in any::<u128>(),
        source in "[!-~]{1,60}",
        event_type in "[a-z0-9][a-z0-9_-]{0,10}(\\.[a-z0-9][a-z0-9_-]{0,10}){0,3}\\.v[1-9][0-9]{0,4}",
        time in time(),
        key in proptest::option::of((text(60), proptest::option::of(1..i64::MAX))),
        tenant in text(30),
        kind in proptest::sample::select(Kind::ALL.to_vec()),
        [correlation_id, causation_id, reply_to, trace_parent, trace_state] in conversation(),
        expiry_time in proptest::option::of(time()),
        data_ref in proptest::option::of(data_ref()),
        extensions in proptest::collection::vec(extension(), 0..4),
        data in proptest::option::of(data()),
    ) -> RawEnvelope {
        let data = if data_ref.is_none() { Some(data.unwrap_or("null".to_owned())) } else { None };
        RawEnvelope {
            id: Uuid::from_u128(id).into(),
            source: source.parse().unwrap(),
            event_type: event_type.parse().unwrap(),
            time,
            partition_key: key.as_ref().map(|(key, _)| key.parse().unwrap()),
            sequence: key.and_then(|(_, position)| position).map(|position| Sequence::new(position).unwrap()),
            tenant: tenant.parse().unwrap(),
            kind,
            correlation_id: correlation_id.map(|v| v.parse().unwrap()),
            causation_id: causation_id.map(|v| v.parse().unwrap()),
            reply_to: reply_to.map(|v| v.parse().unwrap()),
            trace_parent: trace_parent.map(|v| v.parse().unwrap()),
            trace_state: trace_state.map(|v| v.parse().unwrap()),
            expiry_time,
            data_ref,
            extensions: extensions.into_iter().collect::<BTreeMap<_, _>>(),
            data: data.map(|data| RawValue::from_string(data).unwrap()),
        }
    }
}
