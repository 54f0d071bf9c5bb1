//! An event, of which there may be two payloads under one id.

use oncebox_envelope::Event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::delivery::Message;

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(super) struct Deed {
    /// Which event of the case it is.
    pub(super) number: usize,
    pub(super) payload: usize,
}

impl Event for Deed {
    const TYPE: &'static str = "test.deed.v1";
}

/// A delivery of event `number` with one of its payloads.
pub(super) fn message(number: usize, payload: usize) -> Message {
    let id = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000 | number as u128);
    message_of(id, number, payload)
}

/// The same with an id of its own.
pub(super) fn message_of(id: Uuid, number: usize, payload: usize) -> Message {
    Message::with(
        id,
        Deed::TYPE,
        &json!({ "number": number, "payload": payload }),
        &json!({}),
    )
}
