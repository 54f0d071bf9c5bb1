//! The border between Rust and SQL: a call of `oncebox.enqueue`, the row that it writes, and texts in a statement.

use oncebox_envelope::RawEnvelope;
use outbox_relay::{database::literal::Literal as _, log::page::Row, publish::Message};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{canary::CANARY, message};

/// Postgres rounds to microseconds, so an expiry in the last half of the last one is past what an envelope can say.
const PAST_ALL: i128 = 253_402_207_200_999_999_500;

/// What a producer calls `oncebox.enqueue` with.
///
/// As text: a line each for type, key (`+` and the key; anything else is none), tenant, kind, source and headers, then the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// `type`.
    pub event_type: String,
    /// `key`.
    pub key: Option<String>,
    /// `tenant`.
    pub tenant: String,
    /// `kind`.
    pub kind: String,
    /// `source`.
    pub source: String,
    /// `headers`, JSON as text.
    pub headers: String,
    /// `data`, JSON as text.
    pub data: String,
}

impl Call {
    /// Reads a call; `None` for bytes that are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.splitn(7, '\n').map(str::to_owned);
        Some(Self {
            event_type: lines.next()?,
            key: lines.next()?.strip_prefix('+').map(str::to_owned),
            tenant: lines.next()?,
            kind: lines.next()?,
            source: lines.next()?,
            headers: lines.next()?,
            data: lines.next()?,
        })
    }

    /// Whether the relay can publish the row that this call would write, headers and data as Postgres writes them: then
    /// `oncebox.enqueue` has to take it, and otherwise to refuse it.
    #[must_use]
    pub fn is_publishable(&self) -> bool {
        let Ok(mut headers) = serde_json::from_str::<Map<String, Value>>(&self.headers) else {
            return false;
        };
        // A position that the caller gives is a column; a header that is null is refused, where an envelope takes it for absent.
        let sequence = headers.remove("sequence");
        let key_seq = match &sequence {
            None => self.key.as_ref().map(|_| 1),
            Some(position) => match position
                .as_i64()
                .filter(|position| *position >= 1 && self.key.is_some())
            {
                Some(position) => Some(position),
                None => return false,
            },
        };
        let without = Self {
            headers: Value::from(headers.clone()).to_string(),
            ..self.clone()
        };
        let Ok(message) = Message::of(without.row(key_seq)) else {
            return false;
        };
        let sent = RawEnvelope::from_json(message.body.as_bytes()).ok();
        let expiry = sent.and_then(|envelope| envelope.expiry_time);
        headers.values().all(|value| !value.is_null()) && expiry.is_none_or(|expiry| expiry.as_nanosecond() < PAST_ALL)
    }

    fn row(&self, key_seq: Option<i64>) -> Row {
        Row {
            seq: 1,
            shard: 0,
            id: Uuid::nil(),
            event_type: self.event_type.clone(),
            key: self.key.clone(),
            key_seq,
            tenant: self.tenant.clone(),
            kind: self.kind.clone(),
            source: self.source.clone(),
            time_micros: 0,
            headers: self.headers.clone(),
            data: self.data.clone(),
        }
    }

    fn texts(&self) -> [&str; 6] {
        let key = self.key.as_deref().unwrap_or_default();
        [
            &self.event_type,
            key,
            &self.tenant,
            &self.kind,
            &self.source,
            &self.headers,
        ]
    }
}

/// Whatever row is sent says what stands in it, and any other is one error that shows no value; no text leaves its quotes.
pub fn border(bytes: &[u8]) {
    let Some(call) = Call::read(bytes) else { return };
    let _ = call.is_publishable();
    let key_seq = call.key.as_ref().map(|key| i64::try_from(key.len()).unwrap_or(1));
    if let Ok(message) = Message::of(call.row(key_seq)) {
        message::assert_counted(&message);
        let sent = RawEnvelope::from_json(message.body.as_bytes()).expect("what is sent is an envelope");
        assert_eq!(
            (
                sent.event_type.as_str(),
                sent.tenant.as_str(),
                sent.kind.as_str(),
                sent.source.as_str()
            ),
            (
                call.event_type.as_str(),
                call.tenant.as_str(),
                call.kind.as_str(),
                call.source.as_str()
            )
        );
        let key = sent.partition_key.as_ref().map(|key| key.as_str());
        assert_eq!(
            (key, sent.sequence.map(|sequence| sequence.get())),
            (call.key.as_deref(), key_seq)
        );
    }
    call.texts().into_iter().for_each(assert_quoted);
    assert_errors_show_no_value(&call, key_seq);
}

/// What Postgres reads of the literal is the text (documentation, "String Constants with C-Style Escapes"), but for NUL, which no
/// text of its has.
fn assert_quoted(text: &str) {
    let mut sql = String::new();
    text.write(&mut sql);
    let read = read_literal(&sql);
    assert_eq!(read, Some(text.replace('\0', "\u{FFFD}")), "{sql}");
}

/// The text of a literal that holds all of `sql`, and no escapes but doubled quotes and backslashes.
fn read_literal(sql: &str) -> Option<String> {
    let within = sql.strip_prefix("E'")?.strip_suffix('\'')?;
    let (mut read, mut chars) = (String::new(), within.chars());
    while let Some(c) = chars.next() {
        if matches!(c, '\'' | '\\') && chars.next() != Some(c) {
            return None;
        }
        read.push(c);
    }
    Some(read)
}

fn assert_errors_show_no_value(call: &Call, key_seq: Option<i64>) {
    if call.texts().iter().any(|text| text.contains(CANARY)) || call.headers.contains('\\') {
        return;
    }
    let secret = format!("{CANARY}\u{1}");
    let planted: [fn(&mut Call, String); 7] = [
        |call, secret| call.event_type = secret,
        |call, secret| call.key = Some(secret),
        |call, secret| call.tenant = secret,
        |call, secret| call.kind = secret,
        |call, secret| call.source = secret,
        |call, secret| call.headers = secret,
        |call, secret| call.data = secret,
    ];
    for plant in planted {
        let mut call = call.clone();
        plant(&mut call, secret.clone());
        let error = Message::of(call.row(key_seq))
            .expect_err("a control character")
            .to_string();
        assert!(!error.contains(CANARY), "{error}");
    }
    let Ok(headers) = serde_json::from_str::<Map<String, Value>>(&call.headers) else {
        return;
    };
    for name in headers.keys() {
        let mut headers = headers.clone();
        headers.insert(name.clone(), Value::from(secret.as_str()));
        let call = Call {
            headers: Value::from(headers).to_string(),
            ..call.clone()
        };
        let error = Message::of(call.row(key_seq))
            .expect_err("a control character")
            .to_string();
        assert!(!error.contains(CANARY), "{error}");
    }
}
