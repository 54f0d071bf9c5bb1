//! Which rights a process asks AWS for, and whether its role gives those and no others.
//!
//! A process's requests are seen by [`AwsProxy`](crate::AwsProxy), which writes down the right that each of them
//! asks for ([`Need`]). What a role gives stands in the templates of `infra/`; [`Roles`] reads it with the
//! template's parameters filled in. [`compare()`] names what a role lacks and what it has too much.
//!
//! # Reading order
//! [`Need`] (a request → rights, with the source of each), [`Policy`] (what a role gives), [`compare()`], [`Roles`].

mod calls;
mod compare;
mod need;
mod operation;
mod policy;
mod templates;

pub use calls::Calls;
pub use compare::{Explained, Fault, compare};
pub use need::Need;
pub use policy::{Policy, Statement};
pub use templates::{Roles, reference};
