//! Finds entries and envelopes in a request's body, without parsing it.
//!
//! The markers cannot stand inside a string that is carried along: there, JSON escapes each quote
//! (and each backslash before one), and a form encodes it.

use memchr::memmem::{self, Finder};
use uuid::Uuid;

use super::request::Service;

/// One entry of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its name in the answer; empty for `EventBridge`, which answers by position.
    pub(super) id: &'a [u8],
    text: &'a [u8],
}

/// What the ledger wants to know of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) id: u128,
    /// The ordering key with its place in the key, both as written.
    pub(super) place: Option<(&'a [u8], u64)>,
}

/// The markers of each protocol, ready to be searched for.
pub(super) struct Scanners {
    sqs: Scanner,
    sns: Scanner,
    event_bridge: Scanner,
}

struct Scanner {
    entry: Finder<'static>,
    /// What ends an entry's id.
    id_end: u8,
    envelope: Finder<'static>,
    key: &'static [u8],
    sequence: &'static [u8],
    /// The first byte of a quote as it is written within the carried text.
    quote: u8,
}

/// The attributes before the data take less than this (key and source are short in a benchmark).
const ATTRIBUTES: usize = 1_024;
const UUID: usize = 36;
const SEQUENCE: usize = 20;

impl Scanners {
    pub(super) fn new() -> Self {
        let json = |entry: &'static str| Scanner {
            entry: Finder::new(entry),
            id_end: b'"',
            envelope: Finder::new(r#"\"specversion\":\"1.0\",\"id\":\""#),
            key: br#"\"partitionkey\":\""#,
            sequence: br#"\"sequence\":\""#,
            quote: b'\\',
        };
        Self {
            sqs: json(r#"{"Id":""#),
            event_bridge: json(r#""Detail":""#),
            sns: Scanner {
                entry: Finder::new(".Id="),
                id_end: b'&',
                envelope: Finder::new("%22specversion%22%3A%221.0%22%2C%22id%22%3A%22"),
                key: b"%22partitionkey%22%3A%22",
                sequence: b"%22sequence%22%3A%22",
                quote: b'%',
            },
        }
    }

    /// The entries of a batch, in order.
    pub(super) fn entries<'a>(&'a self, service: Service, body: &'a [u8]) -> impl Iterator<Item = Entry<'a>> {
        let scanner = self.of(service);
        let mut starts = scanner.entry.find_iter(body).peekable();
        std::iter::from_fn(move || {
            let start = starts.next()? + scanner.entry.needle().len();
            let text = &body[start..starts.peek().copied().unwrap_or(body.len())];
            let id = match service {
                Service::EventBridge => &[],
                Service::Sqs | Service::Sns => &text[..memchr::memchr(scanner.id_end, text).unwrap_or(text.len())],
            };
            Some(Entry { id, text })
        })
    }

    /// The events in an entry: one, or those of a bundle.
    pub(super) fn events<'a>(&'a self, service: Service, entry: &Entry<'a>) -> impl Iterator<Item = Event<'a>> {
        let scanner = self.of(service);
        let text = entry.text;
        let starts = scanner.envelope.find_iter(text);
        starts.filter_map(move |start| scanner.event(&text[start + scanner.envelope.needle().len()..]))
    }

    fn of(&self, service: Service) -> &Scanner {
        match service {
            Service::Sqs => &self.sqs,
            Service::Sns => &self.sns,
            Service::EventBridge => &self.event_bridge,
        }
    }
}

impl Scanner {
    /// Reads an envelope from its id on.
    fn event<'a>(&self, text: &'a [u8]) -> Option<Event<'a>> {
        let id = Uuid::try_parse_ascii(text.get(..UUID)?).ok()?.as_u128();
        let attributes = &text[UUID..text.len().min(UUID + ATTRIBUTES)];
        Some(Event {
            id,
            place: self.place(attributes),
        })
    }

    fn place<'a>(&self, attributes: &'a [u8]) -> Option<(&'a [u8], u64)> {
        let rest = &attributes[memmem::find(attributes, self.key)? + self.key.len()..];
        let key = &rest[..memchr::memchr(self.quote, rest)?];
        let rest = &rest[memmem::find(rest, self.sequence)? + self.sequence.len()..];
        let sequence = std::str::from_utf8(rest.get(..SEQUENCE)?).ok()?.parse().ok()?;
        Some((key, sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

    fn envelope(attributes: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"{ID}","source":"/s","type":"a.v1",{attributes}"data":{{"Id":"x"}}}}"#)
    }

    /// Key and sequence of an event that has them.
    type Place = Option<(String, u64)>;

    /// Each entry's id with its events.
    fn found(service: Service, body: &str) -> Vec<(String, Vec<Place>)> {
        let scanners = Scanners::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let entries = scanners.entries(service, body.as_bytes()).map(|entry| {
            let events = scanners.events(service, &entry).map(|event| {
                assert_eq!(event.id, ID.parse::<Uuid>().unwrap().as_u128());
                event.place.map(|(key, sequence)| (text(key), sequence))
            });
            (text(entry.id), events.collect())
        });
        entries.collect()
    }

    fn keyed() -> String {
        envelope(r#""partitionkey":"k7","sequence":"00000000000000000042","#)
    }

    #[test]
    fn entries_and_events_of_an_sqs_request_are_found_and_carried_text_is_not_taken_for_them() {
        let nested = serde_json::Value::String(keyed()).to_string();
        let tricky = envelope(&format!(r#""x":{nested},"#));
        let bundle = format!("[{},{}]", keyed(), envelope(""));
        let entry = |id: &str, body: &str| serde_json::json!({ "Id": id, "MessageBody": body }).to_string();
        let entries = [entry("0", &keyed()), entry("b", &bundle), entry("1", &tricky)].join(",");
        let place = || Some(("k7".to_owned(), 42));
        assert_eq!(
            found(Service::Sqs, &format!(r#"{{"QueueUrl":"u","Entries":[{entries}]}}"#)),
            [
                ("0".to_owned(), vec![place()]),
                ("b".to_owned(), vec![place(), None]),
                ("1".to_owned(), vec![None])
            ]
        );
    }

    #[test]
    fn entries_of_sns_and_eventbridge_are_found() {
        let mut form = url::form_urlencoded::Serializer::new("Action=PublishBatch&Version=2010-03-31".to_owned());
        for (index, body) in [keyed(), envelope("")].iter().enumerate() {
            let name = format!("PublishBatchRequestEntries.member.{}", index + 1);
            form.append_pair(&format!("{name}.Id"), &index.to_string());
            form.append_pair(&format!("{name}.Message"), body);
            form.append_pair(&format!("{name}.MessageAttributes.entry.1.Name"), "ce-id");
        }
        let place = Some(("k7".to_owned(), 42));
        assert_eq!(
            found(Service::Sns, &form.finish()),
            [("0".to_owned(), vec![place.clone()]), ("1".to_owned(), vec![None])]
        );
        let entry = |body: String| serde_json::json!({ "Source": "/s", "DetailType": "a.v1", "Detail": body });
        let body = serde_json::json!({ "Entries": [entry(keyed()), entry(envelope(""))] }).to_string();
        assert_eq!(
            found(Service::EventBridge, &body),
            [(String::new(), vec![place]), (String::new(), vec![None])]
        );
    }
}
