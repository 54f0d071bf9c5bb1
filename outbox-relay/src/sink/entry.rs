//! What a target takes as one message: an event, or a bundle of several.

use crate::publish::BatchLimits;

/// An event on its way, as the lanes see it.
pub trait Item {
    /// The lane that the event goes in: one request of a lane is out at a time. `None` for none.
    fn lane(&self) -> Option<&str>;
    /// Whether the event keeps its place in its lane.
    fn is_ordered(&self) -> bool;
    /// What the event takes of a request, in bytes.
    fn bytes(&self) -> usize;
    /// What the event holds in memory, in bytes: more than it takes of a request where its data goes by
    /// reference.
    fn held_bytes(&self) -> usize;
    /// The message group that the event goes to: events of two groups are never bundled.
    fn group(&self) -> &str;
    /// Whether the event may share a message with others.
    fn may_be_bundled(&self) -> bool;
    /// What the event holds in memory when it is not unloaded, in bytes.
    fn loaded_bytes(&self) -> usize;
    /// Gives up the payload, if it can be had again.
    fn unload(&mut self);
    /// Whether the payload was given up.
    fn is_unloaded(&self) -> bool;
}

/// One event, or a bundle of events of one group, which fail and arrive together.
#[derive(Debug)]
pub struct Entry<T> {
    first: T,
    rest: Vec<T>,
    bytes: usize,
    /// How often it was sent in vain.
    pub failures: u32,
    /// Whether it is sent in a request of its own, to tell its fault from its neighbours'.
    pub alone: bool,
}

impl<T: Item> Entry<T> {
    /// An entry of one event.
    #[must_use]
    pub fn of(item: T) -> Self {
        Self {
            bytes: item.bytes(),
            first: item,
            rest: Vec::new(),
            failures: 0,
            alone: false,
        }
    }

    /// The lane that the entry goes in.
    #[must_use]
    pub fn lane(&self) -> Option<&str> {
        self.first.lane()
    }

    /// Whether the entry keeps its place in its lane.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.first.is_ordered()
    }

    /// Whether the payload of one of its events was given up.
    #[must_use]
    pub fn is_unloaded(&self) -> bool {
        self.items().any(Item::is_unloaded)
    }

    /// What the entry takes of a request, in bytes, at most: a bundle's attributes are counted with
    /// each of its events.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the entry holds in memory, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.items().map(Item::held_bytes).sum()
    }

    /// How many events it holds.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an entry is never empty")]
    pub fn len(&self) -> usize {
        1 + self.rest.len()
    }

    /// Its events, in order.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Its events, in order. Whoever changes what one of them takes of a request calls [`Entry::weigh`].
    pub(super) fn items_mut(&mut self) -> impl Iterator<Item = &mut T> {
        std::iter::once(&mut self.first).chain(&mut self.rest)
    }

    /// Sums up anew what the entry takes of a request.
    pub(super) fn weigh(&mut self) {
        self.bytes = self.items().map(Item::bytes).sum();
    }

    /// Its events, in order.
    pub fn into_items(self) -> impl Iterator<Item = T> {
        std::iter::once(self.first).chain(self.rest)
    }

    /// Whether `next` may be added to this entry: both are new and go to one group and lane, and all
    /// of it stays within `limits`.
    #[must_use]
    pub fn may_take(&self, next: &Self, limits: BatchLimits) -> bool {
        let are_new = self.failures == 0 && next.failures == 0 && !self.alone && !next.alone;
        let may_be_bundled = self.items().all(Item::may_be_bundled) && next.items().all(Item::may_be_bundled);
        are_new
            && may_be_bundled
            && self.first.group() == next.first.group()
            && self.first.lane() == next.first.lane()
            && self.first.is_ordered() == next.first.is_ordered()
            && self.len() + next.len() <= limits.max_entries
            && self.bytes + next.bytes <= limits.max_bytes
    }

    /// Adds another entry's events behind its own.
    pub fn take(&mut self, next: Self) {
        self.bytes += next.bytes;
        self.rest.extend(next.into_items());
    }
}
