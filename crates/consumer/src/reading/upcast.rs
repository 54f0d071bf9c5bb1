//! One step from an older version of an event type to a younger one.

use std::collections::{HashMap, HashSet};

use oncebox_envelope::{Event, EventType, RawEnvelope};
use serde_json::value::to_raw_value;

use crate::{
    failure::{Failure, HandlerError, Reason},
    start_error::StartError,
};

/// A step, whatever its types.
pub(crate) struct Upcast {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    run: Box<Run>,
}

type Run = dyn Fn(RawEnvelope) -> Result<RawEnvelope, Failure> + Send + Sync;

impl Upcast {
    pub(crate) fn new<A: Event, B: Event>(
        change: impl Fn(A) -> Result<B, HandlerError> + Send + Sync + 'static,
    ) -> Self {
        let run = move |mut event: RawEnvelope| {
            let old = event
                .clone()
                .typed::<A>()
                .map_err(|error| Failure::permanent(Reason::WrongSchema, error))?;
            let new = change(old.data).map_err(|error| match error.is_permanent() {
                true => failed::<A>(&error.to_string()),
                false => Failure::from(error),
            })?;
            let data = to_raw_value(&new).map_err(|_| failed::<A>("its result cannot be written as JSON"))?;
            event.data = Some(data);
            event.event_type = EventType::new(B::TYPE).map_err(|_| failed::<A>("its result has no valid type"))?;
            Ok(event)
        };
        Self {
            from: A::TYPE,
            to: B::TYPE,
            run: Box::new(run),
        }
    }

    pub(crate) fn apply(&self, event: RawEnvelope) -> Result<RawEnvelope, Failure> {
        (self.run)(event)
    }
}

fn failed<A: Event>(why: &str) -> Failure {
    Failure::permanent(Reason::UpcastFailed, format!("upcast from `{}`: {why}", A::TYPE))
}

/// The steps by the type that they begin at, each of them leading to one of the types in `handled`.
///
/// # Errors
/// [`StartError::Upcast`] names the step that leads nowhere, back, or beside a handler.
pub(crate) fn chain(
    steps: Vec<Upcast>,
    handled: &HashSet<&'static str>,
) -> Result<HashMap<&'static str, Upcast>, StartError> {
    let mut chain = HashMap::new();
    for step in steps {
        let (from, to) = (step.from, step.to);
        let fault = |problem: &str| StartError::Upcast {
            from: from.to_owned(),
            to: to.to_owned(),
            problem: problem.to_owned(),
        };
        let (Ok(old), Ok(new)) = (EventType::new(from), EventType::new(to)) else {
            return Err(fault("one of them is no event type"));
        };
        let ((name, old), (new_name, new)) = (old.name_and_version(), new.name_and_version());
        if name != new_name || old >= new {
            return Err(fault("an upcast leads to a later version of the same type"));
        }
        if handled.contains(from) {
            return Err(fault("the older version has a handler, too; keep one of them"));
        }
        if chain.insert(from, step).is_some() {
            return Err(fault("the older version has two upcasts; keep one"));
        }
    }
    for step in chain.values() {
        if !handled.contains(step.to) && !chain.contains_key(step.to) {
            return Err(StartError::Upcast {
                from: step.from.to_owned(),
                to: step.to.to_owned(),
                problem: "the later version has neither a handler nor an upcast; call `.on` or `.upcast` for it"
                    .to_owned(),
            });
        }
    }
    Ok(chain)
}
