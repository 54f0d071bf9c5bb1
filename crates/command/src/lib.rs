//! What the commands of all of Oncebox's binaries have in common.

mod consent;
mod help;

pub use consent::{Consent, Unconfirmed};
pub use help::with_exit_codes;
