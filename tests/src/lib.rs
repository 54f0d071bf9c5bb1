//! The harness of the system tests and of the demonstration.
//!
//! Everything here runs the real parts (the relay's and the functions' binaries, Postgres,
//! LocalStack) and looks at them from outside. A stack is shared by all the tests of a run, so
//! each test has names of its own: a [`Database`], [`Queue`]s and [`Tables`], or a whole
//! [`Deployment`].
//!
//! # Reading order
//! [`Stack`] (what is there), [`until`] (the only way to wait), [`Database`], [`Queue`], [`Topic`] and
//! [`Bus`] (where events start and end), [`Relay`] (its process, to be started and killed),
//! [`RelayCommand`] (its other subcommands), [`AwsProxy`] (faults
//! between a process and AWS), [`Function`] (a function's process under a Runtime API of ours),
//! [`ledger`] (whether the promises were kept), [`rights`] (what a process asks AWS for, and what its role gives), [`demo`] (the demonstration) and [`chaos`] (faults
//! on all parts at once), made of the same parts.

mod aws_proxy;
mod binaries;
mod bucket;
mod bus;
pub mod chaos;
mod cleanup;
pub mod consumer_simulation;
mod database;
mod database_proxy;
pub mod demo;
mod deployment;
mod events;
mod function;
mod invoicing;
pub mod ledger;
pub mod model;
mod outbox_table;
mod pooler;
mod process_log;
mod queue;
mod relay;
mod relay_command;
mod relay_config;
pub mod rights;
mod server;
pub mod simulation;
mod stack;
mod tables;
mod tls_proxy;
mod topic;
mod wait;

pub use aws_proxy::{AwsProxy, Chosen, Entry, Fault, Gate, Moment, Request, Send};
pub use binaries::binary;
pub use bucket::{Bucket, Object};
pub use bus::Bus;
pub use database::Database;
pub use database_proxy::DatabaseProxy;
pub use deployment::{Deployment, Outputs, Parameters};
pub use events::{EVENT_TYPE, EVERYTHING, enqueue};
pub use function::{Answer, Batch, Function, Invocation, Record};
pub use invoicing::{Requested, create_invoice_message, envelope, invoice_created_message, request_invoice};
pub use outbox_table::OutboxTable;
pub use pooler::Pooler;
pub use queue::{Message, Queue};
pub use relay::{Exit, Relay};
pub use relay_command::{Printed, RelayCommand, RunningCommand};
pub use relay_config::RelayConfig;
pub use server::Server;
pub use stack::Stack;
pub use tables::Tables;
pub use tls_proxy::TlsProxy;
pub use topic::Topic;
pub use wait::{PATIENCE, until, until_within};

/// A name that no other test, run or copy uses: `prefix-` and twelve hex digits.
#[must_use]
pub fn unique(prefix: &str) -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}-{}", &random[..12])
}
