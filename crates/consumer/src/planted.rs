//! Faults that are planted on purpose, to see that the tests' checkers find them.
//!
//! They exist with feature `planted-bugs` alone, which the system tests ask for and no deployed function has; and even there
//! none is planted unless a test says so, for its own thread.

/// A fault that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// The record is told by the attempt, not by the event.
    RecordOfAttempt,
    /// The record is committed by itself, and the effect afterwards.
    RecordBeforeEffect,
    /// A transaction without an answer counts as applied.
    UnknownIsDone,
    /// An event that had no part in the failure of its transaction counts as committed.
    CanceledIsDone,
    /// A record past its time counts until DynamoDB has deleted it.
    ExpiredCounts,
    /// A bundle is acknowledged with the first of its events that is done.
    BundleByFirst,
    /// What was not begun is not reported, and so acknowledged.
    NotStartedAcknowledged,
    /// What follows a failure of its group or key goes on.
    BlockedGoesOn,
    /// A dead letter that was not stored is acknowledged all the same.
    DeadLetterNotStored,
    /// An event is in turn when one is missing before it.
    GapOffByOne,
    /// An event that is too early is acknowledged.
    HeldAcknowledged,
    /// A watermark is written over what has moved it since.
    WatermarkOverwritten,
    /// A claim is taken over at once.
    ClaimTakenOver,
    /// A claim of another one counts as its effect.
    ClaimIsDone,
    /// A successor has the fence of the one before it.
    FenceNotRaised,
    /// A holder does not renew its claim.
    NoBeat,
    /// A holder that has lost its claim goes on.
    LostGoesOn,
    /// Whoever was superseded releases the claim of its successor.
    ReleasedWithoutFence,
    /// The effect is recorded before it happens.
    DoneBeforeEffect,
    /// An attempt whose end is unknown is recorded as one without an effect.
    UnknownIsFailed,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a fault in this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod switch {
    pub(crate) const fn is_planted(_: super::Bug) -> bool {
        false
    }
}

pub(crate) use switch::is_planted;
#[cfg(feature = "planted-bugs")]
pub use switch::plant;
