//! The relay's command line.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use outbox_relay::{
    command::{self, Failure, FailureKind},
    telemetry::logging,
};
use secrecy::SecretString;

/// Publishes the events of a Postgres outbox to SQS, SNS and EventBridge.
///
/// Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration (a missing target
/// included), 3 the database cannot be reached or lacks the schema.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish until told to stop (SIGTERM or Ctrl-C drains).
    Run {
        /// The configuration; `env:NAME` for a variable that holds the whole text.
        #[arg(long, short, default_value = "relay.toml", env = "OUTBOX_RELAY_CONFIG")]
        config: PathBuf,
    },
    /// Ask a running relay whether it is alive: exit code 0 if so, 1 if not. For container health checks.
    Health {
        /// The relay's configuration, which says where it listens.
        #[arg(long, short, default_value = "relay.toml", env = "OUTBOX_RELAY_CONFIG")]
        config: PathBuf,
        /// Ask whether every sink works, too (/readyz instead of /healthz).
        #[arg(long)]
        ready: bool,
    },
    /// Show, retry, hold, skip or edit events that a sink has set aside.
    Parked(command::parked::Arguments),
    /// Show or move how far sinks have published the log.
    Cursor(command::cursor::Arguments),
    Replay(command::replay::Arguments),
    Check(command::check::Arguments),
    /// Tell in one screen who publishes what and how far behind, and how large the log is.
    Status(command::status::Arguments),
    /// Bring schema `oncebox` in the database up to date; safe to run at any time.
    Migrate {
        /// Print the SQL instead of running it.
        #[arg(long)]
        print: bool,
        /// Give this role what the relay needs, and no more; with --print, print that too.
        #[arg(long, value_name = "ROLE")]
        grant_to: Option<String>,
        /// Where the database is: postgres://user:password@host:port/database
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: Option<SecretString>,
        #[command(flatten)]
        tls: command::connection::TlsArguments,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Run { config } => match logging::start() {
            Ok(()) => command::run::run(&config).await,
            Err(error) => Err(Failure::new(FailureKind::Usage, error)),
        },
        Command::Health { config, ready } => command::health::ask(&config, ready).await,
        Command::Parked(arguments) => command::parked::run(arguments).await,
        Command::Cursor(arguments) => command::cursor::run(arguments).await,
        Command::Replay(arguments) => command::replay::run(arguments).await,
        Command::Check(arguments) => command::check::run(arguments).await,
        Command::Status(arguments) => command::status::run(arguments).await,
        Command::Migrate {
            print: true, grant_to, ..
        } => command::migrate::print(grant_to.as_deref()),
        Command::Migrate {
            database_url,
            tls,
            grant_to,
            print: false,
        } => command::migrate::apply(database_url, &tls.into(), grant_to.as_deref()).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "outbox-relay: {failure}");
            failure.exit_code()
        }
    }
}
