//! Benchmarks: the relay beside the bare AWS SDK, `oncebox.enqueue` beside a plain `INSERT`, the consumer beside
//! Powertools for AWS Lambda (`bench consumers`, by `make bench-consumer`).
//!
//! The runner (`bench run`, by `make bench`) starts everything else: an endpoint in place of AWS
//! (`bench endpoint`), the sender that stands for the bare SDK (`bench bare`), relays, pgbench.
//!
//! # Reading order
//! [`run`] (the list of scenarios), [`scenario`] (one file each), [`measure`] (a run of the relay or
//! of the bare SDK), [`backlog`] (the events), [`endpoint`] (the target), [`report`] (the result).

mod backlog;
mod bare;
mod client;
mod consumers;
mod database;
mod endpoint;
mod machine;
mod measure;
mod process;
mod relay;
mod report;
mod run;
mod scenario;

use std::{io::Write as _, net::SocketAddr};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Benchmarks of the relay and the outbox")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run scenarios on the Postgres at DATABASE_URL; prints a table and writes it down.
    Run(run::Arguments),
    /// Serve what SQS, SNS and EventBridge take, until killed; the address is the first line.
    Endpoint {
        /// Address to listen on; port 0 for a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        #[command(flatten)]
        settings: endpoint::Settings,
    },
    /// Run a function of ours beside those of others, over an emulator of DynamoDB.
    Consumers(consumers::Arguments),
    /// Send a backlog with nothing but the AWS SDK; prints what it took as JSON.
    Bare(bare::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => runtime()?.block_on(run::run(arguments)),
        Command::Consumers(arguments) => runtime()?.block_on(consumers::run(arguments)),
        Command::Endpoint { listen, settings } => endpoint::serve(listen, settings),
        Command::Bare(arguments) => runtime()?.block_on(bare::send(arguments)),
    }
}

/// The runtime that the relay has.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Prints a line.
fn say(line: &str) {
    // A reader that has gone away must not end a benchmark midway.
    let _ = writeln!(std::io::stdout(), "{line}");
}
