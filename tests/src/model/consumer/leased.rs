//! A claim with a fence and beats, an effect outside, a completion under the claim, and a policy for what nobody knows.
//!
//! A lease is two ticks; who watches waits for three, its margin rounded up. The handler makes one request. It reaches the receiver, or does
//! later, or never; it is answered, refused, or its answer is lost.

mod steps;

pub use self::steps::Action;
use crate::model::Model;

/// What is done about an attempt whose end nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The handler runs again; the receiver recognises the key.
    RetrySameKey,
    /// The receiver is asked first.
    Reconcile,
    /// A person decides.
    Park,
}

/// A fault that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A completion is written whoever holds the claim.
    CompletionUnfenced,
    /// A beat is written whoever holds the claim.
    BeatUnfenced,
    /// A claim is taken over before its lease is over.
    TakeoverTooEarly,
    /// The handler goes on when its lease is over.
    LeaseWithoutEnd,
    /// The lease counts from the answer, not from before the question.
    LeaseFromAnswer,
    /// A dead holder's attempt counts as one that failed.
    UnknownTakenForFailed,
    /// An attempt that fails settles the doubt about the one before it.
    DoubtForgotten,
    /// The receiver is not asked.
    NotReconciled,
    /// Nobody takes over.
    NoTakeover,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Leased {
    /// The policy.
    pub policy: Policy,
    /// Functions die so often.
    pub crashes: u8,
    /// Functions stand still so often, until they go on.
    pub stops: u8,
    /// A handler says so often that its answer was lost.
    pub lost: u8,
    /// The receiver refuses so often.
    pub refusals: u8,
    /// The message comes so often again when it was deleted.
    pub copies: u8,
    /// What is done wrong.
    pub bug: Option<Bug>,
}

/// C15.
pub const ONE_HOLDER: &str = "two handlers do not work on an event at once while nobody is frozen";
/// C15.
pub const SUPERSEDED_WRITES_NOTHING: &str = "who was superseded can do nothing to the record";
/// C16.
pub const UNKNOWN_IS_TOLD: &str = "who follows an attempt whose end is unknown is told so, or does not run";
/// C16.
pub const AS_DECLARED: &str = "a policy that sets aside or asks first has one effect, where it can be asked";
/// A message is deleted only when its effect is there.
pub const EFFECT_FIRST: &str = "an event is recorded as done when its effect has happened";

/// The record's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Claimed,
    Released,
    Unknown,
    Done,
}

/// How the attempt before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Previous {
    None,
    Failed,
    Unknown,
}

/// The handler's one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    NotBegun,
    Out,
    Applied,
    Done,
    Failed,
}

/// How far a function is. Times are ages in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    /// Its claim is written; the answer is on its way.
    Claiming {
        previous: Previous,
        age: u8,
    },
    /// It works, under a lease that is so old. A beat is written and not yet answered.
    Working {
        previous: Previous,
        age: u8,
        beat: Option<u8>,
        call: Call,
    },
    /// Another one works; it has seen a beat, and perhaps there is another one by now.
    Watching {
        has_moved: bool,
        age: u8,
    },
    /// The message may go.
    Settled,
}

/// One delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Function {
    stage: Stage,
    is_frozen: bool,
}

/// What becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Message {
    Queued,
    Deleted,
    SetAside,
}

/// The record, the receiver, the queue and two functions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    record: Option<State>,
    /// Whose fence is the record's; nobody's once that delivery has ended.
    holder: Option<usize>,
    functions: [Function; 2],
    /// Requests that nobody waits for, still on their way. Two stands for more.
    on_the_way: u8,
    /// Two stands for more.
    effects: u8,
    /// Whether there was an attempt of which nobody can say that it had no effect.
    is_in_doubt: bool,
    /// Whether the receiver was asked, and answered, while something was on its way.
    is_excused: bool,
    message: Message,
    crashes: u8,
    stops: u8,
    lost: u8,
    refusals: u8,
    copies: u8,
    broken: Option<&'static str>,
}

/// A lease in ticks.
const LEASE: u8 = 2;
/// From here on a claim that stands still is dead.
const STILL: u8 = 3;

impl Leased {
    fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Whether a handler may go on under a lease of this age.
    fn may_work(self, age: u8) -> bool {
        age < LEASE || self.has(Bug::LeaseWithoutEnd)
    }
}

impl Model for Leased {
    type State = World;
    type Action = Action;

    fn first(&self) -> World {
        World {
            record: None,
            holder: None,
            functions: [Function {
                stage: Stage::Idle,
                is_frozen: false,
            }; 2],
            on_the_way: 0,
            effects: 0,
            is_in_doubt: false,
            is_excused: false,
            message: Message::Queued,
            crashes: self.crashes,
            stops: self.stops,
            lost: self.lost,
            refusals: self.refusals,
            copies: self.copies,
            broken: None,
        }
    }

    fn steps(&self, state: &World) -> Vec<(Action, World)> {
        let mut actions = vec![Action::Tick];
        for me in 0..2 {
            self.possible(state, me, &mut actions);
        }
        if state.on_the_way > 0 {
            actions.extend([Action::ArriveLate, Action::Vanish]);
        }
        let after = |action| {
            let mut next = state.clone();
            self.take(action, &mut next);
            (action, next)
        };
        actions.into_iter().map(after).collect()
    }

    fn broken(&self, state: &World) -> Option<&'static str> {
        let is_one = match self.policy {
            Policy::RetrySameKey => true,
            Policy::Reconcile => state.is_excused || state.effects <= 1,
            Policy::Park => state.effects <= 1,
        };
        if state.broken.is_some() {
            state.broken
        } else if !is_one {
            Some(AS_DECLARED)
        } else if state.record == Some(State::Done) && state.effects == 0 {
            Some(EFFECT_FIRST)
        } else {
            None
        }
    }

    fn is_fault(&self, action: Action) -> bool {
        matches!(
            action,
            Action::Crash(_) | Action::Freeze(_) | Action::LoseAnswer(_) | Action::Refuse(_)
        )
    }

    fn is_settled(&self, state: &World) -> bool {
        let is_idle = |function: &Function| function.stage == Stage::Idle && !function.is_frozen;
        let is_done = match state.message {
            Message::Queued => false,
            Message::Deleted => state.record == Some(State::Done),
            Message::SetAside => self.policy == Policy::Park,
        };
        is_done && state.functions.iter().all(is_idle)
    }

    fn shows(&self, before: &World, action: Action, after: &World) -> Option<&'static str> {
        match action {
            Action::Deliver(_) if before.message == Message::Deleted => {
                Some("a copy comes when the message was deleted")
            }
            Action::Deliver(me) if matches!(after.functions[me].stage, Stage::Watching { .. }) => {
                Some("two functions have the event")
            }
            Action::TakeOver(me) if before.functions[1 - me].is_frozen => Some("a frozen holder is superseded"),
            Action::TakeOver(_) => Some("a holder is superseded"),
            Action::Beat(me) if before.holder != Some(me) => Some("a beat of who was superseded is refused"),
            Action::Complete(me) if before.holder != Some(me) => Some("a completion of who was superseded is refused"),
            Action::ArriveLate => Some("a request arrives that nobody waits for"),
            Action::Call(_) if before.is_in_doubt => Some("the handler runs again"),
            Action::Hear(me) if matches!(after.functions[me].stage, Stage::Idle) => {
                Some("a claim is confirmed too late")
            }
            _ => None,
        }
    }
}
