//! The command line: which commands there are, and what they say of themselves.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use oncebox_command::with_exit_codes;
use secrecy::SecretString;

use super::{
    Failure, FailureKind, check, connection::TlsArguments, cursor, health, migrate, parked, replay, run, status,
};
use crate::telemetry::logging;

/// What the exit codes of a command mean that says nothing of its own.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 it could not be done, and nothing was changed; 2 wrong usage or configuration; \
                          3 the database cannot be reached or lacks the schema.";

const FIRST_STEPS: &str = "\
First steps:
  outbox-relay migrate --database-url postgres://…   make or update schema oncebox
  outbox-relay check --config relay.toml             what would go wrong, with the fix for each fault
  outbox-relay run --config relay.toml               publish until told to stop
  outbox-relay status --config relay.toml            who publishes what, and how far behind

Commands print tables for people and one JSON document for scripts (--json). Those that change something ask on
a terminal and need --yes elsewhere; --dry-run tells what they would do.

Exit codes: 0 done; 1 failed while running, or refused; 2 wrong usage or configuration (a target that is not there
included); 3 the database cannot be reached or lacks the schema. A command's own help says more.";

/// Publishes the events of a Postgres outbox to SQS, SNS and EventBridge.
#[derive(Debug, Parser)]
#[command(name = "outbox-relay", version, after_help = FIRST_STEPS)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish until told to stop: SIGTERM or Ctrl-C drains.
    ///
    /// Logs JSON lines on standard output (RUST_LOG sets the level) and, where http.listen is set, serves
    /// /healthz, /readyz and /metrics. Run two or more with the same configuration: they share the work. A lost
    /// database or target is waited for. Told to stop, it takes no new events and waits for answers for
    /// drain_timeout_secs; told a second time, it ends at once.
    ///
    /// Exit codes: 0 told to stop, and drained; 1 the cursors belong to another database, or it was told to
    /// stop a second time; 2 wrong configuration, a target that is not there, or a new sink that may be a
    /// renamed one; 3 at start, the database cannot be reached or lacks the schema.
    #[command(verbatim_doc_comment)]
    Run {
        /// The configuration; `env:NAME` for a variable that holds the whole text.
        #[arg(
            long,
            short,
            default_value = "relay.toml",
            env = "OUTBOX_RELAY_CONFIG",
            value_name = "FILE"
        )]
        config: PathBuf,
    },
    /// Ask a running relay whether it is alive, for the health check of a container.
    ///
    /// It asks where the configuration's http.listen says that the relay listens, on this machine.
    ///
    /// Exit codes: 0 it answers that all is well; 1 it does not; 2 the configuration says no fixed address.
    #[command(verbatim_doc_comment)]
    Health {
        /// The relay's configuration, which says where it listens; `env:NAME` as for `run`.
        #[arg(
            long,
            short,
            default_value = "relay.toml",
            env = "OUTBOX_RELAY_CONFIG",
            value_name = "FILE"
        )]
        config: PathBuf,
        /// Ask whether every sink works, too: /readyz instead of /healthz.
        #[arg(long)]
        ready: bool,
    },
    /// Show, retry, hold, skip or edit events that a sink has set aside.
    Parked(parked::Arguments),
    /// Show or move how far sinks have published the log.
    Cursor(cursor::Arguments),
    Replay(replay::Arguments),
    Check(check::Arguments),
    /// Tell in one screen who publishes what and how far behind, how large the log is, and when it is freed.
    ///
    /// With --config it also tells sinks that are not configured any more, and how long events are kept.
    ///
    /// Exit codes: 0 done, and no bound that was given is exceeded; 1 a bound is exceeded, which standard error
    /// names; 2 wrong usage or configuration; 3 the database cannot be reached or lacks the schema.
    #[command(verbatim_doc_comment)]
    Status(status::Arguments),
    /// Bring schema `oncebox` in the database up to date; safe to run at any time, and from several sides.
    ///
    /// Needs a role that may create the schema, and a direct connection (no pooler).
    ///
    /// Exit codes: 0 done; 2 wrong usage; 3 the database cannot be reached or refuses.
    #[command(verbatim_doc_comment)]
    Migrate {
        /// Print the SQL instead of running it, for somebody else to apply.
        #[arg(long)]
        print: bool,
        /// Give this role what the relay needs, and no more; with --print, print that too.
        #[arg(long, value_name = "ROLE")]
        grant_to: Option<String>,
        /// Where the database is: postgres://user:password@host:port/database
        #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
        database_url: Option<SecretString>,
        #[command(flatten)]
        tls: TlsArguments,
    },
}

/// Reads the command line. Ends the process when it asks for help or is wrong (exit code 2).
#[must_use]
pub fn parse() -> Arguments {
    let matches = tree().get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// All commands, each with what its exit codes mean.
fn tree() -> clap::Command {
    with_exit_codes(Arguments::command(), EXIT_CODES)
}

/// Runs the command.
///
/// # Errors
/// See [`FailureKind`]; what a person must do stands in the message.
pub async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Run { config } => match logging::start() {
            Ok(()) => run::run(&config).await,
            Err(error) => Err(Failure::new(FailureKind::Usage, error)),
        },
        Command::Health { config, ready } => health::ask(&config, ready).await,
        Command::Parked(arguments) => parked::run(arguments).await,
        Command::Cursor(arguments) => cursor::run(arguments).await,
        Command::Replay(arguments) => replay::run(arguments).await,
        Command::Check(arguments) => check::run(arguments).await,
        Command::Status(arguments) => status::run(arguments).await,
        Command::Migrate {
            print: true, grant_to, ..
        } => migrate::print(grant_to.as_deref()),
        Command::Migrate {
            database_url,
            tls,
            grant_to,
            print: false,
        } => migrate::apply(database_url, &tls.into(), grant_to.as_deref()).await,
    }
}
