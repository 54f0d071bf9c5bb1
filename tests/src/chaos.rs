//! Chaos on real parts: everything that can break is broken, and the ledger tells what came of it.
//!
//! Writers commit random transactions to a Postgres server of the run's own, relays publish to SQS, SNS and
//! EventBridge (LocalStack), event sources hand messages to functions as Lambda does, and the functions record
//! their effects. Meanwhile faults from a seeded plan happen to all of them, one after the other, each bounded.
//! Then everything is healed, what is on its way arrives, and [`check`] decides.
//!
//! # Reading order
//! [`Settings`], [`run`], [`Deed`] (what happens), `stage` (the parts), `writers`, `source` (what Lambda does),
//! `mischief` (how deeds are done), `gather` (how the ledger is filled), [`Report`]. [`Plant`] is for checking the
//! checker.

mod books;
mod clock;
mod drain;
mod evidence;
mod gather;
mod mischief;
mod plan;
mod plant;
mod processes;
mod recovery;
mod relays;
mod report;
mod source;
mod stage;
mod transaction;
mod writers;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    ledger::{Summary, Violation, check},
    until,
};
use books::Books;
use mischief::Mischief;
use plan::Plan;
use relays::Relays;
use source::Sources;
use stage::Stage;
use writers::Writers;

pub use clock::now_ns;
pub use plan::{Deed, Side, Target, Trouble};
pub use plant::Plant;
pub use recovery::Recoveries;
pub use report::Report;

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long writers write and faults happen.
    pub length: Duration,
    /// What transactions and faults are drawn from. The same seed draws the same ones; when they meet is up to the
    /// machine.
    pub seed: u64,
    /// Events per second that the writers aim at.
    pub rate: f64,
    /// Relay processes.
    pub relays: usize,
    /// Whether faults happen.
    pub faults: bool,
    /// Faults that are planted from outside, for the checker to find.
    pub plants: BTreeSet<Plant>,
    /// How long it may take until everything has arrived when all is healed.
    pub drain: Duration,
}

impl Settings {
    /// Three relays, all faults.
    #[must_use]
    pub fn new(length: Duration, seed: u64) -> Self {
        Self {
            length,
            seed,
            rate: 12.0,
            relays: 3,
            faults: true,
            plants: BTreeSet::new(),
            drain: Duration::from_secs(300),
        }
    }

    /// A seed that nobody has chosen.
    #[must_use]
    pub fn any_seed() -> u64 {
        rand::rng().next_u64()
    }
}

/// Runs, and ends by itself. `tell` gets a line for each step.
///
/// # Errors
/// The run itself could not be carried out, which says nothing about Oncebox.
pub async fn run(settings: &Settings, tell: impl Fn(&str)) -> Result<Report> {
    let mut random = StdRng::seed_from_u64(settings.seed);
    let stage = Stage::set().await?;
    let books = Books::of(&stage);
    let mut relays = Relays::start(&stage, settings.relays).await?;
    let sources = Sources::start(&stage, &books, &settings.plants, random.next_u64());
    let writers = Writers::start(&stage, &books, settings.rate, random.next_u64());
    tell("all parts run");

    let end = Instant::now() + settings.length;
    let mut mischief = Mischief::new(stage, &books, &sources);
    if settings.faults {
        mischief
            .until(end, Plan::new(random.next_u64()), &mut relays, &tell)
            .await?;
    } else {
        tokio::time::sleep_until(end).await;
    }
    until("everything to be planted", async || {
        ensure!(
            !sources.wait_to_plant(),
            "some faults wait for messages that they can be done to"
        );
        Ok(())
    })
    .await?;
    writers.stop().await;
    tell("the writers have ended; healing");
    mischief.heal().await?;
    let stage = mischief.into_stage();
    relays.tend(&stage)?;
    let mut found = drain::drain(&stage, &mut relays, &books, settings.drain, &tell).await?;
    relays.tend(&stage)?;
    let function_logs = sources.stop().await;

    let violations = check(&found.history, &found.effects, &found.set_aside);
    let kinds: Vec<&'static str> = violations.iter().map(Violation::kind).collect();
    found.logs.extend(function_logs);
    found.logs.extend(relays.stop().await?);
    let recoveries = Recoveries::of(&books.faults(), &found);
    let is_well = violations.is_empty() && found.not_drained.is_none();
    let folder = if is_well {
        None
    } else {
        Some(evidence::keep(settings.seed, &found, &violations, &books)?)
    };
    Ok(Report {
        seed: settings.seed,
        secs: settings.length.as_secs(),
        summary: Summary::of(&found.history, &found.effects, &found.set_aside),
        effects: found.effects.all().len(),
        unknown: found.unknown,
        faults: books.counts(),
        relay_failures: relays.failures().to_vec(),
        recoveries,
        not_drained: found.not_drained,
        violations: violations.iter().map(ToString::to_string).collect(),
        kinds,
        folder,
    })
}
