//! The scenarios, a file each.

mod backlogs;
mod latency;
mod producers;
mod relays;
mod throughput;
mod wal;

use std::fmt;

use anyhow::Result;

use crate::{measure::Bench, report::Section};

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// The relay beside the bare AWS SDK: events per second and CPU.
    Throughput,
    /// Backlogs of 10,000 to 1,000,000 events: the rate stays, memory too.
    Backlogs,
    /// From COMMIT to the target, at 500 events a second.
    Latency,
    /// What the relay writes to Postgres.
    Wal,
    /// `oncebox.enqueue` beside a plain INSERT.
    Producers,
    /// Several relays over one log.
    Relays,
}

impl Scenario {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 6] = [
        Self::Throughput,
        Self::Wal,
        Self::Relays,
        Self::Backlogs,
        Self::Latency,
        Self::Producers,
    ];

    pub(crate) async fn run(self, bench: &mut Bench) -> Result<Section> {
        match self {
            Self::Throughput => throughput::run(bench).await,
            Self::Backlogs => backlogs::run(bench).await,
            Self::Latency => latency::run(bench).await,
            Self::Wal => wal::run(bench).await,
            Self::Producers => producers::run(bench).await,
            Self::Relays => relays::run(bench).await,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throughput => "throughput",
            Self::Backlogs => "backlogs",
            Self::Latency => "latency",
            Self::Wal => "wal",
            Self::Producers => "producers",
            Self::Relays => "relays",
        })
    }
}
