//! Faults that are planted on purpose, to see that the tests' checkers find them.
//!
//! They exist with feature `planted-bugs` alone, which the system tests ask for and no release has; and even there none is
//! planted unless a test says so, for its own thread.

/// A fault that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// The cursor moves over what is sent and not yet confirmed.
    CursorBeforeAnswer,
    /// One entry that a target names as taken stands for all of its request.
    OneOfAllIsEnough,
    /// An entry that the answer does not name counts as taken.
    SilenceIsSuccess,
    /// A relay goes on sending when its lease may be over.
    LeaseWithoutEnd,
    /// A request that had to wait for its turn does not ask for the lease again.
    LeaseNotAskedAgain,
    /// The term counts from the beat's answer, not from before its question.
    TermFromAnswer,
    /// Another relay is declared dead before its term is over.
    DeadTooEarly,
    /// What commits late, below the position that was read, is not looked for.
    AboveLastOnly,
    /// A failed entry leaves its lane to those behind it.
    RetryOutOfOrder,
    /// A refused event is parked without those behind it.
    ParkedWithoutFollowers,
    /// Events of a key that has parked ones are sent as if it had none.
    ParkedKeysForgotten,
    /// A drain hands over without waiting for the answers that are out.
    DrainWithoutAnswers,
    /// What was given up without an answer is forgotten, and shards are handed over at once.
    UnansweredForgotten,
    /// A sink that sends at most once sends again what may have arrived.
    SentAgain,
    /// What gave up its payload for want of room is taken for deleted.
    PayloadNotLoaded,
    /// A parked event that was sent again is taken off whatever its answer was.
    RetryTakenForDone,
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
