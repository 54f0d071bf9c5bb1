//! The properties over the corpora that are kept: seeds written by us, and what fuzzing found.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod corpus;
