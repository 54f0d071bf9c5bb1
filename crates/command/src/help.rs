//! What a command says of itself.

/// Adds `exit_codes` to the help of each command that has no subcommands and says nothing of its own about
/// `Exit codes:`.
#[must_use]
pub fn with_exit_codes(command: clap::Command, exit_codes: &'static str) -> clap::Command {
    let said = [command.get_long_about(), command.get_after_help()];
    let is_told = said
        .iter()
        .flatten()
        .any(|text| text.to_string().contains("Exit codes:"));
    let command = command.mut_subcommands(|subcommand| with_exit_codes(subcommand, exit_codes));
    match is_told || command.has_subcommands() {
        true => command,
        false => command.after_help(exit_codes),
    }
}
