//! Claim, effect and completion: two functions have one event, as often and in whatever order its message comes.
//!
//! The consumer's decisions are private to its crate, so they are written again here, each named after the one that it stands
//! for. What the record in DynamoDB allows is the same: a write names what it expects to find.

pub mod leased;
pub mod transactional;
