//! The writes that a handler asks for.

use std::collections::{HashMap, HashSet};

use super::{
    attribute::{Attribute, Key},
    condition::Condition,
    store::{Change, Changes, Write},
};
use crate::{
    failure::HandlerError,
    outbox::{Emitter, Letter, NewEvent},
};

/// The writes that a handler describes; the library commits them together with the dedupe record.
///
/// All or none of them happen. A transaction takes 99 of them, each item (table and key) once, and
/// 4 MB altogether (DynamoDB API Reference, `TransactWriteItems`); more is a permanent error, found
/// before anything is sent. Tables are named as in `ConsumerBuilder::table`, or by their own name.
#[derive(Default)]
pub struct Effects {
    pub(crate) list: Vec<Effect>,
    /// `None` where the consumer has no outbox.
    emitter: Option<Emitter>,
}

pub(crate) struct Effect {
    pub(crate) table: String,
    pub(crate) key: Key,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    Put(Put),
    Update(Update),
    Delete(Delete),
    Check(Check),
}

impl Effects {
    /// Writes a whole item, in place of one that may be there.
    pub fn put(&mut self, table: impl Into<String>, key: Key) -> &mut Put {
        match self.push(table.into(), key, Action::Put(Put::default())) {
            Action::Put(put) => put,
            _ => unreachable!("the action pushed just now"),
        }
    }

    /// Changes attributes of an item, which is made if it is not there. One change at least, and each attribute once:
    /// anything else is a permanent error, found before anything is sent.
    pub fn update(&mut self, table: impl Into<String>, key: Key) -> &mut Update {
        match self.push(table.into(), key, Action::Update(Update::default())) {
            Action::Update(update) => update,
            _ => unreachable!("the action pushed just now"),
        }
    }

    /// Deletes an item, if it is there.
    pub fn delete(&mut self, table: impl Into<String>, key: Key) -> &mut Delete {
        match self.push(table.into(), key, Action::Delete(Delete::default())) {
            Action::Delete(delete) => delete,
            _ => unreachable!("the action pushed just now"),
        }
    }

    /// Writes nothing: the other effects only happen if the condition holds for this item.
    pub fn check(&mut self, table: impl Into<String>, key: Key, condition: Condition) -> &mut Check {
        let check = Check(Guard {
            condition: Some(condition),
            error: None,
        });
        match self.push(table.into(), key, Action::Check(check)) {
            Action::Check(check) => check,
            _ => unreachable!("the action pushed just now"),
        }
    }

    /// Emits an event: it is stored in the transaction of the effects, and sent to `target` when that has
    /// been applied. Targets are named by `ConsumerBuilder::target`.
    ///
    /// It arrives at least once and always under the id that is returned. A FIFO queue or topic gets the events of one key
    /// in the order in which their causes have had their effects, and of one cause in the order of the calls.
    ///
    /// # Errors
    /// Permanent for what can never be sent: an attribute that breaks its rule, more than 256 KiB in one message, more
    /// than 100 events, more than 350,000 bytes for one message group. Retryable where the consumer has no outbox or no such
    /// target: that is mended by a deployment. Pass it on by `?`; whoever drops it goes on without the event.
    pub fn emit(&mut self, target: &str, event: NewEvent) -> Result<oncebox_envelope::EventId, HandlerError> {
        match &mut self.emitter {
            Some(emitter) => emitter.emit(target, event),
            None => Err(HandlerError::retryable(
                "the consumer has no outbox to emit to; call `.outbox(…)` when it is built",
            )),
        }
    }

    pub(crate) fn emitting(emitter: Option<Emitter>) -> Self {
        Self {
            list: Vec::new(),
            emitter,
        }
    }

    /// Takes what has been emitted.
    pub(crate) fn take_letters(&mut self) -> Vec<Letter> {
        self.emitter.take().map(Emitter::into_letters).unwrap_or_default()
    }

    /// How many effects have been described, emitted events apart.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether no effect has been described, emitted events apart.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn push(&mut self, table: String, key: Key, action: Action) -> &mut Action {
        self.list.push(Effect { table, key, action });
        let last = self.list.len() - 1;
        &mut self.list[last].action
    }
}

impl Effect {
    /// The write that it comes to; `tables` are tables' own names by alias.
    pub(crate) fn write(&self, tables: &HashMap<String, String>) -> Write {
        let change = match &self.action {
            Action::Put(put) => Change::Put(put.attributes.clone()),
            Action::Update(update) => Change::Update(update.changes.clone()),
            Action::Delete(_) => Change::Delete,
            Action::Check(_) => Change::Check,
        };
        Write {
            table: tables.get(&self.table).unwrap_or(&self.table).clone(),
            key: self.key.clone(),
            change,
            condition: self.guard().condition.clone(),
            wants_old: false,
        }
    }

    /// What DynamoDB would refuse of it, whatever the item is. Names of attributes are not shown: they may be made of data.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let Action::Update(update) = &self.action else {
            return None;
        };
        let changes = &update.changes;
        let valued = [&changes.set, &changes.set_if_absent, &changes.add]
            .into_iter()
            .flatten();
        let mut names = valued.map(|(name, _)| name).chain(&changes.remove).peekable();
        if names.peek().is_none() {
            return Some(
                "is an update that changes nothing; call `set`, `add` or another of its methods, or `Effects::check` to \
                 hold the others to a condition",
            );
        }
        let mut seen = HashSet::new();
        let is_twice = !names.all(|name| seen.insert(name));
        is_twice.then_some("is an update that names an attribute twice; DynamoDB takes each once")
    }

    /// What the handler's author said should happen when the condition does not hold.
    pub(crate) fn guard(&self) -> &Guard {
        match &self.action {
            Action::Put(Put { guard, .. }) | Action::Update(Update { guard, .. }) => guard,
            Action::Delete(Delete(guard)) | Action::Check(Check(guard)) => guard,
        }
    }
}

/// The condition of an effect, and the error when it does not hold.
#[derive(Default)]
pub(crate) struct Guard {
    pub(crate) condition: Option<Condition>,
    pub(crate) error: Option<HandlerError>,
}

/// A whole item to be written.
#[derive(Default)]
pub struct Put {
    pub(crate) attributes: Vec<(String, Attribute)>,
    pub(crate) guard: Guard,
}

impl Put {
    /// An attribute of the item.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Attribute>) -> &mut Self {
        self.attributes.push((name.into(), value.into()));
        self
    }
}

/// Changes to an item.
#[derive(Default)]
pub struct Update {
    pub(crate) changes: Changes,
    pub(crate) guard: Guard,
}

impl Update {
    /// `SET name = value`.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Attribute>) -> &mut Self {
        self.changes.set.push((name.into(), value.into()));
        self
    }

    /// `SET name = if_not_exists(name, value)`: the first one to write it wins.
    pub fn set_if_absent(&mut self, name: impl Into<String>, value: impl Into<Attribute>) -> &mut Self {
        self.changes.set_if_absent.push((name.into(), value.into()));
        self
    }

    /// `ADD name value`: adds to a number (0 if absent), or to a set.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<Attribute>) -> &mut Self {
        self.changes.add.push((name.into(), value.into()));
        self
    }

    /// `REMOVE name`.
    pub fn remove(&mut self, name: impl Into<String>) -> &mut Self {
        self.changes.remove.push(name.into());
        self
    }
}

/// An item to be deleted.
#[derive(Default)]
pub struct Delete(pub(crate) Guard);

/// A condition on an item that is not written.
pub struct Check(pub(crate) Guard);

macro_rules! guarded {
    ($($effect:ident: $guard:tt),*) => {$(
        impl $effect {
            /// Only if the condition holds; else nothing at all is written for this event.
            pub fn only_if(&mut self, condition: Condition) -> &mut Self {
                self.$guard.condition = Some(condition);
                self
            }

            /// What a condition that does not hold means; by default a permanent error.
            pub fn or_fail(&mut self, error: HandlerError) -> &mut Self {
                self.$guard.error = Some(error);
                self
            }
        }
    )*};
}
guarded!(Put: guard, Update: guard, Delete: 0, Check: 0);
