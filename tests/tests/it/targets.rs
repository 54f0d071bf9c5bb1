//! Every kind of target on LocalStack: topics and event buses behind the relay, limits to the byte,
//! the claim check, and what cannot be published to.

mod bundles;
mod bus;
mod claim_check;
mod configuration;
mod credentials;
mod limits;
mod parking;
mod random;
pub(crate) mod requests;
pub(crate) mod scene;
mod topic;
