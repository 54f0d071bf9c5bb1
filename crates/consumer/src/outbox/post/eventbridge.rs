//! Amazon EventBridge.

use aws_sdk_eventbridge::{
    Client,
    primitives::DateTime,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};

use super::{Answers, answers};
use crate::{
    outbox::{Letter, Target},
    sdk_error::describe,
};

/// Entries are answered by their place. Where their number is not what was sent, no place can be relied on, and
/// nothing was answered.
pub(super) async fn send(client: &Client, to: &Target, letters: &[Letter]) -> Answers {
    let entries = letters.iter().map(|letter| entry(to, letter)).collect();
    let output = match client.put_events().set_entries(Some(entries)).send().await {
        Ok(output) => output,
        Err(error) => return vec![Err(describe(&error)); letters.len()],
    };
    let entries = output.entries();
    if entries.len() != letters.len() {
        return answers(letters.len(), [], []);
    }
    let is_taken = |entry: &PutEventsResultEntry| entry.event_id().is_some_and(|id| !id.is_empty());
    let places = || entries.iter().enumerate();
    let taken = places().map(|(place, entry)| is_taken(entry).then_some(place));
    let failed = places().filter_map(|(place, entry)| Some((Some(place), entry.error_code()?.to_owned())));
    answers(letters.len(), taken, failed)
}

/// No `TraceHeader`: the envelope carries its W3C trace context itself, and that is not X-Ray's.
fn entry(to: &Target, letter: &Letter) -> PutEventsRequestEntry {
    PutEventsRequestEntry::builder()
        .event_bus_name(&to.address)
        .source(&letter.source)
        .detail_type(&letter.event_type)
        .detail(&letter.body)
        .set_time(DateTime::from_nanos(letter.time.as_nanosecond()).ok())
        .build()
}
