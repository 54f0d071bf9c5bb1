//! Dedupe record and effect in one transaction; who owns the record settles what nobody has heard.
//!
//! A transaction may be applied when nobody waits for it any more, even when its function is dead. An attempt keeps its owner's
//! name over all transactions that it sends.

use crate::model::Model;

/// A fault that somebody might make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The record is written, and then the effect.
    TwoSteps,
    /// The record is put whether or not there is one.
    ConditionNotChecked,
    /// A commit without an answer counts as done.
    DoubtTakenForDone,
    /// Where the record is another's, it is tried again.
    DuplicateTriedAgain,
}

/// The model.
#[derive(Debug, Clone, Copy)]
pub struct Transactional {
    /// Functions die so often.
    pub crashes: u8,
    /// Answers (of a commit, or to the queue) are lost so often.
    pub lost: u8,
    /// The message comes so often again when it was deleted.
    pub copies: u8,
    /// What is done wrong.
    pub bug: Option<Bug>,
}

/// C1.
pub const ONE_EFFECT: &str = "an event has one effect";
/// C2.
pub const BOTH_OR_NEITHER: &str = "no record without its effect, no effect without its record";
/// A message is deleted only when its effect is there.
pub const EFFECT_FIRST: &str = "a message is acknowledged when its effect has happened";

/// Whose a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    /// The attempt that this function is at.
    Of(usize),
    /// One that has ended.
    Another,
}

/// How far a function is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Idle,
    /// The handler has described its writes.
    Described,
    /// The transaction is on its way.
    Sent,
    /// Only with [`Bug::TwoSteps`].
    HalfApplied,
    /// It was applied, or not; the answer is on its way.
    Answered {
        is_committed: bool,
    },
    /// Nobody knows.
    InDoubt,
    /// The message may go.
    Settled,
}

/// One delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Function {
    stage: Stage,
    /// An earlier transaction of this attempt is still on its way.
    is_late: bool,
}

/// The record, its effect, the queue and two functions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    record: Option<Owner>,
    /// Two stands for more.
    effects: u8,
    functions: [Function; 2],
    /// Transactions of attempts that have ended, still on their way. Two stands for more.
    orphans: u8,
    is_deleted: bool,
    crashes: u8,
    lost: u8,
    copies: u8,
}

/// A step of a function, or of what is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Action {
    Deliver(usize),
    Send(usize),
    Apply(usize),
    ApplyEffect(usize),
    ApplyLate(usize),
    ApplyOrphan,
    Hear(usize),
    StopWaiting(usize),
    Read(usize),
    GoBack(usize),
    Acknowledge(usize),
    LoseAnswer(usize),
    LoseAcknowledgement(usize),
    Crash(usize),
}

impl Transactional {
    fn has(self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn possible(world: &World, me: usize, actions: &mut Vec<Action>) {
        let function = world.functions[me];
        match function.stage {
            Stage::Idle if !world.is_deleted || world.copies > 0 => actions.push(Action::Deliver(me)),
            Stage::Idle => {}
            Stage::Described => actions.extend([Action::Send(me), Action::GoBack(me)]),
            Stage::Sent => actions.extend([Action::Apply(me), Action::StopWaiting(me)]),
            Stage::HalfApplied => actions.push(Action::ApplyEffect(me)),
            Stage::Answered { .. } => {
                actions.push(Action::Hear(me));
                if world.lost > 0 {
                    actions.push(Action::LoseAnswer(me));
                }
            }
            Stage::InDoubt => actions.extend([Action::Read(me), Action::GoBack(me)]),
            Stage::Settled => {
                actions.push(Action::Acknowledge(me));
                if world.lost > 0 {
                    actions.push(Action::LoseAcknowledgement(me));
                }
            }
        }
        if function.is_late {
            actions.push(Action::ApplyLate(me));
        }
        if world.crashes > 0 && function.stage != Stage::Idle {
            actions.push(Action::Crash(me));
        }
    }

    fn take(self, action: Action, world: &mut World) {
        match action {
            Action::Deliver(me) => {
                if world.is_deleted {
                    world.copies -= 1;
                }
                world.functions[me].stage = Stage::Described;
            }
            Action::Send(me) => world.functions[me].stage = Stage::Sent,
            Action::Apply(me) => {
                let is_committed = self.commit(world, Owner::Of(me));
                world.functions[me].stage = if is_committed && self.has(Bug::TwoSteps) {
                    Stage::HalfApplied
                } else {
                    Stage::Answered { is_committed }
                };
            }
            Action::ApplyEffect(me) => {
                world.effects = 2.min(world.effects + 1);
                world.functions[me].stage = Stage::Answered { is_committed: true };
            }
            Action::ApplyLate(me) => {
                world.functions[me].is_late = false;
                self.commit(world, Owner::Of(me));
            }
            Action::ApplyOrphan => {
                world.orphans -= 1;
                self.commit(world, Owner::Another);
            }
            Action::Hear(me) => {
                let is_committed = world.functions[me].stage == Stage::Answered { is_committed: true };
                world.functions[me].stage = if is_committed || !self.has(Bug::DuplicateTriedAgain) {
                    Stage::Settled
                } else {
                    Stage::Described
                };
            }
            Action::StopWaiting(me) => {
                world.functions[me] = Function {
                    stage: self.doubt(),
                    is_late: true,
                }
            }
            Action::LoseAnswer(me) => {
                world.lost -= 1;
                world.functions[me].stage = self.doubt();
            }
            Action::Read(me) => {
                // Where there is no record there is none *yet*: under the same name it is tried again.
                let is_tried_again = self.has(Bug::DuplicateTriedAgain) && world.record == Some(Owner::Another);
                world.functions[me].stage = match world.record {
                    Some(_) if !is_tried_again => Stage::Settled,
                    _ => Stage::Described,
                };
            }
            Action::GoBack(me) => end(world, me),
            Action::Acknowledge(me) => {
                world.is_deleted = true;
                end(world, me);
            }
            Action::LoseAcknowledgement(me) => {
                world.lost -= 1;
                end(world, me);
            }
            Action::Crash(me) => {
                world.crashes -= 1;
                end(world, me);
            }
        }
    }

    fn doubt(self) -> Stage {
        if self.has(Bug::DoubtTakenForDone) {
            Stage::Settled
        } else {
            Stage::InDoubt
        }
    }

    /// Record and effect, if there is no record.
    fn commit(self, world: &mut World, owner: Owner) -> bool {
        let is_free = world.record.is_none() || self.has(Bug::ConditionNotChecked);
        if is_free {
            world.record = Some(owner);
            if !self.has(Bug::TwoSteps) {
                world.effects = 2.min(world.effects + 1);
            }
        }
        is_free
    }
}

/// An attempt has ended; what it has sent is still on its way.
fn end(world: &mut World, me: usize) {
    let function = world.functions[me];
    let sent = u8::from(function.is_late) + u8::from(function.stage == Stage::Sent);
    world.orphans = 2.min(world.orphans + sent);
    if world.record == Some(Owner::Of(me)) {
        world.record = Some(Owner::Another);
    }
    world.functions[me] = Function {
        stage: Stage::Idle,
        is_late: false,
    };
}

impl Model for Transactional {
    type State = World;
    type Action = Action;

    fn first(&self) -> World {
        World {
            record: None,
            effects: 0,
            functions: [Function {
                stage: Stage::Idle,
                is_late: false,
            }; 2],
            orphans: 0,
            is_deleted: false,
            crashes: self.crashes,
            lost: self.lost,
            copies: self.copies,
        }
    }

    fn steps(&self, state: &World) -> Vec<(Action, World)> {
        let mut actions = Vec::new();
        for me in 0..2 {
            Self::possible(state, me, &mut actions);
        }
        if state.orphans > 0 {
            actions.push(Action::ApplyOrphan);
        }
        let after = |action| {
            let mut next = state.clone();
            self.take(action, &mut next);
            (action, next)
        };
        actions.into_iter().map(after).collect()
    }

    fn broken(&self, state: &World) -> Option<&'static str> {
        if state.effects > 1 {
            Some(ONE_EFFECT)
        } else if state.is_deleted && state.effects == 0 {
            Some(EFFECT_FIRST)
        } else if state.record.is_some() != (state.effects > 0) {
            Some(BOTH_OR_NEITHER)
        } else {
            None
        }
    }

    fn is_fault(&self, action: Action) -> bool {
        matches!(
            action,
            Action::Crash(_) | Action::LoseAnswer(_) | Action::LoseAcknowledgement(_)
        )
    }

    fn is_settled(&self, state: &World) -> bool {
        let is_idle = |function: &Function| function.stage == Stage::Idle;
        state.is_deleted && state.effects == 1 && state.functions.iter().all(is_idle)
    }

    fn shows(&self, before: &World, action: Action, _: &World) -> Option<&'static str> {
        match action {
            Action::Deliver(_) if before.is_deleted => Some("a copy comes when the message was deleted"),
            Action::Deliver(me) if before.functions[1 - me].stage != Stage::Idle => {
                Some("two functions have the event")
            }
            Action::Apply(_) if before.record.is_some() => Some("a duplicate is refused"),
            Action::Read(me) if before.record == Some(Owner::Of(me)) => Some("a commit is found to be one's own"),
            Action::Read(_) if before.record.is_some() => Some("a commit is found to be another's"),
            Action::Read(_) => Some("a commit is not found, and may still come"),
            Action::ApplyLate(_) if before.record.is_none() => Some("what was given up is applied"),
            Action::ApplyOrphan if before.record.is_none() => Some("the transaction of a dead function is applied"),
            _ => None,
        }
    }
}
