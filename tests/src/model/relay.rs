//! Lease, cursor and publish: two relays and one shard.
//!
//! A relay beats, is answered, sees who stands still, takes the shard or hands it over, looks at the log, sends, saves its
//! cursor. Between any two of these steps it may be killed, stopped, or cut off from its session; requests are applied
//! late or answered never; transactions commit below what was read; and time passes, or does not.
//!
//! The decisions are the relay's own: [`Lease::may_send_at`](outbox_relay::lease::term::Lease::may_send_at),
//! [`Watch::observe`](outbox_relay::lease::watch::Watch::observe), [`plan`](outbox_relay::lease::shares::plan) and the rule of
//! reading ([`Run`](outbox_relay::log::cursor::Run)). What is modelled is around them: the rows of `oncebox.relay` and
//! `oncebox.cursor`, the log, the target, the network.
//!
//! One statement is one step. A term is two ticks, a request may take one. Epochs and beats are compared for being the
//! same only, so the model remembers just that.
//!
//! # Reading order
//! [`World`], then the steps ([`Action`]).

mod decisions;
mod log;
mod steps;
mod world;

use outbox_relay::planted;

pub use self::{
    steps::Action,
    world::{Life, Relay, Request, World},
};
use super::Model;

/// What is varied, and how often things may go wrong.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// How many relays there are: one or two.
    pub relays: usize,
    /// How many events of one key are written, one after the other.
    pub keyed: u8,
    /// Whether they are there from the beginning.
    pub is_written: bool,
    /// Whether there is a transaction older than theirs, with an event of another key, which commits or is rolled
    /// back whenever it likes.
    pub has_old: bool,
    /// Relays are killed so often.
    pub crashes: u8,
    /// Relays are stopped so often, until they are woken.
    pub stops: u8,
    /// Sessions are lost so often.
    pub disconnects: u8,
    /// So many beats are answered with a delay, or never.
    pub slow: u8,
}

/// A fault that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The cursor moves over what is sent and not yet confirmed.
    CursorBeforeAnswer,
    /// A cursor is written whoever holds it now.
    EpochNotChecked,
    /// A relay goes on sending when its lease may be over. Planted in the relay's code.
    LeaseWithoutEnd,
    /// The term counts from the beat's answer, not from before its question.
    TermFromAnswer,
    /// Another relay is declared dead before its term is over. Planted in the relay's code.
    DeadTooEarly,
    /// Nobody is declared dead.
    NobodyDeclaredDead,
    /// What commits late, below the position that was read, is not looked for. Planted in the relay's code.
    AboveLastOnly,
    /// What a transaction has written is read before it has ended.
    OpenRead,
    /// An event is sent before its key's predecessor was confirmed.
    SuccessorNotHeldBack,
    /// A drain hands over without waiting for the answers that are out.
    DrainWithoutAnswers,
    /// What was given up without an answer is forgotten.
    UnansweredForgotten,
}

impl Bug {
    /// Where it is in the relay's own code.
    fn planted(self) -> Option<planted::Bug> {
        match self {
            Self::LeaseWithoutEnd => Some(planted::Bug::LeaseWithoutEnd),
            Self::DeadTooEarly => Some(planted::Bug::DeadTooEarly),
            Self::AboveLastOnly => Some(planted::Bug::AboveLastOnly),
            _ => None,
        }
    }
}

/// The model. A bug in the relay's own code is planted for the thread, for as long as this lives.
#[derive(Debug)]
pub struct Relays {
    setting: Setting,
    bug: Option<Bug>,
}

impl Relays {
    /// The relays as they are, or with a bug.
    #[must_use]
    pub fn new(setting: Setting, bug: Option<Bug>) -> Self {
        planted::plant(bug.and_then(Bug::planted));
        Self { setting, bug }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        planted::plant(None);
    }
}

/// No two relays publish a shard at once (P16).
pub const ONE_AT_ONCE: &str = "no two relays publish the shard at once";
/// P5.
pub const IN_ORDER: &str = "a key's events first arrive in their order";
/// P1, P7.
pub const NOTHING_PASSED: &str = "the cursor passes no event that was not confirmed";
/// P8.
pub const MOVED_BY_HOLDER: &str = "the cursor goes forward only, moved by its holder";
/// P2.
pub const NOTHING_ROLLED_BACK: &str = "nothing that was rolled back is published";

impl Model for Relays {
    type State = World;
    type Action = Action;

    fn first(&self) -> World {
        World::first(&self.setting)
    }

    fn steps(&self, state: &World) -> Vec<(Action, World)> {
        let mut actions = Vec::new();
        self.possible(state, &mut actions);
        let after = |action| {
            let mut next = state.clone();
            self.take(action, &mut next);
            next.tidy();
            (action, next)
        };
        actions.into_iter().map(after).collect()
    }

    fn broken(&self, state: &World) -> Option<&'static str> {
        state.broken.or_else(|| state.broken_promise())
    }

    fn is_fault(&self, action: Action) -> bool {
        matches!(action, Action::Crash(_) | Action::Stop(_) | Action::Disconnect(_))
    }

    fn is_settled(&self, state: &World) -> bool {
        state.log.is_over(self.setting.keyed) && state.log.committed().all(|event| state.is_done(event))
    }

    fn shows(&self, before: &World, action: Action, after: &World) -> Option<&'static str> {
        let copy = |event: u8| before.taken & 1 << event != 0;
        match action {
            Action::Claim(me) if before.relays[1 - me].held.is_some() => {
                Some("a shard is taken from who still thinks to hold it")
            }
            Action::Claim(me) if after.owner == Some(me) && before.confirmed != 0 => {
                Some("a shard is taken over halfway")
            }
            Action::HandOver(_) => Some("a shard is handed over"),
            Action::Save(me) if before.relays[me].held.as_ref().is_some_and(|held| !held.is_current) => {
                Some("a cursor is not written for who was superseded")
            }
            Action::Apply(request) if copy(before.requests[request].event) => Some("a copy arrives"),
            Action::ApplyLate(_) => Some("a request that was given up arrives first"),
            Action::Beat(me) if !before.relays[me].is_listed => Some("a relay hears that it was declared dead"),
            Action::CommitOld if before.cursor.base.seq > 0 => Some("an event commits below the position"),
            Action::RollBackOld => Some("a transaction is rolled back"),
            _ => None,
        }
    }
}
