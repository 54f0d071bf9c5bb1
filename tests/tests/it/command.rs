//! The subcommands of `outbox-relay`: the real binary on a real database.

mod cursor;
mod hostile;
mod parked;
mod rebase;
mod scene;
mod status;
