//! The record of an event under a lease: its states and how it is written down. Pure.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::{
    dynamodb::{Attribute, store::Item},
    response::Response,
};

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its holder works on it, or is dead.
    Claimed,
    /// The last attempt had no effect.
    Released,
    /// Nobody knows what the last attempt did.
    Unknown,
    /// The effect has happened.
    Done,
}

impl State {
    #[cfg(test)]
    pub(super) const ALL: [Self; 4] = [Self::Claimed, Self::Released, Self::Unknown, Self::Done];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Released => "released",
            Self::Unknown => "unknown",
            Self::Done => "done",
        }
    }

    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "claimed" => Self::Claimed,
            "released" => Self::Released,
            "unknown" => Self::Unknown,
            "done" => Self::Done,
            _ => return None,
        })
    }
}

/// One record, as it is or shall be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) pk: String,
    pub(super) state: State,
    /// The delivery that wrote it; unique.
    pub(super) own: String,
    /// Rises with each claim.
    pub(super) fence: u64,
    /// Rises with each renewal of one claim.
    pub(super) beat: u64,
    /// How long the holder may be silent. A length and no point in time, so that no clocks are compared.
    pub(super) lease: Duration,
    /// How long watchers have seen this beat stand still, one after the other.
    pub(super) waited: Duration,
    pub(super) hash: Vec<u8>,
    pub(super) response: Option<Response>,
    pub(super) ttl_secs: i64,
}

impl Record {
    /// Its attributes beside the key.
    pub(super) fn attributes(&self) -> Vec<(String, Attribute)> {
        let mut attributes: Vec<(&str, Attribute)> = vec![
            ("st", self.state.as_str().into()),
            ("own", self.own.as_str().into()),
            ("fence", self.fence.into()),
            ("beat", self.beat.into()),
            ("lease", millis(self.lease).into()),
            ("waited", millis(self.waited).into()),
            ("ph", self.hash.clone().into()),
            ("ttl", self.ttl_secs.into()),
        ];
        match self.response.as_ref().map(Response::stored) {
            Some(Ok(json)) => attributes.push(("res", json.into())),
            Some(Err(why)) => attributes.push(("res_none", why.into())),
            None => {}
        }
        let named = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
        named.collect()
    }

    /// Reads a record, also one of the transactional mode, which has neither fence nor lease.
    ///
    /// # Errors
    /// The name of the attribute that cannot be understood.
    pub(super) fn read(item: &Item) -> Result<Self, &'static str> {
        let text = |name| item.get(name).and_then(|value: &AttributeValue| value.as_s().ok());
        let whole = |name| match item.get(name) {
            None => Ok(0),
            Some(value) => value.as_n().ok().and_then(|n| n.parse::<u64>().ok()).ok_or(name),
        };
        let response = match (text("res"), text("res_none")) {
            (Some(json), _) => Some(Response::from_stored(Ok(json))),
            (None, Some(why)) => Some(Response::from_stored(Err(why))),
            (None, None) => None,
        };
        let ttl = item.get("ttl").and_then(|value| value.as_n().ok()?.parse().ok());
        Ok(Self {
            pk: text("pk").ok_or("pk")?.clone(),
            state: text("st").and_then(|state| State::read(state)).ok_or("st")?,
            own: text("own").ok_or("own")?.clone(),
            fence: whole("fence")?,
            beat: whole("beat")?,
            lease: Duration::from_millis(whole("lease")?),
            waited: Duration::from_millis(whole("waited")?),
            hash: item
                .get("ph")
                .and_then(|v| v.as_b().ok())
                .ok_or("ph")?
                .as_ref()
                .to_vec(),
            response,
            ttl_secs: ttl.ok_or("ttl")?,
        })
    }

    /// Whether it is the same moment of the same claim: nobody has written since, but watchers.
    pub(super) fn is_as_still_as(&self, other: &Self) -> bool {
        (&self.own, self.fence, self.beat, self.state) == (&other.own, other.fence, other.beat, other.state)
    }

    /// How much longer its holder must be silent to be taken for dead.
    ///
    /// A twentieth more than the lease: two machines' clocks may run at speeds that differ by as much.
    pub(super) fn must_stand_still(&self) -> Duration {
        (self.lease + self.lease / CLOCKS_DIFFER).saturating_sub(self.waited)
    }
}

const CLOCKS_DIFFER: u32 = 20;

/// As it stands in a record.
pub(super) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record(state: State) -> Record {
        Record {
            pk: "c#1".to_owned(),
            state,
            own: "owner".to_owned(),
            fence: 3,
            beat: 7,
            lease: Duration::from_secs(10),
            waited: Duration::from_millis(1),
            hash: vec![1; 32],
            response: None,
            ttl_secs: 1_000,
        }
    }

    fn item(record: &Record) -> Item {
        let attributes = record.attributes().into_iter().map(|(name, value)| (name, value.0));
        let key = ("pk".to_owned(), AttributeValue::S(record.pk.clone()));
        attributes.chain([key]).collect()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for state in State::ALL {
            for response in [None, Response::of(&"x"), Response::of(&"x".repeat(100_000))] {
                let record = Record {
                    response,
                    ..record(state)
                };
                assert_eq!(Record::read(&item(&record)), Ok(record));
            }
        }
    }

    #[test]
    fn a_record_of_the_transactional_mode_is_done_without_a_fence() {
        let mut item = item(&record(State::Done));
        for name in ["fence", "beat", "lease", "waited"] {
            item.remove(name);
        }
        let read = Record::read(&item).unwrap();
        assert_eq!((read.state, read.fence, read.lease), (State::Done, 0, Duration::ZERO));
    }

    #[test]
    fn a_record_that_cannot_be_understood_names_its_attribute() {
        for name in ["pk", "st", "own", "ph", "ttl"] {
            let mut item = item(&record(State::Claimed));
            item.remove(name);
            assert_eq!(Record::read(&item), Err(name));
        }
        for name in ["fence", "beat", "lease", "waited"] {
            let mut item = item(&record(State::Claimed));
            item.insert(name.to_owned(), AttributeValue::N("-1".to_owned()));
            assert_eq!(Record::read(&item), Err(name));
        }
    }
}
