//! The properties over the corpora that are kept: seeds written by us, and what fuzzing found.

mod corpus;
