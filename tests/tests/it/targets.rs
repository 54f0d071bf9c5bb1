//! Every kind of target on LocalStack: topics and event buses behind the relay, limits to the byte,
//! the claim check, and what cannot be published to.

mod bus;
mod claim_check;
mod configuration;
mod limits;
mod scene;
mod topic;
