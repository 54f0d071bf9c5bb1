//! Sending what lies in parcels.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use oncebox_envelope::EventId;
use uuid::Uuid;

use super::{
    Outbox,
    letter::Letter,
    parcel::{Parcel, place},
    target::Target,
};
use crate::{
    dynamodb::{
        group::MAX_WRITES,
        store::{ItemKey, Transacted, Write},
    },
    time::{self, Instant, sleep_until, timeout_at},
};

/// How often a parcel is looked at: again after a failure, or when somebody has added to it meanwhile.
const ROUNDS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Requests at a time.
const MAX_REQUESTS: usize = 8;
/// Bytes of the writes of one transaction.
const MAX_TRANSACTION_BYTES: usize = 3 * 1024 * 1024;

/// What has been sent, and what the last failure was.
#[derive(Default)]
struct Sent {
    ids: HashSet<EventId>,
    #[cfg(feature = "otel")]
    posted: Vec<Posted>,
    failure: Option<String>,
}

/// What became of parcels that were to be sent.
#[derive(Default)]
pub(super) struct Drained {
    /// What has arrived.
    pub(super) sent: HashSet<EventId>,
    /// The places where something is left, or may be.
    pub(super) left: Vec<ItemKey>,
    /// The last failure, where something is left.
    pub(super) failure: Option<String>,
    #[cfg(feature = "otel")]
    pub(super) posted: Vec<Posted>,
}

/// What has arrived, for its span.
#[cfg(feature = "otel")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) id: EventId,
    pub(crate) event_type: String,
    pub(crate) to: Target,
    /// `traceparent` of the event.
    pub(crate) parent: Option<String>,
    pub(crate) started: jiff::Timestamp,
    pub(crate) ended: jiff::Timestamp,
}

impl Outbox {
    /// Sends what lies in the parcels at `places` and takes it out of them, by `until` at the latest.
    ///
    /// # Cancel safety
    /// Dropped before it ends, letters may have been sent that are still stored; they are sent again.
    pub(super) async fn drain(&self, mut places: Vec<ItemKey>, until: Instant) -> Drained {
        let mut sent = Sent::default();
        let mut pause = FIRST_PAUSE;
        for round in 0..ROUNDS {
            if round > 0 {
                sleep_until(time::after_about(pause).min(until)).await;
                pause *= 2;
            }
            if places.is_empty() || time::now() >= until {
                break;
            }
            let items = match timeout_at(until, self.store.read(&places)).await {
                Ok(Ok(items)) => items,
                Ok(Err(why)) => {
                    sent.failure = Some(format!("the outbox could not be read: {why}"));
                    continue;
                }
                Err(_) => break,
            };
            let mut parcels = Vec::new();
            let mut left = Vec::new();
            for (place, item) in places.into_iter().zip(items) {
                match item.map(|item| Parcel::read(&item)) {
                    // Somebody else has sent it.
                    None => {}
                    Some(Some(parcel)) => parcels.push(parcel),
                    Some(None) => {
                        sent.failure = Some("a parcel is not one that this version can read".to_owned());
                        left.push(place);
                    }
                }
            }
            self.send(&parcels, &mut sent, until).await;
            left.extend(self.take_out(&parcels, &sent.ids, until).await);
            places = left;
        }
        let failure = sent.failure.filter(|_| !places.is_empty());
        if let Some(failure) = &failure {
            tracing::warn!(
                consumer = self.consumer,
                parcels = places.len(),
                error = failure,
                "emitted events were not sent yet; they stay in the outbox"
            );
        }
        Drained {
            sent: sent.ids,
            left: places,
            failure,
            #[cfg(feature = "otel")]
            posted: sent.posted,
        }
    }

    /// Sends what has not been sent: of an ordered parcel one letter after the other, up to the first that fails.
    async fn send(&self, parcels: &[Parcel], sent: &mut Sent, until: Instant) {
        let mut is_stopped: Vec<bool> = vec![false; parcels.len()];
        loop {
            let mut wave: HashMap<&Target, Vec<(usize, &Letter)>> = HashMap::new();
            for (index, parcel) in parcels.iter().enumerate().filter(|(index, _)| !is_stopped[*index]) {
                let mut unsent = parcel.letters.iter().filter(|letter| !sent.ids.contains(&letter.id));
                let next: Vec<&Letter> = match parcel.is_ordered() {
                    true => unsent.next().into_iter().collect(),
                    false => unsent.collect(),
                };
                for letter in next {
                    wave.entry(&letter.to).or_default().push((index, letter));
                }
            }
            if wave.is_empty() || time::now() >= until {
                return;
            }
            let mut requests: Vec<BoxFuture<'_, _>> = Vec::new();
            for (to, letters) in wave {
                for chunk in chunks(to, letters) {
                    requests.push(self.request(to, chunk, until).boxed());
                }
            }
            let mut answers = stream::iter(requests).buffer_unordered(MAX_REQUESTS);
            #[cfg(feature = "otel")]
            let started = time::wall();
            while let Some(answer) = answers.next().await {
                for (index, letter, answer) in answer {
                    match answer {
                        Ok(()) => {
                            #[cfg(feature = "otel")]
                            sent.posted.push(Posted::new(letter, started));
                            sent.ids.insert(letter.id);
                        }
                        Err(why) => {
                            is_stopped[index] = true;
                            sent.failure = Some(format!("a target did not take an event: {why}"));
                        }
                    }
                }
            }
            // All letters of the others went with the first wave.
            for (index, parcel) in parcels.iter().enumerate() {
                is_stopped[index] |= !parcel.is_ordered();
            }
        }
    }

    /// Sends letters in one request, and tells of each whether it has arrived.
    async fn request<'l>(
        &self,
        to: &Target,
        chunk: Vec<(usize, &'l Letter)>,
        until: Instant,
    ) -> Vec<(usize, &'l Letter, Result<(), String>)> {
        let began = time::now();
        if let Some(left) = self.pauses().left(to, began) {
            let why = format!("it has not answered lately and is left alone for {} s", left.as_secs());
            let wait = |(index, letter)| (index, letter, Err(why.clone()));
            return chunk.into_iter().map(wait).collect();
        }
        let letters: Vec<Letter> = chunk.iter().map(|(_, letter)| (*letter).clone()).collect();
        let answers = timeout_at(until, self.post.send(to, &letters)).await;
        let answers = answers.unwrap_or_default();
        let (has_arrived, now) = (answers.iter().any(Result::is_ok), time::now());
        self.pauses()
            .ended(to, has_arrived, now.saturating_duration_since(began), now);
        let mut answers = answers.into_iter();
        let answer = |(index, letter)| {
            let answer = answers.next().unwrap_or_else(|| Err("no answer in time".to_owned()));
            (index, letter, answer)
        };
        chunk.into_iter().map(answer).collect()
    }

    /// Takes out what has been sent; returns where something is left.
    async fn take_out(&self, parcels: &[Parcel], sent: &HashSet<EventId>, until: Instant) -> Vec<ItemKey> {
        let mut left = Vec::new();
        let mut requests: Vec<Vec<Write>> = Vec::new();
        // Nobody else adds to a parcel that has no order, so those can share a transaction.
        let (mut shared, mut bytes) = (Vec::new(), 0);
        for parcel in parcels {
            let place = place(&self.table, &self.consumer, parcel.shard, &parcel.sk);
            let is_left = |letter: &Letter| !sent.contains(&letter.id);
            let count = parcel.letters.iter().filter(|letter| is_left(letter)).count();
            if count > 0 {
                left.push(place.clone());
            }
            if count == parcel.letters.len() && count > 0 {
                continue;
            }
            let write = parcel.take_out(place, is_left);
            if parcel.is_ordered() {
                requests.push(vec![write]);
                continue;
            }
            if shared.len() == MAX_WRITES || bytes + write.size_bytes() > MAX_TRANSACTION_BYTES {
                requests.push(std::mem::take(&mut shared));
                bytes = 0;
            }
            bytes += write.size_bytes();
            shared.push(write);
        }
        if !shared.is_empty() {
            requests.push(shared);
        }
        let mut running: Vec<BoxFuture<'_, Vec<ItemKey>>> = Vec::new();
        for writes in requests {
            running.push(self.apply(writes, until).boxed());
        }
        let mut unsure = stream::iter(running).buffer_unordered(MAX_REQUESTS);
        while let Some(unsure) = unsure.next().await {
            for place in unsure {
                if !left.contains(&place) {
                    left.push(place);
                }
            }
        }
        left
    }

    /// Returns the places where this is not known to have been done: the parcels themselves tell.
    async fn apply(&self, writes: Vec<Write>, until: Instant) -> Vec<ItemKey> {
        let token = Uuid::new_v4().to_string();
        match timeout_at(until, self.store.transact(&token, &writes)).await {
            Ok(Transacted::Committed) => Vec::new(),
            // Somebody has added to one, for instance.
            _ => writes.iter().map(Write::item).collect(),
        }
    }
}

#[cfg(feature = "otel")]
impl Posted {
    /// Has arrived just now.
    fn new(letter: &Letter, started: jiff::Timestamp) -> Self {
        let mut attributes = letter.attributes.iter();
        let parent = attributes.find(|(name, _)| *name == oncebox_envelope::wire::ATTRIBUTE_TRACE_PARENT);
        Self {
            id: letter.id,
            event_type: letter.event_type.clone(),
            to: letter.to.clone(),
            parent: parent.map(|(_, value)| value.clone()),
            started,
            ended: time::wall(),
        }
    }
}

/// Requests of a size that the target takes. Of an ordered parcel, each has one letter at most already.
fn chunks<'l>(to: &Target, letters: Vec<(usize, &'l Letter)>) -> Vec<Vec<(usize, &'l Letter)>> {
    let limits = to.kind.limits();
    let mut chunks: Vec<Vec<(usize, &Letter)>> = Vec::new();
    let mut bytes = 0;
    for (index, letter) in letters {
        let size = letter.message_bytes();
        match chunks.last_mut() {
            Some(chunk) if chunk.len() < limits.max_entries && bytes + size <= limits.max_request_bytes => {
                chunk.push((index, letter));
                bytes += size;
            }
            _ => {
                chunks.push(vec![(index, letter)]);
                bytes = size;
            }
        }
    }
    chunks
}
