//! Keeps a note of every event that passes: a wire tap.
//!
//! It reads no payload, so events of any type and version may come.

use oncebox_consumer::{Effects, HandlerError, Key};
use oncebox_envelope::RawEnvelope;

/// The consumer's name.
pub const CONSUMER: &str = "audit-tap";
/// The table of notes, as the handler calls it.
pub const AUDIT: &str = "audit";
/// The environment variable with the table's name.
pub const AUDIT_ENV: &str = "AUDIT_TABLE";

/// Notes the event on the item `audit#{event_id}`.
///
/// It counts copies instead of writing a fixed value, so that an effect that happens twice shows.
///
/// # Errors
/// None of its own.
#[expect(clippy::unused_async, reason = "handlers are async")]
pub async fn audit_tap(event: RawEnvelope, effects: &mut Effects) -> Result<(), HandlerError> {
    let note = effects.update(AUDIT, Key::new("pk", format!("audit#{}", event.id)));
    note.add("copies", 1)
        .set("type", event.event_type.as_str())
        .set("kind", event.kind.as_str())
        .set("source", event.source.as_str())
        .set("tenant", event.tenant.as_str())
        .set("time_ms", event.time.as_millisecond());
    if let Some(key) = &event.partition_key {
        note.set("key", key.as_str());
    }
    if let Some(sequence) = event.sequence {
        note.set("sequence", sequence.get());
    }
    Ok(())
}
