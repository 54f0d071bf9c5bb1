//! The consumer beside Powertools for AWS Lambda: the same messages, the same database, the same Lambda.
//!
//! # Reading order
//! [`run`](run()) (the scenarios), [`mod@measure`] (a run of one function), [`load`] (the messages),
//! [`runtime_api`] (Lambda), [`proxy`] and [`capacity`] (what is counted), [`emulator`] (the database).

mod capacity;
mod emulator;
mod function;
mod load;
mod measure;
mod proxy;
mod runtime_api;
mod tables;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use self::{
    function::{Parts, Who},
    load::Load,
    measure::{init, measure},
    tables::{Init, Run},
};
use crate::{machine, report::Report};

/// The most of `peer_secs` in a quick run.
const QUICK_PEER_SECS: u64 = 3;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The scenarios to run; all when none is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Fewer messages: says whether everything works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// Longest that a run of Powertools may take, in seconds; its rate is that of the messages until then. 0: no limit.
    #[arg(long, default_value_t = 15)]
    peer_secs: u64,
    /// What `bench/peers/install.py` prints.
    #[arg(long)]
    parts: String,
    /// Where to write the results; nowhere when left out.
    #[arg(long)]
    results: Option<PathBuf>,
}

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// From the start of the process until it asks for its first event.
    Init,
    /// 2,000 messages, each another event.
    Unique,
    /// 20,000 of them.
    Many,
    /// 2,000 messages, 10 % of them copies.
    Copies10,
    /// 2,000 messages, 50 % of them copies.
    Copies50,
}

impl Scenario {
    const ALL: [Self; 5] = [Self::Init, Self::Unique, Self::Many, Self::Copies10, Self::Copies50];

    /// Messages and copies in percent; `None` where there are none.
    fn load(self) -> Option<(usize, usize)> {
        match self {
            Self::Init => None,
            Self::Unique => Some((2_000, 0)),
            Self::Many => Some((20_000, 0)),
            Self::Copies10 => Some((2_000, 10)),
            Self::Copies50 => Some((2_000, 50)),
        }
    }
}

/// Messages in an invocation.
const BATCHES: [usize; 2] = [10, 100];
/// How often a process is started.
const STARTS: usize = 7;

/// Runs the scenarios, prints and writes the report.
///
/// # Errors
/// A function fails, or its effects are not exactly one for each event; what was found out before is printed
/// all the same. A missed goal is no error: machines differ.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let parts: Parts = serde_json::from_str(&arguments.parts).context("--parts is not what install.py prints")?;
    let mut facts = machine::facts();
    facts.extend(parts.versions.iter().cloned());
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::ALL.to_vec(),
        named => named.to_vec(),
    };
    let (mut starts, mut runs) = (Vec::new(), Vec::new());
    let mut outcome = Ok(());
    for scenario in scenarios {
        let done = match scenario.load() {
            None => start_often(&arguments, &parts, &mut starts).await,
            Some(load) => run_load(&arguments, &parts, load, &mut runs).await,
        };
        if let Err(error) = done {
            outcome = Err(error).with_context(|| format!("scenario {scenario:?}"));
            break;
        }
    }
    let mut report = Report {
        facts,
        sections: Vec::new(),
    };
    report
        .sections
        .extend((!starts.is_empty()).then(|| tables::starts(&starts)));
    report
        .sections
        .extend((!runs.is_empty()).then(|| tables::runs(&runs, arguments.peer_limit())));
    report.print();
    outcome?;
    if let Some(path) = &arguments.results {
        report.write_consumers(path, "make bench-consumer")?;
    }
    Ok(())
}

impl Arguments {
    /// How long a run of Powertools may take.
    fn peer_limit(&self) -> Option<Duration> {
        let secs = match self.quick {
            true => self.peer_secs.min(QUICK_PEER_SECS),
            false => self.peer_secs,
        };
        (secs > 0).then(|| Duration::from_secs(secs))
    }
}

async fn start_often(arguments: &Arguments, parts: &Parts, starts: &mut Vec<Init>) -> Result<()> {
    let rounds = if arguments.quick { 3 } else { STARTS };
    let mut took: Vec<Init> = Who::STARTED.map(|who| Init { who, took: Vec::new() }).into();
    // The first start of each fills the page cache, and is not counted.
    for round in 0..=rounds {
        for start in &mut took {
            crate::say(&format!("==> init, {}", start.who));
            if let Some(took) = init(start.who, parts).await?.filter(|_| round > 0) {
                start.took.push(took);
            }
        }
    }
    starts.extend(took.into_iter().filter(|start| !start.took.is_empty()));
    Ok(())
}

async fn run_load(arguments: &Arguments, parts: &Parts, load: (usize, usize), runs: &mut Vec<Run>) -> Result<()> {
    let (messages, copies_percent) = load;
    let messages = if arguments.quick { messages / 10 } else { messages };
    for batch in BATCHES {
        let load = Load {
            messages,
            copies_percent,
            batch,
        };
        for who in Who::WORKING {
            crate::say(&format!(
                "==> {messages} messages, {copies_percent} % copies, batches of {batch}: {who}"
            ));
            let limit = arguments.peer_limit().filter(|_| who != Who::Oncebox);
            match measure(who, load, parts, limit).await? {
                Some(measured) => runs.push(Run { who, load, measured }),
                None => crate::say("    skipped: it cannot be had on this machine"),
            }
        }
    }
    Ok(())
}
