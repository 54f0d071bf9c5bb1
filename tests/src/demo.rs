//! The demonstration: many invoices, each exactly once, whatever is done to them on the way.
//!
//! # Reading order
//! [`run`] (the whole story), `requests` (the client), `mischief` (what is done to them), `tally`
//! (how far it is), [`Report`] (what came of it), `whereabouts` (where the missing ones are).

mod deliveries;
mod mischief;
mod report;
mod requests;
mod screen;
mod stage;
mod tally;
mod whereabouts;

use std::time::{Duration, Instant};

use anyhow::Result;

pub use report::Report;

use crate::Stack;
use mischief::{Mischief, Plan};
use screen::Screen;
use stage::Stage;
use tally::Tally;

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longest for a run to take beside its invoices.
const PATIENCE: Duration = Duration::from_secs(90);
/// Slowest that invoices may be done, on a busy machine.
const SLOWEST_PER_SEC: u32 = 10;

/// What can be chosen.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many invoices are requested.
    pub invoices: usize,
    /// Leave everything there, and tell how to look at it.
    pub keep: bool,
}

/// Runs the demonstration on the stack of this environment; progress goes to stderr.
///
/// # Errors
/// A part of it could not be run. What it is about (an invoice lost or doubled) is in the report.
///
/// # Cancel safety
/// A cancelled run cleans up as an ended one does.
pub async fn run(options: &Options) -> Result<Report> {
    let mut screen = Screen::new();
    screen.say(&format!(
        "\nOncebox: {} invoices, each exactly once.\n\n\
         \x20 client ─► Postgres ─► relay ─► SQS FIFO ─► create-invoice ─► Postgres ─► relay ─┬► SQS ─► take-payment ─► DynamoDB\n\
         \x20            (outbox)                        (Lambda)            (outbox)          └► SQS ─► audit-tap ───► DynamoDB\n",
        options.invoices
    ));
    let stack = Stack::from_env().await?;
    let mut stage = Stage::set(&stack, &mut screen).await?;
    if options.keep {
        stage.keep();
    }
    let started = Instant::now();
    let requests = requests::start(&stage.database, options.invoices);
    let mut plan = Plan::of(options.invoices);
    let mut tally = Tally::new(&stack, &stage);
    let deadline = PATIENCE + Duration::from_secs(options.invoices as u64) / SLOWEST_PER_SEC;
    let mut in_time = true;
    loop {
        tally.look(&stage, &requests).await?;
        screen.status(&tally.line(options.invoices, started.elapsed()));
        match plan.next(&tally) {
            Some(Mischief::KillRelay) => stage.kill_relay(&mut screen, &tally).await?,
            Some(Mischief::SendCopies(count)) => stage.send_copies(count, &mut screen).await?,
            None if plan.is_done() && tally.is_complete(options.invoices, &stage) => break,
            None => {}
        }
        if started.elapsed() > deadline {
            in_time = false;
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let requests = requests.end().await?;
    stage.stop_relay().await?;
    let report = Report::of(&stage, &requests, &tally, started.elapsed(), in_time).await?;
    if !in_time {
        screen.say(&whereabouts::describe(&stage, &requests, deadline).await?);
    }
    if options.keep {
        screen.say(&stage.how_to_look(&stack));
    } else {
        screen.status("cleaning up");
        drop(stage);
    }
    screen.end();
    Ok(report)
}
