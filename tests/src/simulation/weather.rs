//! How bad the network and the services are: probabilities of faults, per call.

use rand::{RngExt as _, rngs::StdRng};

/// Probabilities of faults, per call, and how slow things are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// A statement is not done, and its connection is cut.
    pub statement_cut: f64,
    /// A statement is done, and its connection is cut instead of an answer.
    pub statement_unanswered: f64,
    /// A statement's answer never comes, and the connection stays.
    pub statement_hangs: f64,
    /// A request is throttled.
    pub throttled: f64,
    /// A request fails at the target and is not applied.
    pub failed: f64,
    /// A request is applied, and its answer is lost.
    pub unanswered: f64,
    /// A request never arrives.
    pub lost: f64,
    /// A request takes so long that its sender gives it up, and arrives after that.
    pub late: f64,
    /// Some entries of a request fail.
    pub partial: f64,
    /// Some entries of a request are not applied, and not mentioned in the answer.
    pub forgotten: f64,
    /// Slowest one-way trip of a statement or a request, microseconds.
    pub trip: u64,
}

impl Weather {
    /// Some weather, from fine to foul.
    #[must_use]
    pub fn random(random: &mut StdRng) -> Self {
        let foul: f64 = if random.random_bool(0.2) { 0.0 } else { random.random() };
        let mut chance = |most: f64| {
            if random.random_bool(0.5) {
                0.0
            } else {
                most * foul * random.random::<f64>()
            }
        };
        Self {
            statement_cut: chance(0.05),
            statement_unanswered: chance(0.05),
            statement_hangs: chance(0.002),
            throttled: chance(0.3),
            failed: chance(0.3),
            unanswered: chance(0.2),
            lost: chance(0.1),
            late: chance(0.1),
            partial: chance(0.5),
            forgotten: chance(0.3),
            trip: [300, 2_000, 20_000][random.random_range(0..3)],
        }
    }

    /// The same distance, and no faults.
    #[must_use]
    pub fn calm(self) -> Self {
        Self {
            trip: self.trip,
            ..Self::default()
        }
    }
}
