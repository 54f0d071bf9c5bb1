//! What a person may do with events that a sink has set aside: look, retry, hold, skip, edit.
//!
//! Every change is one transaction that first locks the cursors' rows of the shards it is about, in
//! the order of sink and shard, as the relay does before it touches parked events: so the two never
//! see each other half done. Sending is the relay's; here only `state` says that it should.
//!
//! # Reading order
//! [`filter`] (which events), [`listing`] (looking), [`change`] (retry, hold, skip), [`edit`].

pub mod change;
pub mod edit;
pub mod filter;
pub mod listing;
