//! One target of any kind.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;

use super::{
    Limits, Message, PublishError, Publisher, TargetKind,
    claim_check::{ClaimCheck, not_stored},
    clients::Clients,
    deadline::Deadline,
    eventbridge::{self, EventBus},
    inspect::{Remark, Use},
    limits,
    resolve::ResolveError,
    sns::{self, SnsTopic},
    sqs::{self, SqsQueue},
};
use crate::{
    config::{ClaimCheckConfig, TargetConfig},
    lease::term::Clock,
    log::page::Row,
};

/// A queue, a topic or an event bus, with the claim check of its sink.
#[derive(Debug, Clone)]
pub struct Target {
    place: Place,
    limits: Limits,
    claim_check: Option<(ClaimCheck, Option<usize>)>,
    request_timeout: Duration,
}

#[derive(Debug, Clone)]
enum Place {
    Queue(SqsQueue),
    Topic(SnsTopic),
    Bus(EventBus),
}

impl Target {
    /// Finds a sink's target and makes sure that it is there. The claim check's bucket is not asked for:
    /// the relay needs no more than the right to write to it.
    ///
    /// # Errors
    /// [`ResolveError`], which says what to do.
    ///
    /// # Cancel safety
    /// Reads only.
    pub async fn resolve(
        clients: &Clients,
        config: &TargetConfig,
        claim_check: Option<&ClaimCheckConfig>,
    ) -> Result<Self, ResolveError> {
        let place = match config {
            TargetConfig::Sqs { queue } => Place::Queue(sqs::resolve(clients, queue).await?),
            TargetConfig::Sns { topic } => Place::Topic(sns::resolve(clients, topic).await?),
            TargetConfig::EventBridge { bus } => Place::Bus(eventbridge::resolve(clients, bus).await?),
        };
        let limits = match place.max_message_bytes() {
            Some(bytes) => limits::for_messages_of(place.kind(), bytes),
            None => place.kind().limits(),
        };
        let claim_check = claim_check.map(|config| {
            let claim_check = ClaimCheck {
                client: clients.s3.clone(),
                bucket: config.bucket.clone(),
                prefix: config.prefix.clone(),
            };
            (claim_check, config.above_bytes)
        });
        Ok(Self {
            place,
            limits,
            claim_check,
            request_timeout: clients.request_timeout,
        })
    }

    /// What kind of target it is.
    #[must_use]
    pub fn kind(&self) -> TargetKind {
        self.place.kind()
    }

    /// What it takes: its kind's limits, or the queue's or topic's own where they differ.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Which target it is, however it was named: its ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        match &self.place {
            Place::Queue(queue) => queue.arn(),
            Place::Topic(topic) => topic.arn(),
            Place::Bus(bus) => bus.arn(),
        }
    }

    /// Looks at what is its kind's own, and at the claim check's bucket.
    pub(super) async fn inspect(&self, used: Use) -> Vec<Remark> {
        let mut remarks = match &self.place {
            Place::Queue(queue) => queue.inspect().await,
            Place::Topic(topic) => topic.inspect(used).await,
            Place::Bus(bus) => bus.inspect().await,
        };
        if let Some((claim_check, _)) = &self.claim_check {
            remarks.push(claim_check.inspect().await);
        }
        remarks
    }

    /// Its name, the end of its ARN.
    #[must_use]
    pub fn name(&self) -> &str {
        self.arn().rsplit([':', '/']).next().unwrap_or_default()
    }

    async fn send(&self, batch: &[Arc<Message>], deadline: Deadline) -> Vec<Result<(), PublishError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        let sent = deadline.bound(self.place.send(batch)).await;
        sent.unwrap_or_else(|error| vec![Err(error); batch.len()])
    }

    /// Stores what the messages refer to, then sends those whose data is there.
    async fn store_and_send(&self, batch: &[Arc<Message>], deadline: Deadline) -> Vec<Result<(), PublishError>> {
        let stores = batch.iter().map(|message| self.store(message, deadline));
        let mut results = join_all(stores).await;
        let is_stored = results.iter().zip(batch).filter(|(stored, _)| stored.is_ok());
        let stored: Vec<Arc<Message>> = is_stored.map(|(_, message)| Arc::clone(message)).collect();
        let mut sent = self.send(&stored, deadline).await.into_iter();
        for result in results.iter_mut().filter(|stored| stored.is_ok()) {
            *result = sent.next().unwrap_or_else(|| Err(PublishError::unanswered()));
        }
        results
    }

    async fn store(&self, message: &Message, deadline: Deadline) -> Result<(), PublishError> {
        let Some((claim_check, _)) = &self.claim_check else {
            // Only a target with a claim check makes such messages.
            return Err(PublishError::oversize("no claim check is configured"));
        };
        for claim in &message.claims {
            let stored = deadline.bound(claim_check.store(claim)).await;
            stored.unwrap_or_else(|error| Err(not_stored(error)))?;
        }
        Ok(())
    }
}

impl Publisher for Target {
    /// A message that is larger than the target takes (or than the claim check's `above_bytes`) goes by
    /// reference where there is a claim check and that makes it smaller.
    fn prepare(&self, row: Row) -> Result<Message, PublishError> {
        let seq = row.seq;
        let envelope = Message::envelope(row)?;
        let whole = Message::of_envelope(&envelope);
        self.place.check(&whole)?;
        let (bytes, most) = (self.bytes_of(&whole), self.limits.max_message_bytes);
        let above = self.claim_check.as_ref().and_then(|(_, above)| *above).unwrap_or(most);
        if bytes <= above.min(most) {
            return Ok(whole);
        }
        if let Some((claim_check, _)) = &self.claim_check {
            let referred = claim_check.refer(envelope);
            let (envelope, claim) = referred.map_err(|error| PublishError::invalid(seq, &error))?;
            let mut referring = Message::of_envelope(&envelope);
            referring.claims.push(claim);
            let left = self.bytes_of(&referring);
            if left < bytes && left <= most {
                return Ok(referring);
            }
            if bytes <= most {
                return Ok(whole);
            }
        }
        let kind = self.kind().as_str();
        let fix = match &self.claim_check {
            Some(_) => "its attributes alone are too large",
            None => "configure `claim_check` for the sink",
        };
        let problem = format!("takes {bytes} bytes and the {kind} target takes at most {most}; {fix}");
        Err(PublishError::oversize(&problem))
    }

    fn bytes_of(&self, message: &Message) -> usize {
        limits::bytes_of(self.kind(), message)
    }

    /// What goes by reference has a request of its own, so that nobody else waits for S3.
    async fn publish(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        let deadline = Deadline::after(self.request_timeout, Clock::Machine);
        let (whole, referring): (Vec<_>, Vec<_>) = batch.iter().cloned().partition(|message| message.claims.is_empty());
        let (whole, referring) = tokio::join!(self.send(&whole, deadline), self.store_and_send(&referring, deadline));
        let (mut whole, mut referring) = (whole.into_iter(), referring.into_iter());
        let result = |message: &Arc<Message>| {
            let next = if message.claims.is_empty() {
                whole.next()
            } else {
                referring.next()
            };
            // An answer that is missing is no confirmation.
            next.unwrap_or_else(|| Err(PublishError::unanswered()))
        };
        batch.iter().map(result).collect()
    }
}

impl Place {
    fn kind(&self) -> TargetKind {
        match self {
            Self::Queue(queue) => TargetKind::queue(queue.is_fifo()),
            Self::Topic(topic) => TargetKind::topic(topic.is_fifo()),
            Self::Bus(_) => TargetKind::EventBus,
        }
    }

    /// What only this kind of target refuses.
    fn check(&self, message: &Message) -> Result<(), PublishError> {
        match self {
            Self::Queue(_) | Self::Topic(_) => Ok(()),
            Self::Bus(_) => eventbridge::check_source(&message.source),
        }
    }

    fn max_message_bytes(&self) -> Option<usize> {
        match self {
            Self::Queue(queue) => queue.max_message_bytes(),
            Self::Topic(topic) => topic.max_message_bytes(),
            Self::Bus(_) => None,
        }
    }

    async fn send(&self, batch: &[Arc<Message>]) -> Vec<Result<(), PublishError>> {
        match self {
            Self::Queue(queue) => queue.send(batch).await,
            Self::Topic(topic) => topic.send(batch).await,
            Self::Bus(bus) => bus.send(batch).await,
        }
    }
}
