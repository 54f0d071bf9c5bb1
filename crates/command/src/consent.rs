//! Asking before something is changed.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Args;

/// How a command that changes something is told to.
#[derive(Debug, Clone, Copy, Args)]
pub struct Consent {
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// Only tell what would be done.
    #[arg(long)]
    dry_run: bool,
}

/// Why nothing may be changed.
#[derive(Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// Wrong usage.
    #[error(
        "standard input is no terminal, so nobody can be asked; pass --yes to do it, or --dry-run to see what it would do"
    )]
    NobodyToAsk,
    /// The answer was no.
    #[error("not confirmed; nothing was changed")]
    Refused,
    /// The answer could not be read.
    #[error("the answer cannot be read")]
    Unread(#[source] std::io::Error),
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
    /// Whether nothing is to be changed, whatever anybody answers.
    #[must_use]
    pub fn is_dry_run(self) -> bool {
        self.dry_run
    }

    /// Whether to act at once, so that no plan has to be shown first.
    #[must_use]
    pub fn is_given(self) -> bool {
        self.step(false) == Step::Act
    }

    /// To be called before any work.
    ///
    /// # Errors
    /// [`Unconfirmed::NobodyToAsk`]: nobody has said yes, and nobody can be asked.
    pub fn check(self) -> Result<(), Unconfirmed> {
        match self.step(std::io::stdin().is_terminal()) {
            Step::Act | Step::Ask | Step::OnlyTell => Ok(()),
            Step::Refuse => Err(Unconfirmed::NobodyToAsk),
        }
    }

    /// Asks `question` on standard error where that is needed. Returns whether to act.
    ///
    /// # Errors
    /// [`Unconfirmed`]: neither yes nor a dry run.
    pub fn ask(self, question: &str) -> Result<bool, Unconfirmed> {
        match self.step(std::io::stdin().is_terminal()) {
            Step::Act => Ok(true),
            Step::OnlyTell => Ok(false),
            Step::Refuse => Err(Unconfirmed::NobodyToAsk),
            Step::Ask => {
                let mut stderr = std::io::stderr();
                let _ = write!(stderr, "{question} [y/N] ");
                let _ = stderr.flush();
                let mut answer = String::new();
                let read = std::io::stdin().lock().read_line(&mut answer);
                read.map_err(Unconfirmed::Unread)?;
                if is_yes(&answer) {
                    return Ok(true);
                }
                Err(Unconfirmed::Refused)
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
    }

    #[test]
    fn only_yes_is_a_yes() {
        for yes in ["y", "Y\n", " yes \r\n", "YES"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "no", "yess", "ja", "yes please"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
