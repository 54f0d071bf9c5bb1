//! Which handler an event has, and what happens when it has none.

use std::{collections::HashMap, sync::Arc};

use crate::{
    failure::{Failure, Reason},
    handler::Route,
    reading::Contract,
    record::Content,
    unknown_type::UnknownType,
};

/// The handlers by event type.
pub(crate) struct Router {
    pub(crate) contract: Arc<Contract>,
    pub(crate) routes: HashMap<&'static str, Route>,
    pub(crate) any: Option<Route>,
    pub(crate) unknown_type: UnknownType,
}

impl Router {
    /// Whether events of this type have a handler of their own, by an upcast or without.
    pub(crate) fn handles(&self, event_type: &str) -> bool {
        self.routes.contains_key(self.contract.current_type(event_type))
    }

    /// The route of an event; `None` when it is to be ignored.
    pub(crate) fn route(&self, content: &Content) -> Result<Option<&Route>, Failure> {
        let event_type = &content.envelope.event_type;
        let current = self.contract.current_type(event_type.as_str());
        if let Some(route) = self.routes.get(current).or(self.any.as_ref()) {
            return Ok(Some(route));
        }
        let (name, version) = event_type.name_and_version();
        let prefix = format!("{name}.v");
        let known = self.routes.keys().find(|known| known.starts_with(&prefix));
        let (reason, error) = match known {
            Some(known) => (
                Reason::UnsupportedVersion,
                format!("version {version} of `{name}` has no handler and no upcast; this consumer handles `{known}`"),
            ),
            None => (
                Reason::UnknownType,
                format!("type `{event_type}` has no handler; add one, or filter the type out before the queue"),
            ),
        };
        match (self.unknown_type, reason) {
            (UnknownType::Ignore, Reason::UnknownType) => Ok(None),
            (UnknownType::Retry, _) => Err(Failure::retryable(error)),
            _ => Err(Failure::permanent(reason, error)),
        }
    }
}
