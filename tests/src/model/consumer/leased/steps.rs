//! What may happen next, and what it changes.

use super::{
    Bug, Call, Function, LEASE, Leased, Message, ONE_HOLDER, Policy, Previous, STILL, SUPERSEDED_WRITES_NOTHING, Stage,
    State, UNKNOWN_IS_TOLD, World,
};

/// A step of a function, or of what is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A tick passes for everybody.
    Tick,
    /// The message comes; the record is met.
    Deliver(usize),
    /// The claim's answer.
    Hear(usize),
    /// The claim is renewed.
    Beat(usize),
    /// The renewal's answer.
    HearBeat(usize),
    /// The handler sends its request; where that is declared, it asks first.
    Call(usize),
    /// The receiver has its effect.
    Arrive(usize),
    /// It says so.
    Answer(usize),
    /// It refuses, without an effect.
    Refuse(usize),
    /// The handler says that it does not know.
    LoseAnswer(usize),
    /// The handler is done: the record is completed.
    Complete(usize),
    /// The handler has failed: the claim is given back.
    Release(usize),
    /// The lease is over: the handler is dropped.
    Drop(usize),
    /// A watcher reads again.
    Look(usize),
    /// A watcher has seen it stand still for long enough.
    TakeOver(usize),
    /// A watcher has no time left.
    GoBack(usize),
    /// The queue is told.
    Acknowledge(usize),
    /// A request arrives that nobody waits for.
    ArriveLate,
    /// A request is lost that nobody waits for.
    Vanish,
    /// A function dies.
    Crash(usize),
    /// A function stands still.
    Freeze(usize),
    /// It goes on.
    Wake(usize),
}

impl Leased {
    pub(super) fn possible(self, world: &World, me: usize, actions: &mut Vec<Action>) {
        let function = world.functions[me];
        // What is on its way goes on.
        if let Stage::Working { call: Call::Out, .. } = function.stage {
            actions.push(Action::Arrive(me));
        }
        if function.is_frozen {
            actions.push(Action::Wake(me));
            return;
        }
        match function.stage {
            Stage::Idle => match world.message {
                Message::Queued => actions.push(Action::Deliver(me)),
                Message::Deleted if world.copies > 0 => actions.push(Action::Deliver(me)),
                Message::Deleted | Message::SetAside => {}
            },
            Stage::Claiming { .. } => actions.push(Action::Hear(me)),
            Stage::Working { age, beat, call, .. } => {
                actions.push(match beat {
                    None => Action::Beat(me),
                    Some(_) => Action::HearBeat(me),
                });
                match call {
                    Call::NotBegun if self.may_work(age) => actions.push(Action::Call(me)),
                    Call::Out if world.refusals > 0 => actions.push(Action::Refuse(me)),
                    Call::Applied => actions.push(Action::Answer(me)),
                    Call::Done => actions.push(Action::Complete(me)),
                    Call::Failed => actions.push(Action::Release(me)),
                    Call::NotBegun | Call::Out => {}
                }
                if world.lost > 0 && matches!(call, Call::Out | Call::Applied) {
                    actions.push(Action::LoseAnswer(me));
                }
                if !self.may_work(age) {
                    actions.push(Action::Drop(me));
                }
            }
            Stage::Watching { has_moved, age } => {
                let dead = if self.has(Bug::TakeoverTooEarly) { 1 } else { STILL };
                let is_still = !has_moved && world.record == Some(State::Claimed);
                if !is_still {
                    actions.push(Action::Look(me));
                } else if age >= dead && !self.has(Bug::NoTakeover) {
                    actions.push(Action::TakeOver(me));
                }
                actions.push(Action::GoBack(me));
            }
            Stage::Settled => actions.push(Action::Acknowledge(me)),
        }
        if function.stage != Stage::Idle {
            if world.crashes > 0 {
                actions.push(Action::Crash(me));
            }
            if world.stops > 0 {
                actions.push(Action::Freeze(me));
            }
        }
    }

    pub(super) fn take(self, action: Action, world: &mut World) {
        match action {
            Action::Tick => {
                for function in &mut world.functions {
                    older(&mut function.stage);
                }
            }
            Action::Deliver(me) => {
                if world.message == Message::Deleted {
                    world.copies -= 1;
                }
                self.meet(me, world);
            }
            Action::Hear(me) => {
                if let Stage::Claiming { previous, age } = world.functions[me].stage {
                    let age = if self.has(Bug::LeaseFromAnswer) { 0 } else { age };
                    if self.may_work(age) {
                        world.functions[me].stage = Stage::Working {
                            previous,
                            age,
                            beat: None,
                            call: Call::NotBegun,
                        };
                    } else {
                        // Who begins nothing says nothing about the one before.
                        self.write(me, given_back(previous), world, false);
                        end(me, world);
                    }
                }
            }
            Action::Beat(me) => {
                if world.holder == Some(me) || self.has(Bug::BeatUnfenced) {
                    if world.holder != Some(me) {
                        world.broken = Some(SUPERSEDED_WRITES_NOTHING);
                    }
                    moved(me, world);
                    if let Stage::Working { beat, .. } = &mut world.functions[me].stage {
                        *beat = Some(0);
                    }
                } else {
                    end(me, world);
                }
            }
            Action::HearBeat(me) => {
                if let Stage::Working { age, beat, .. } = &mut world.functions[me].stage {
                    let sent = beat.take().unwrap_or(LEASE);
                    *age = if self.has(Bug::LeaseFromAnswer) {
                        0
                    } else {
                        sent.min(*age)
                    };
                }
            }
            Action::Call(me) => self.call(me, world),
            Action::Arrive(me) => {
                self.arrive(world);
                answer(me, Call::Applied, world);
            }
            Action::Answer(me) => answer(me, Call::Done, world),
            Action::Refuse(me) => {
                world.refusals -= 1;
                if !was_in_doubt(world.functions[me].stage) {
                    world.is_in_doubt = false;
                }
                answer(me, Call::Failed, world);
            }
            Action::LoseAnswer(me) => {
                world.lost -= 1;
                self.unknown(me, world);
            }
            Action::Complete(me) => {
                if self.write(me, State::Done, world, self.has(Bug::CompletionUnfenced)) {
                    world.functions[me].stage = Stage::Settled;
                } else {
                    end(me, world);
                }
            }
            Action::Release(me) => {
                if let Stage::Working { previous, .. } = world.functions[me].stage {
                    let state = if self.has(Bug::DoubtForgotten) {
                        State::Released
                    } else {
                        given_back(previous)
                    };
                    self.write(me, state, world, false);
                }
                end(me, world);
            }
            Action::Drop(me) => self.unknown(me, world),
            Action::Look(me) => match world.record {
                Some(State::Claimed) => end(me, world),
                _ => self.meet(me, world),
            },
            Action::TakeOver(me) => match self.policy {
                Policy::Park if !self.has(Bug::UnknownTakenForFailed) => {
                    moved(me, world);
                    world.record = Some(State::Unknown);
                    world.holder = None;
                    set_aside(me, world);
                }
                _ if self.has(Bug::UnknownTakenForFailed) => claim(me, Previous::Failed, world),
                _ => claim(me, Previous::Unknown, world),
            },
            Action::GoBack(me) => end(me, world),
            Action::Acknowledge(me) => {
                world.message = Message::Deleted;
                end(me, world);
            }
            Action::ArriveLate => {
                world.on_the_way -= 1;
                self.arrive(world);
            }
            Action::Vanish => world.on_the_way -= 1,
            Action::Crash(me) => {
                world.crashes -= 1;
                end(me, world);
            }
            Action::Freeze(me) => {
                world.stops -= 1;
                world.functions[me].is_frozen = true;
            }
            Action::Wake(me) => world.functions[me].is_frozen = false,
        }
    }

    /// What a delivery does about the record that it finds (`meet`, in the consumer).
    fn meet(self, me: usize, world: &mut World) {
        match world.record {
            None => claim(me, Previous::None, world),
            Some(State::Claimed) => {
                world.functions[me].stage = Stage::Watching {
                    has_moved: false,
                    age: 0,
                }
            }
            Some(State::Released) => claim(me, Previous::Failed, world),
            Some(State::Unknown) if self.policy == Policy::Park => set_aside(me, world),
            Some(State::Unknown) => claim(me, Previous::Unknown, world),
            Some(State::Done) => world.functions[me].stage = Stage::Settled,
        }
    }

    fn call(self, me: usize, world: &mut World) {
        let Stage::Working { previous, .. } = world.functions[me].stage else {
            return;
        };
        let other = world.functions[1 - me];
        if let Stage::Working { age, .. } = other.stage
            && !other.is_frozen
            && self.may_work(age)
        {
            world.broken = Some(ONE_HOLDER);
        }
        let may_run = previous == Previous::Unknown && self.policy != Policy::Park;
        if world.is_in_doubt && !may_run {
            world.broken = Some(UNKNOWN_IS_TOLD);
        }
        if previous == Previous::Unknown && self.policy == Policy::Reconcile && !self.has(Bug::NotReconciled) {
            let is_out = matches!(other.stage, Stage::Working { call: Call::Out, .. });
            world.is_excused |= world.on_the_way > 0 || is_out;
            if world.effects > 0 {
                answer(me, Call::Done, world);
                return;
            }
            if let Stage::Working { previous, .. } = &mut world.functions[me].stage {
                // The receiver says that nothing has happened: the doubt is gone.
                *previous = Previous::None;
            }
        }
        world.is_in_doubt = true;
        answer(me, Call::Out, world);
    }

    fn arrive(self, world: &mut World) {
        let most = if self.policy == Policy::RetrySameKey { 1 } else { 2 };
        world.effects = most.min(world.effects + 1);
    }

    /// The handler was dropped, or says that it does not know how its request ended.
    fn unknown(self, me: usize, world: &mut World) {
        let is_written = self.write(me, State::Unknown, world, false);
        if is_written && self.policy == Policy::Park {
            set_aside(me, world);
        } else {
            end(me, world);
        }
    }

    /// Writes the record if the claim is still `me`'s.
    fn write(self, me: usize, state: State, world: &mut World, is_unfenced: bool) -> bool {
        let is_mine = world.holder == Some(me);
        if is_mine || is_unfenced {
            if !is_mine {
                world.broken = Some(SUPERSEDED_WRITES_NOTHING);
            }
            world.record = Some(state);
            moved(me, world);
        }
        is_mine || is_unfenced
    }
}

/// Writes a claim with the next fence.
fn claim(me: usize, previous: Previous, world: &mut World) {
    world.record = Some(State::Claimed);
    world.holder = Some(me);
    moved(me, world);
    world.functions[me].stage = Stage::Claiming { previous, age: 0 };
}

/// Who watches will find something else.
fn moved(me: usize, world: &mut World) {
    if let Stage::Watching { has_moved, age } = &mut world.functions[1 - me].stage {
        (*has_moved, *age) = (true, 0);
    }
}

fn answer(me: usize, now: Call, world: &mut World) {
    if let Stage::Working { call, .. } = &mut world.functions[me].stage {
        *call = now;
    }
}

fn was_in_doubt(stage: Stage) -> bool {
    matches!(
        stage,
        Stage::Working {
            previous: Previous::Unknown,
            ..
        }
    )
}

fn given_back(previous: Previous) -> State {
    match previous {
        Previous::Unknown => State::Unknown,
        Previous::None | Previous::Failed => State::Released,
    }
}

fn set_aside(me: usize, world: &mut World) {
    world.message = Message::SetAside;
    end(me, world);
}

/// The delivery has ended; its request is still on its way, and its claim has no holder.
fn end(me: usize, world: &mut World) {
    if let Stage::Working { call: Call::Out, .. } = world.functions[me].stage {
        world.on_the_way = 2.min(world.on_the_way + 1);
    }
    if world.holder == Some(me) {
        world.holder = None;
    }
    world.functions[me] = Function {
        stage: Stage::Idle,
        is_frozen: false,
    };
}

fn older(stage: &mut Stage) {
    match stage {
        Stage::Claiming { age, .. } => *age = LEASE.min(*age + 1),
        Stage::Working { age, beat, .. } => {
            *age = LEASE.min(*age + 1);
            if let Some(beat) = beat {
                *beat = LEASE.min(*beat + 1);
            }
        }
        Stage::Watching { has_moved: false, age } => *age = STILL.min(*age + 1),
        Stage::Watching { .. } | Stage::Idle | Stage::Settled => {}
    }
}
