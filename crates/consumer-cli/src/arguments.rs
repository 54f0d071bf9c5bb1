//! The command line: which commands there are, and what they say of themselves.

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use oncebox_command::with_exit_codes;

use crate::{failure::Failure, gap, outbox, record};

/// What the exit codes of a command mean that says nothing of its own.
const EXIT_CODES: &str = "Exit codes: 0 done; 1 it could not be done, and nothing was changed; 2 wrong usage; 3 the table \
                          cannot be reached, read or written.";

const ABOUT_ALL: &str = "\
Region, credentials and endpoint are those of the AWS SDK (AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, …).
Commands print lines for people and one JSON document for scripts (--json). Those that change something ask on a
terminal and need --yes elsewhere; --dry-run tells what they would do. No command shows a payload.

Exit codes: 0 done; 1 it could not be done, or was refused; 2 wrong usage; 3 the table cannot be reached, read or
written. A command's own help says more.";

/// Looks at and mends what Oncebox consumers keep in DynamoDB.
#[derive(Debug, Parser)]
#[command(name = "oncebox-consumer", version, after_help = ABOUT_ALL)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how far a consumer with a gap guard has come within a key, or pass by an event that is lost.
    Gap(gap::Arguments),
    /// Show what handlers have emitted and nobody has sent yet, or send it.
    Outbox(outbox::Arguments),
    /// Show the dedupe records of events.
    Record(record::Arguments),
}

/// Reads the command line. Ends the process when it asks for help or is wrong (exit code 2).
pub(crate) fn parse() -> Arguments {
    let matches = tree().get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// All commands, each with what its exit codes mean.
fn tree() -> clap::Command {
    with_exit_codes(Arguments::command(), EXIT_CODES)
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Gap(arguments) => gap::run(arguments).await,
        Command::Outbox(arguments) => outbox::run(arguments).await,
        Command::Record(arguments) => record::run(arguments).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &clap::Command) -> Vec<clap::Command> {
        match command.has_subcommands() {
            true => command.get_subcommands().flat_map(leaves).collect(),
            false => vec![command.clone()],
        }
    }

    #[test]
    fn each_command_says_what_it_does_what_its_options_mean_and_what_its_exit_codes_are() {
        let leaves = leaves(&tree());
        assert!(leaves.len() >= 5, "{}", leaves.len());
        for mut command in leaves {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains("Exit codes:"), "{name} tells no exit codes:\n{help}");
            assert!(command.get_about().is_some(), "{name} says not what it does");
            for option in command.get_arguments() {
                assert!(option.get_help().is_some(), "{name}: {} has no help", option.get_id());
            }
            let has = |id: &str| command.get_arguments().any(|option| option.get_id() == id);
            assert!(has("json"), "{name}: --json");
            assert_eq!(has("yes"), has("dry_run"), "{name}: --yes and --dry-run");
        }
    }
}
