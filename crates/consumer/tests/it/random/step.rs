//! Events that stand in a line, a message group or a key, and a handler whose effects show in which order they came.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
};

use oncebox_consumer::{
    Condition, Effects, EventReport, HandlerError, Key, Outcome, Reason, TransactionalHandler,
    test_kit::{MemoryTables, sleep},
};
use oncebox_envelope::{Envelope, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::cases::Chance;
use crate::delivery::Message;

/// One event of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub(super) struct Step {
    pub(super) line: usize,
    /// From 1.
    pub(super) place: usize,
    pub(super) payload: usize,
}

impl Event for Step {
    const TYPE: &'static str = "test.step.v1";
}

impl Step {
    /// A delivery of it, as an event of a key with its sequence.
    pub(super) fn message(self) -> Message {
        let Self { line, place, .. } = self;
        let id = 0x0000_0000_0000_7000_8000_0000_0000_0000 | (line * 1_000 + place) as u128;
        let attributes = json!({ "partitionkey": line.to_string(), "sequence": format!("{place:020}") });
        Message::with(Uuid::from_u128(id), Self::TYPE, &json!(self), &attributes)
    }
}

/// How often each step was done, as the consumer says.
#[derive(Debug, Default)]
pub(super) struct DoneSteps(HashMap<(usize, usize), usize>);

impl DoneSteps {
    /// Looks at what is said of a step with a gap guard; `is_mine` says whether it is its payload that has had its effect.
    pub(super) fn check(&mut self, step: Step, report: &EventReport, is_mine: bool) {
        match report.outcome {
            Outcome::Done => {
                let done = self.0.entry((step.line, step.place)).or_default();
                *done += 1;
                assert!(*done == 1 && is_mine && !report.is_failed, "{report:?}");
            }
            Outcome::Duplicate => assert!(is_mine && !report.is_failed, "{report:?}"),
            Outcome::Permanent => {
                assert_eq!(report.reason, Some(Reason::PayloadMismatch), "{report:?}");
                assert!(!is_mine && report.is_failed, "{report:?}");
            }
            Outcome::Held | Outcome::Retryable | Outcome::NotStarted => assert!(report.is_failed),
            other => panic!("{other:?} is nothing that comes of it: {report:?}"),
        }
    }
}

/// The tables, with one item for each line.
#[derive(Clone)]
pub(super) struct Lines(pub(super) MemoryTables);

impl Lines {
    pub(super) fn new() -> Self {
        Self(MemoryTables::new().table("lines", &["pk"]))
    }

    /// How far a line has come, each step of it once.
    pub(super) fn last(&self, line: usize) -> usize {
        let number = |attribute| self.0.number("lines", Key::new("pk", line.to_string()), attribute);
        let (last, steps) = (number("last"), number("steps"));
        assert_eq!(last, steps, "line {line}: its last step and how many there were");
        last
    }

    /// Which payload a step had its effect with.
    pub(super) fn payload(&self, step: Step) -> usize {
        let attribute = format!("payload{}", step.place);
        self.0
            .number("lines", Key::new("pk", step.line.to_string()), &attribute)
    }
}

/// Takes a step if it is the next one of its line; now and then it fails.
#[derive(Clone)]
pub(super) struct Walk {
    pub(super) lines: Lines,
    pub(super) chance: Arc<Mutex<Chance>>,
    /// One in so many attempts fails.
    pub(super) failures: u32,
    /// Steps whose handler began before the one before had its effect.
    pub(super) early: Arc<Mutex<Vec<Step>>>,
}

impl<'a> TransactionalHandler<'a, Step> for Walk {
    type Future = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send + 'a>>;

    fn handle(&self, event: Envelope<Step>, effects: &'a mut Effects) -> Self::Future {
        let walk = self.clone();
        Box::pin(async move {
            let step = event.data;
            if walk.lines.last(step.line) + 1 < step.place {
                walk.early.lock().unwrap().push(step);
            }
            let (takes, fails) = {
                let mut chance = walk.chance.lock().unwrap();
                (chance.millis(40), chance.one_in(walk.failures))
            };
            let before = match step.place {
                1 => Condition::absent("last"),
                place => Condition::equals("last", place as u64 - 1),
            };
            let line = effects.update("lines", Key::new("pk", step.line.to_string()));
            line.set("last", step.place as u64)
                .add("steps", 1)
                .set(format!("payload{}", step.place), step.payload as u64)
                .only_if(before);
            sleep(takes).await;
            match fails {
                true => Err(HandlerError::retryable("told to retry")),
                false => Ok(()),
            }
        })
    }
}
