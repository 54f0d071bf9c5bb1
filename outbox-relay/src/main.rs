//! The relay's command line.

use std::{io::Write as _, process::ExitCode};

use mimalloc::MiMalloc;
use outbox_relay::command::arguments;

/// A fifth of the relay's time went into the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match arguments::run(arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "outbox-relay: {failure}");
            failure.exit_code()
        }
    }
}
