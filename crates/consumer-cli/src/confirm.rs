//! Asking before something is changed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

use crate::failure::{Failure, FailureKind};

/// How a command that changes something is told to.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Consent {
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// What to do about a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Act,
    Ask,
    OnlyTell,
    Refuse,
}

impl Consent {
    /// Fails when nobody can be asked and nobody has said yes: before any work.
    pub(crate) fn check(self) -> Result<(), Failure> {
        match self.step(std::io::stdin().is_terminal()) {
            Step::Act | Step::Ask | Step::OnlyTell => Ok(()),
            Step::Refuse => Err(nobody_to_ask()),
        }
    }

    /// Tells `plan` and asks `question` where that is needed. Returns whether to act.
    pub(crate) fn ask(self, plan: &str, question: &str) -> Result<bool, Failure> {
        match self.step(std::io::stdin().is_terminal()) {
            Step::Act => Ok(true),
            Step::OnlyTell => Ok(false),
            Step::Refuse => Err(nobody_to_ask()),
            Step::Ask => {
                let mut stderr = std::io::stderr();
                let _ = write!(stderr, "{plan}\n{question} [y/N] ");
                let _ = stderr.flush();
                let mut answer = String::new();
                let read = std::io::stdin().lock().read_line(&mut answer);
                read.map_err(|error| Failure::new(FailureKind::Runtime, error))?;
                if is_yes(&answer) {
                    return Ok(true);
                }
                Err(Failure::refused("not confirmed; nothing was changed"))
            }
        }
    }

    fn step(self, somebody_is_there: bool) -> Step {
        match (self.dry_run, self.yes, somebody_is_there) {
            (true, _, _) => Step::OnlyTell,
            (false, true, _) => Step::Act,
            (false, false, true) => Step::Ask,
            (false, false, false) => Step::Refuse,
        }
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn nobody_to_ask() -> Failure {
    Failure::new(
        FailureKind::Usage,
        anyhow::anyhow!(
            "standard input is no terminal, so nobody can be asked; pass --yes to do it, or --dry-run to see what it would do"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_without_a_yes_and_a_dry_run_wins() {
        let step = |dry_run, yes, there| Consent { yes, dry_run }.step(there);
        for there in [true, false] {
            assert_eq!(step(true, true, there), Step::OnlyTell);
            assert_eq!(step(true, false, there), Step::OnlyTell);
            assert_eq!(step(false, true, there), Step::Act);
        }
        assert_eq!(step(false, false, true), Step::Ask);
        assert_eq!(step(false, false, false), Step::Refuse);
        assert!(is_yes(" Yes\n") && !is_yes("") && !is_yes("yess"));
    }
}
