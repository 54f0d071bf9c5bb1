//! The relay's command line.

use std::{io::Write as _, process::ExitCode};

use outbox_relay::command::arguments;

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
