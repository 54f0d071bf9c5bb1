//! The subcommands of `outbox-relay`: the real binary on a real database.

mod check;
pub(crate) mod check_functions;
pub(crate) mod configured;
mod cursor;
mod hostile;
mod moving;
mod parked;
mod rebase;
mod replay;
mod scene;
mod status;
