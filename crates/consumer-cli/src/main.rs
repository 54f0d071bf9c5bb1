//! Looks at and mends what consumers keep in DynamoDB, and their watermarks in Postgres: how far keys have come, dedupe
//! records and what handlers have emitted.
//!
//! Exit codes and names of JSON fields are documented in docs/OPERATIONS.md and do not change within a major
//! version. No command shows a payload.

mod arguments;
mod failure;
mod gap;
mod outbox;
mod output;
mod record;
mod tables;
mod watermarks;

use std::{io::Write as _, process::ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    match arguments::run(arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "oncebox-consumer: {failure}");
            failure.exit_code()
        }
    }
}
