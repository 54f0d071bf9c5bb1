//! Which faults happen, when and for how long: drawn from a seed.

use std::{fmt, time::Duration};

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// Whose way to Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The relays'.
    Relays,
    /// The functions'.
    Functions,
    /// The writers'.
    Writers,
}

/// Whose requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The relays' to SQS.
    Sqs,
    /// The relays' to SNS.
    Sns,
    /// The relays' to `EventBridge`.
    EventBridge,
    /// The functions', to DynamoDB and SQS.
    Functions,
}

/// What happens to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Applied, and the connection is cut.
    LoseReply,
    /// Asked too often.
    Throttle,
    /// 500 and 503.
    ServerError,
    /// A 200 with entries that `Failed`.
    FailEntries,
    /// A 200 that does not mention some entries.
    ForgetEntries,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// SIGKILL; another one joins.
    KillRelay,
    /// SIGSTOP for longer than the lease, then SIGCONT.
    FreezeRelay,
    /// One joins, another one gets SIGTERM.
    ReplaceRelay,
    /// SIGKILL.
    KillFunction,
    /// SIGSTOP for longer than its deadline and the visibility timeout, then SIGCONT.
    FreezeFunction,
    /// Stopped, and started after a while.
    RestartPostgres,
    /// Killed, and started after a while.
    CrashPostgres,
    /// One server process is killed: the server recovers by itself.
    KillBackend,
    /// Its writes fail, it does not come up, then there is room again.
    FillDisk,
    /// All connections of a side are cut.
    Cut(Side),
    /// A side hears nothing for a while, then its connections are cut: what it asked for is done all the same.
    LoseAnswers(Side),
    /// Requests to AWS go wrong.
    Aws(Target, Trouble),
}

/// A deed with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// The time since the last one.
    pub(super) wait: Duration,
    pub(super) deed: Deed,
    pub(super) length: Duration,
    /// Whom it hits, by remainder.
    pub(super) whom: usize,
}

/// Deeds without end: rounds in which each happens once, in an order of its own.
pub(super) struct Plan {
    random: StdRng,
    round: Vec<Deed>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            round: Vec::new(),
        }
    }
}

impl Iterator for Plan {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        if self.round.is_empty() {
            self.round = Deed::all();
            self.round.shuffle(&mut self.random);
        }
        let deed = self.round.pop()?;
        Some(Planned {
            wait: Duration::from_millis(self.random.random_range(300..3_000)),
            length: Duration::from_millis(self.random.random_range(deed.millis())),
            whom: usize::try_from(self.random.next_u32()).unwrap_or_default(),
            deed,
        })
    }
}

impl Deed {
    /// Each deed once.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let sides = [Side::Relays, Side::Functions, Side::Writers];
        let whole = [Trouble::LoseReply, Trouble::Throttle, Trouble::ServerError];
        let entries = [Trouble::FailEntries, Trouble::ForgetEntries];
        let targets = [Target::Sqs, Target::Sns, Target::EventBridge];
        let mut all = vec![
            Self::KillRelay,
            Self::FreezeRelay,
            Self::ReplaceRelay,
            Self::KillFunction,
            Self::FreezeFunction,
            Self::RestartPostgres,
            Self::CrashPostgres,
            Self::KillBackend,
            Self::FillDisk,
        ];
        all.extend(sides.map(Self::Cut));
        all.extend(sides.map(Self::LoseAnswers));
        for target in targets {
            all.extend(whole.map(|trouble| Self::Aws(target, trouble)));
            all.extend(entries.map(|trouble| Self::Aws(target, trouble)));
        }
        all.extend(whole.map(|trouble| Self::Aws(Target::Functions, trouble)));
        all
    }

    /// Whether there is anything for it to hit is known only afterwards; this is how long it lasts.
    fn millis(self) -> std::ops::Range<u64> {
        match self {
            Self::FreezeRelay => 6_000..9_000,
            Self::FreezeFunction => 7_000..11_000,
            Self::RestartPostgres | Self::CrashPostgres => 100..2_000,
            Self::FillDisk => 3_000..6_000,
            Self::LoseAnswers(_) => 100..1_500,
            Self::Aws(..) => 500..3_000,
            Self::KillRelay | Self::ReplaceRelay | Self::KillFunction | Self::KillBackend | Self::Cut(_) => 1..2,
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillRelay => f.write_str("relay: SIGKILL"),
            Self::FreezeRelay => f.write_str("relay: SIGSTOP past its lease"),
            Self::ReplaceRelay => f.write_str("relay: one joins, one gets SIGTERM"),
            Self::KillFunction => f.write_str("function: SIGKILL"),
            Self::FreezeFunction => f.write_str("function: SIGSTOP past its deadline"),
            Self::RestartPostgres => f.write_str("postgres: restart"),
            Self::CrashPostgres => f.write_str("postgres: crash"),
            Self::KillBackend => f.write_str("postgres: a server process killed"),
            Self::FillDisk => f.write_str("postgres: disk full"),
            Self::Cut(side) => write!(f, "{side}: connections to Postgres cut"),
            Self::LoseAnswers(side) => write!(f, "{side}: answers of Postgres lost"),
            Self::Aws(target, trouble) => write!(f, "{target}: {trouble}"),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relays => "relays",
            Self::Functions => "functions",
            Self::Writers => "writers",
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqs => "SQS",
            Self::Sns => "SNS",
            Self::EventBridge => "EventBridge",
            Self::Functions => "functions' AWS",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LoseReply => "applied, reply lost",
            Self::Throttle => "throttled",
            Self::ServerError => "500 and 503",
            Self::FailEntries => "entries failed",
            Self::ForgetEntries => "entries not mentioned",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Deed, Plan};

    #[test]
    fn the_same_seed_plans_the_same_faults_and_another_one_others() {
        let plan = |seed| Plan::new(seed).take(100).collect::<Vec<_>>();
        assert_eq!(plan(1), plan(1));
        assert_ne!(plan(1), plan(2));
    }

    #[test]
    fn each_round_has_each_fault_once() {
        let all = Deed::all();
        let names: HashSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), all.len(), "no two have one name");
        let mut plan = Plan::new(7);
        for _ in 0..3 {
            let round: HashSet<Deed> = plan.by_ref().take(all.len()).map(|planned| planned.deed).collect();
            assert_eq!(round.len(), all.len());
        }
    }
}
