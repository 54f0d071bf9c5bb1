//! Several events in one message.

use std::sync::Arc;

use oncebox_envelope::wire;
use sha2::{Digest as _, Sha256};

use super::Message;

impl Message {
    /// Packs messages of one group that refer to nothing stored into one, as a CloudEvents JSON batch,
    /// in their order. `None` for nothing.
    ///
    /// Its id is a digest over all ids. A FIFO target dedupes on it, so a bundle of other events must
    /// have another one, even if it begins with the same: the target would drop what is new in it.
    #[must_use]
    pub fn bundle(messages: &[Arc<Self>]) -> Option<Self> {
        let first = messages.first()?;
        let mut digest = Sha256::new();
        let mut body = String::with_capacity(messages.iter().map(|message| message.body.len() + 1).sum::<usize>() + 1);
        for message in messages {
            digest.update(message.id.as_bytes());
            body.push(if body.is_empty() { '[' } else { ',' });
            body.push_str(&message.body);
        }
        body.push(']');
        let digest = digest.finalize();
        let id = digest
            .iter()
            .fold("bundle-".to_owned(), |id, byte| format!("{id}{byte:02x}"));
        Some(Self {
            id,
            body,
            attributes: vec![
                (wire::ATTRIBUTE_TENANT, first.tenant.clone()),
                (wire::ATTRIBUTE_CONTENT_TYPE, wire::BATCH_CONTENT_TYPE.to_owned()),
            ],
            source: first.source.clone(),
            event_type: first.event_type.clone(),
            time_micros: first.time_micros,
            key: first.key.clone(),
            tenant: first.tenant.clone(),
            claims: Vec::new(),
        })
    }
}
