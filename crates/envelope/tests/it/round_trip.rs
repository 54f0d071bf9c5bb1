use oncebox_envelope::{Batch, Body, RawEnvelope};
use proptest::prelude::*;

use crate::{
    body::{in_event_bridge, in_sns},
    strategy::envelope,
};

/// Everything that an envelope says, for comparison: data by its text, the rest by its debug form.
fn said(envelope: &RawEnvelope) -> (String, Option<String>) {
    let data = envelope.data.as_ref().map(|data| data.get().to_owned());
    (format!("{:?}", envelope.clone().map_data(|_| ())), data)
}

/// What a body holds; a single envelope as a list of one.
fn events(body: &str) -> Vec<(String, Option<String>)> {
    match Body::from_json(body.as_bytes()).unwrap() {
        Body::Envelope(envelope) => vec![said(&envelope)],
        Body::Bundle(bundle) => {
            let envelopes = bundle.elements.iter().map(|element| element.envelope.as_ref().unwrap());
            envelopes.map(said).collect()
        }
    }
}

proptest! {
    #[test]
    fn any_valid_envelope_comes_out_as_it_went_in(envelope in envelope()) {
        let json = envelope.to_json();
        let back = RawEnvelope::from_json(json.as_bytes()).unwrap();
        prop_assert_eq!(said(&back), said(&envelope));
        prop_assert_eq!(back.to_json(), json);
    }

    #[test]
    fn a_batch_comes_out_in_its_order(envelopes in proptest::collection::vec(envelope(), 0..5)) {
        let batch = Batch::from_json(Batch::to_json(&envelopes).as_bytes()).unwrap();
        let back: Vec<_> = batch.elements.iter().map(|element| said(element.envelope.as_ref().unwrap())).collect();
        prop_assert_eq!(back, envelopes.iter().map(said).collect::<Vec<_>>());
    }

    #[test]
    fn an_envelope_or_bundle_is_the_same_however_it_is_wrapped(
        envelopes in proptest::collection::vec(envelope(), 1..4),
        spaces in "[ \n\r\t]{0,3}",
    ) {
        let expected: Vec<_> = envelopes.iter().map(said).collect();
        let bundle = format!("{spaces}{}", Batch::to_json(&envelopes));
        for body in [bundle.clone(), in_sns(&bundle)] {
            prop_assert_eq!(events(&body), expected.clone());
        }
        let first = format!("{spaces}{}", envelopes[0].to_json());
        let in_event = in_event_bridge(&envelopes[0]);
        for body in [first.clone(), in_sns(&first), in_event.clone(), in_sns(&in_event)] {
            prop_assert_eq!(events(&body), expected[..1].to_vec());
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = RawEnvelope::from_json(&bytes);
        let _ = Batch::from_json(&bytes);
        let _ = Body::from_json(&bytes);
    }

    #[test]
    fn no_damage_to_a_valid_envelope_makes_the_decoder_panic_or_lets_nonsense_through(
        envelope in envelope(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = envelope.to_json().into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(accepted) = RawEnvelope::from_json(&bytes) {
            // Whatever is accepted is a valid envelope: it round-trips.
            let again = RawEnvelope::from_json(accepted.to_json().as_bytes()).unwrap();
            prop_assert_eq!(said(&again), said(&accepted));
        }
    }
}

#[test]
fn data_keeps_every_digit() {
    let json = r#"{"specversion":"1.0","id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","source":"/s","type":"t.v1",
        "time":"2026-01-01T00:00:00Z","data":{"amount":12345678901234567890.123456789012345678901234567890}}"#;
    let envelope = RawEnvelope::from_json(json.as_bytes()).unwrap();
    assert!(
        envelope
            .to_json()
            .contains("12345678901234567890.123456789012345678901234567890")
    );
}

#[test]
fn one_poison_element_does_not_hide_its_neighbours() {
    let good = r#"{"specversion":"1.0","id":"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b","source":"/s","type":"t.v1",
        "time":"2026-01-01T00:00:00Z","data":1}"#;
    let batch = Batch::from_json(format!("[{good},7,{good}]").as_bytes()).unwrap();
    assert!(batch.elements[0].envelope.is_ok() && batch.elements[2].envelope.is_ok());
    let error = batch.elements[1].envelope.as_ref().unwrap_err().to_string();
    assert!(
        error.starts_with("element 1 of the batch: not a JSON envelope"),
        "{error}"
    );
    let kept: Vec<&str> = batch.elements.iter().map(|element| element.json.get()).collect();
    assert_eq!(kept, [good, "7", good], "each as it stood");
}
