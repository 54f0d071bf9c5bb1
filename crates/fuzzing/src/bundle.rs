//! Several events in one message.

use oncebox_envelope::{Batch, RawEnvelope};

use crate::{
    canary,
    said::{self, Said, assert_fit_to_be_shown},
};

/// Each element is decoded as if it stood alone, and keeps its place and its text; what the relay makes of several is a bundle of the
/// same, in their order, that is no larger than what was counted for them.
pub fn bundle(bytes: &[u8]) {
    match Batch::from_json(bytes) {
        Ok(bundle) => {
            assert_elements_stand_alone(&bundle);
            let good = said::good(bundle);
            let again = Batch::from_json(Batch::to_json(&good).as_bytes()).expect("what was written can be read");
            assert_eq!(said::all(&said::good(again)), said::all(&good));
            #[cfg(feature = "relay")]
            crate::message::assert_packed(&good);
        }
        Err(error) => assert_fit_to_be_shown(&error),
    }
    canary::assert_no_error_shows_a_value(bytes, |json| match Batch::from_json(json) {
        Ok(bundle) => Some(
            bundle
                .elements
                .into_iter()
                .filter_map(|e| Some(e.envelope.err()?.to_string()))
                .collect(),
        ),
        Err(error) => Some(error.to_string()),
    });
}

fn assert_elements_stand_alone(bundle: &Batch) {
    for (index, element) in bundle.elements.iter().enumerate() {
        match (&element.envelope, RawEnvelope::from_json(element.json.get().as_bytes())) {
            (Ok(within), Ok(alone)) => assert_eq!(Said::by(within), Said::by(&alone)),
            (Err(within), Err(alone)) => {
                assert_fit_to_be_shown(within);
                assert_eq!(within.to_string(), format!("element {index} of the batch: {alone}"));
            }
            (within, alone) => panic!("element {index} is {within:?} in the bundle and {alone:?} alone"),
        }
    }
}
