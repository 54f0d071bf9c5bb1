//! Small models of what must never go wrong, with every state visited.
//!
//! The simulation draws schedules; here nothing is drawn. A [`Model`] says what may happen next, [`explore`] follows
//! all of it, breadth first, and so the first counterexample is a shortest one. Three things are looked for:
//!
//! - a promise that is broken in some state ([`Model::broken`]);
//! - a state from which everything can no longer be brought to its end without further faults ([`Model::is_settled`]).
//!   That it *can* be is what is checked; that it will be needs somebody to be scheduled at all;
//! - what a model must have shown to mean anything ([`Model::shows`]): a takeover, a copy, a write that is refused.
//!
//! States are compared whole, not by a hash of 64 bits, and times are ages with an end, so that a model has finitely many
//! states though its clock never stops. The counts are the same on every machine.
//!
//! The crate stateright does this, too, but brings a web server that cannot be switched off.
//!
//! # Reading order
//! [`relay`], [`consumer`].

pub mod consumer;
pub mod relay;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Debug},
    hash::Hash,
    rc::Rc,
};

/// What may happen, and what may not.
pub trait Model {
    /// Everything that is remembered.
    type State: Clone + Eq + Hash + Debug;
    /// A step.
    type Action: Copy + Debug;

    /// Where it begins.
    fn first(&self) -> Self::State;
    /// The steps that are possible in `state`, each with the state that it leads to.
    fn steps(&self, state: &Self::State) -> Vec<(Self::Action, Self::State)>;
    /// The promise that is broken in `state`.
    fn broken(&self, state: &Self::State) -> Option<&'static str>;
    /// Whether `action` is a fault; without faults, what is begun has to come to its end.
    fn is_fault(&self, action: Self::Action) -> bool;
    /// Whether everything has come to its end in `state`.
    fn is_settled(&self, state: &Self::State) -> bool;
    /// What this step shows.
    fn shows(&self, before: &Self::State, action: Self::Action, after: &Self::State) -> Option<&'static str>;
}

/// The promise that everything comes to its end.
pub const COMES_TO_ITS_END: &str = "without further faults everything can come to its end";

/// What was found.
#[derive(Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps from them.
    pub transitions: usize,
    /// Steps of the longest of the shortest ways to a state.
    pub depth: u32,
    /// How many steps showed what.
    pub shown: BTreeMap<&'static str, usize>,
    /// The first promise that is broken, and a shortest way there.
    pub counterexample: Option<Counterexample>,
}

/// A broken promise.
pub struct Counterexample {
    /// The promise.
    pub promise: &'static str,
    /// The steps to a state that breaks it.
    pub steps: Vec<String>,
    /// That state.
    pub state: String,
}

impl Debug for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps.join("\n  ");
        write!(f, "broken: {}\n  {steps}\n{}", self.promise, self.state)
    }
}

struct Visited<M: Model> {
    state: Rc<M::State>,
    /// Whence it was first reached; the first state has nothing.
    from: Option<(usize, M::Action)>,
    depth: u32,
}

/// Visits every state, or ends at the first that breaks a promise.
pub fn explore<M: Model>(model: &M) -> Explored {
    let first = Rc::new(model.first());
    let mut known: HashMap<Rc<M::State>, usize> = HashMap::from([(Rc::clone(&first), 0)]);
    let mut visited: Vec<Visited<M>> = vec![Visited {
        state: first,
        from: None,
        depth: 0,
    }];
    let mut explored = Explored {
        states: 1,
        transitions: 0,
        depth: 0,
        shown: BTreeMap::new(),
        counterexample: None,
    };
    // Without faults, from and to.
    let mut calm: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while let Some(Visited { state, depth, .. }) = visited.get(at) {
        let (state, depth) = (Rc::clone(state), *depth);
        explored.depth = depth;
        if let Some(promise) = model.broken(&state) {
            explored.counterexample = Some(counterexample(&visited, at, promise));
            return explored;
        }
        for (action, next) in model.steps(&state) {
            explored.transitions += 1;
            if let Some(what) = model.shows(&state, action, &next) {
                *explored.shown.entry(what).or_default() += 1;
            }
            let to = known.get(&next).copied().unwrap_or_else(|| {
                let next = Rc::new(next);
                known.insert(Rc::clone(&next), visited.len());
                visited.push(Visited {
                    state: next,
                    from: Some((at, action)),
                    depth: depth + 1,
                });
                visited.len() - 1
            });
            if !model.is_fault(action) && to != at {
                calm.push((at, to));
            }
        }
        explored.states = visited.len();
        at += 1;
    }
    explored.counterexample =
        without_an_end(model, &visited, &calm).map(|at| counterexample(&visited, at, COMES_TO_ITS_END));
    explored
}

/// The first state from which no settled one can be reached without faults.
fn without_an_end<M: Model>(model: &M, visited: &[Visited<M>], calm: &[(usize, usize)]) -> Option<usize> {
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); visited.len()];
    for (from, to) in calm {
        before[*to].push(*from);
    }
    let mut ends: Vec<bool> = visited.iter().map(|one| model.is_settled(&one.state)).collect();
    let mut open: Vec<usize> = (0..visited.len()).filter(|at| ends[*at]).collect();
    while let Some(at) = open.pop() {
        for from in &before[at] {
            if !std::mem::replace(&mut ends[*from], true) {
                open.push(*from);
            }
        }
    }
    ends.iter().position(|ends| !ends)
}

fn counterexample<M: Model>(visited: &[Visited<M>], at: usize, promise: &'static str) -> Counterexample {
    let way = std::iter::successors(visited[at].from, |(from, _)| visited[*from].from);
    let mut steps: Vec<String> = way.map(|(_, action)| format!("{action:?}")).collect();
    steps.reverse();
    Counterexample {
        promise,
        steps,
        state: format!("{:#?}", visited[at].state),
    }
}
