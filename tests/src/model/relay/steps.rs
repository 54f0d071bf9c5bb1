//! What may happen next, and what it changes.

use outbox_relay::{
    lease::shares::plan,
    log::{cursor::Run, members::ShardRow, store::Place},
};

use super::{
    Bug, MOVED_BY_HOLDER, ONE_AT_ONCE, Relays,
    decisions::{NAMES, STILL, TERM, is_dead, may_send},
    log::Old,
    world::{Asked, GHOST, Held, Life, Relay, Request, Wants, World},
};

/// A step. Relays are 0 and 1, requests by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A tick passes for everybody.
    Tick,
    /// The old transaction commits.
    CommitOld,
    /// The old transaction is rolled back.
    RollBackOld,
    /// The key's next event commits.
    Commit,
    /// A relay starts, and joins the list.
    Start(usize),
    /// It beats, is answered at once, looks who stands still, and plans.
    Beat(usize),
    /// Its beat reaches the database; the answer takes its time.
    Ask(usize),
    /// It has the answer, looks who stands still, and plans.
    Answered(usize),
    /// It claims the shard.
    Claim(usize),
    /// It has drained, saves and releases the shard.
    HandOver(usize),
    /// It looks at the log's end, and reads what is new.
    Look(usize),
    /// It sends an event.
    Send(usize, u8),
    /// It saves its cursor.
    Save(usize),
    /// The target takes a request.
    Apply(usize),
    /// A relay has a request's answer.
    Confirmed(usize),
    /// A request's time is over; the relay will send its event again.
    GiveUp(usize),
    /// A request that was long given up arrives.
    ApplyLate(u8),
    /// A relay goes on.
    Wake(usize),
    /// A relay is killed.
    Crash(usize),
    /// A relay is stopped.
    Stop(usize),
    /// A relay's session with the database is lost, and what it held in memory with it.
    Disconnect(usize),
}

impl Relays {
    pub(super) fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        match world.log.old {
            Old::Open => actions.extend([Action::CommitOld, Action::RollBackOld]),
            Old::Committed | Old::RolledBack => {}
        }
        if world.log.keyed < self.setting.keyed {
            actions.push(Action::Commit);
        }
        actions.push(Action::Tick);
        for (at, request) in world.requests.iter().enumerate() {
            if !request.is_applied {
                actions.push(Action::Apply(at));
            }
            let waits = request.by.is_some_and(|by| world.relays[by].life == Life::Up);
            if waits && request.is_applied {
                actions.push(Action::Confirmed(at));
            }
            if waits && !request.is_recent {
                actions.push(Action::GiveUp(at));
            }
        }
        actions.extend(
            (0..3)
                .filter(|event| world.late & 1 << event != 0)
                .map(Action::ApplyLate),
        );
        for me in 0..self.setting.relays {
            let relay = &world.relays[me];
            match relay.life {
                // Of rows that killed relays leave behind the model has room for one each, and one more.
                Life::Down if !relay.is_listed || !world.has_ghost => actions.push(Action::Start(me)),
                Life::Down => {}
                Life::Stopped => actions.push(Action::Wake(me)),
                Life::Up => self.possible_for(me, world, actions),
            }
        }
    }

    fn possible_for(&self, me: usize, world: &World, actions: &mut Vec<Action>) {
        let relay = &world.relays[me];
        match relay.asked {
            None => actions.push(Action::Beat(me)),
            Some(_) => actions.push(Action::Answered(me)),
        }
        if relay.asked.is_none() && world.slow > 0 {
            actions.push(Action::Ask(me));
        }
        let waits_for = |request: &Request| request.by == Some(me);
        let is_drained = self.has(Bug::DrainWithoutAnswers) || !world.requests.iter().any(waits_for);
        let has_waited = self.has(Bug::UnansweredForgotten) || relay.given_up.is_none();
        match relay.wants {
            Wants::Take if relay.held.is_none() && has_waited => actions.push(Action::Claim(me)),
            Wants::Release if is_drained && has_waited => actions.push(Action::HandOver(me)),
            Wants::Nothing | Wants::Take | Wants::Release => {}
        }
        if let Some(held) = &relay.held {
            self.possible_with(me, held, world, actions);
        }
        if world.crashes > 0 {
            actions.push(Action::Crash(me));
        }
        if world.stops > 0 {
            actions.push(Action::Stop(me));
        }
        if world.disconnects > 0 && relay.held.is_some() {
            actions.push(Action::Disconnect(me));
        }
    }

    fn possible_with(&self, me: usize, held: &Held, world: &World, actions: &mut Vec<Action>) {
        let relay = &world.relays[me];
        if relay.wants == Wants::Nothing {
            match held.place.run() {
                None => {
                    let (base, end) = (&held.place.base, world.log.horizon());
                    if (&base.snapshot, base.next_xid, base.seq) != (&end.snapshot, end.next_xid, end.seq_before) {
                        actions.push(Action::Look(me));
                    }
                }
                Some((run, position)) if may_send(relay.lease) => {
                    let rows = world.log.rows(&run, position, self.has(Bug::OpenRead));
                    let is_settled = |event: u8| held.settled & 1 << event != 0;
                    let is_out = |event: u8| {
                        let mut requests = world.requests.iter();
                        requests.any(|request| request.by == Some(me) && request.event == event)
                    };
                    let waits = |event: u8| event == 2 && rows.contains(&1) && !is_settled(1);
                    for event in rows
                        .iter()
                        .copied()
                        .filter(|event| !is_settled(*event) && !is_out(*event))
                    {
                        if !waits(event) || self.has(Bug::SuccessorNotHeldBack) {
                            actions.push(Action::Send(me, event));
                        }
                    }
                }
                Some(_) => {}
            }
        }
        // Who was superseded does not know it.
        if !held.is_current || self.to_save(me, held, world) != world.cursor {
            actions.push(Action::Save(me));
        }
    }

    /// The place that a relay would save.
    fn to_save(&self, me: usize, held: &Held, world: &World) -> Place {
        let mut held = held.clone();
        if self.has(Bug::CursorBeforeAnswer) {
            let sent = world.requests.iter().filter(|request| request.by == Some(me));
            held.settled |= sent.fold(0, |mask, request| mask | 1 << request.event);
            held.advance(&world.log, false);
        }
        held.place
    }

    pub(super) fn take(&self, action: Action, world: &mut World) {
        match action {
            Action::Tick => tick(world),
            Action::CommitOld => world.log.old = Old::Committed,
            Action::RollBackOld => world.log.old = Old::RolledBack,
            Action::Commit => world.log.keyed += 1,
            Action::Start(me) => start(me, world),
            Action::Beat(me) => {
                ask(me, world);
                self.answered(me, world);
            }
            Action::Ask(me) => {
                world.slow -= 1;
                ask(me, world);
            }
            Action::Answered(me) => self.answered(me, world),
            Action::Claim(me) => claim(me, world),
            Action::HandOver(me) => {
                if world.relays[me].held.is_some() {
                    self.save(me, world);
                }
                world.drop_held(me);
                if world.owner == Some(me) {
                    world.owner = None;
                }
                world.relays[me].wants = Wants::Nothing;
            }
            Action::Look(me) => {
                let (log, reads_open) = (world.log, self.has(Bug::OpenRead));
                if let Some(held) = &mut world.relays[me].held {
                    let (base, target) = (held.place.base.clone(), log.horizon());
                    let start = Run { base, target }.start();
                    held.place.under_way = Some((log.horizon(), start));
                    held.advance(&log, reads_open);
                }
            }
            Action::Send(me, event) => {
                if world
                    .requests
                    .iter()
                    .any(|other| other.is_recent && other.by != Some(me))
                {
                    world.broken = Some(ONE_AT_ONCE);
                }
                world.requests.push(Request {
                    event,
                    by: Some(me),
                    is_recent: true,
                    is_applied: false,
                });
            }
            Action::Save(me) => self.save(me, world),
            Action::Apply(request) => {
                world.requests[request].is_applied = true;
                world.taken |= 1 << world.requests[request].event;
            }
            Action::Confirmed(request) => {
                let request = world.requests.remove(request);
                world.confirmed |= 1 << request.event;
                let held = request.by.and_then(|by| world.relays[by].held.as_mut());
                if let Some(held) = held {
                    held.settled |= 1 << request.event;
                    held.advance(&world.log, self.has(Bug::OpenRead));
                }
            }
            Action::GiveUp(request) => {
                if let Some(by) = world.requests[request].by.take() {
                    world.relays[by].given_up = Some(0);
                }
            }
            Action::ApplyLate(event) => world.taken |= 1 << event,
            Action::Wake(me) => world.relays[me].life = Life::Up,
            Action::Stop(me) => {
                world.stops -= 1;
                world.relays[me].life = Life::Stopped;
            }
            Action::Crash(me) => {
                world.crashes -= 1;
                world.give_up(me);
                let is_listed = world.relays[me].is_listed;
                world.relays[me] = Relay {
                    is_listed,
                    ..Relay::absent()
                };
            }
            Action::Disconnect(me) => {
                world.disconnects -= 1;
                world.drop_held(me);
                world.relays[me].wants = Wants::Nothing;
            }
        }
    }

    /// A beat's answer: the lease, who is dead, and what that means for the shard.
    fn answered(&self, me: usize, world: &mut World) {
        let Some(asked) = world.relays[me].asked.take() else {
            return;
        };
        if !asked.is_found {
            // Declared dead. What was held is lost, and it joins anew; what was given up is not forgotten.
            world.drop_held(me);
            let given_up = world.relays[me].given_up;
            world.relays[me] = Relay {
                life: Life::Up,
                is_listed: true,
                given_up,
                ..Relay::absent()
            };
            return;
        }
        let from = if self.has(Bug::TermFromAnswer) { 0 } else { asked.age };
        let lease = Some(world.relays[me].lease.map_or(from, |age| age.min(from)));
        world.relays[me].lease = lease.filter(|_| may_send(lease));

        let others: Vec<usize> = world.rows().filter(|row| *row != me).collect();
        for row in others {
            let age = *world.relays[me].seen[row].get_or_insert(0);
            if is_dead(age) && !self.has(Bug::NobodyDeclaredDead) {
                world.unlist(row);
            }
        }
        let members: Vec<String> = world.rows().map(|row| NAMES[row].to_owned()).collect();
        let row = ShardRow {
            shard: 0,
            epoch: 1,
            owner: world.owner.map(|row| NAMES[row].to_owned()),
        };
        let held = world.relays[me]
            .held
            .as_ref()
            .map(|held| (0, i64::from(held.is_current)));
        let plan = plan(NAMES[me], &members, &[row], held.as_slice());
        if !plan.lost.is_empty() {
            world.drop_held(me);
        }
        world.relays[me].wants = match (plan.take.is_empty(), plan.release.is_empty()) {
            (false, _) => Wants::Take,
            (true, false) => Wants::Release,
            (true, true) => Wants::Nothing,
        };
    }

    /// Writes the cursor under the relay's epoch. Who was superseded hears it and drops what it holds.
    fn save(&self, me: usize, world: &mut World) {
        let Some(held) = &world.relays[me].held else {
            return;
        };
        if !held.is_current && !self.has(Bug::EpochNotChecked) {
            world.drop_held(me);
            return;
        }
        let before = world.passed();
        world.cursor = self.to_save(me, held, world);
        if before & !world.passed() != 0 {
            world.broken = Some(MOVED_BY_HOLDER);
        }
    }
}

/// The row's beat is raised, if the row is there.
fn ask(me: usize, world: &mut World) {
    let is_found = world.relays[me].is_listed;
    world.relays[me].asked = Some(Asked { age: 0, is_found });
    world.relays[1 - me].seen[me] = None;
}

fn tick(world: &mut World) {
    for relay in &mut world.relays {
        // A lease that is over is as good as none, if the relay thinks so, too.
        let lease = relay.lease.map(|age| TERM.min(age + 1));
        relay.lease = lease.filter(|_| may_send(lease));
        relay.given_up = relay.given_up.map(|age| age + 1).filter(|age| *age < TERM);
        // An answer that does not come is not waited for longer than a term.
        if let Some(mut asked) = relay.asked.take() {
            asked.age += 1;
            relay.asked = (asked.age <= TERM).then_some(asked);
        }
        for age in relay.seen.iter_mut().flatten() {
            *age = STILL.min(*age + 1);
        }
    }
    for request in &mut world.requests {
        request.is_recent = false;
    }
}

fn start(me: usize, world: &mut World) {
    if world.relays[me].is_listed {
        // Its row stays until somebody declares it dead; who watches it goes on watching.
        world.has_ghost = true;
        if world.owner == Some(me) {
            world.owner = Some(GHOST);
        }
        let other = &mut world.relays[1 - me].seen;
        other[GHOST] = other[me].take();
    }
    world.relays[me] = Relay {
        life: Life::Up,
        is_listed: true,
        ..Relay::absent()
    };
}

/// Takes the shard under a new epoch, if the relay is on the list and the owner is not.
fn claim(me: usize, world: &mut World) {
    world.relays[me].wants = Wants::Nothing;
    if !world.relays[me].is_listed || world.owner.is_some_and(|owner| owner != me) {
        return;
    }
    let other = &mut world.relays[1 - me];
    if let Some(held) = &mut other.held {
        held.is_current = false;
    }
    if other.wants == Wants::Take {
        other.wants = Wants::Nothing;
    }
    world.owner = Some(me);
    world.relays[me].held = Some(Held {
        is_current: true,
        place: world.cursor.clone(),
        settled: 0,
    });
}
