//! The leased mode: one holder at a time, and the declared policy for what nobody can know.
//!
//! All of it runs in memory on a clock that costs no time, but for `stack`, which runs on DynamoDB.

mod boundary;
mod clocks;
mod doubt;
mod lease;
mod receiver;
mod replay;
mod stack;
mod told;
