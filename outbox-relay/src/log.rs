//! Reading the log without losing or stalling.
//!
//! A cursor is a snapshot: all that it sees is published. To read on, the relay takes a newer
//! snapshot and publishes the difference, in the order of `seq`. A transaction that commits late is
//! in the difference whenever it commits; one that never commits holds nobody up; one that rolls
//! back is never seen.
//!
//! # Reading order
//! [`snapshot`] (what Postgres says is visible), [`cursor`] (the pure rule: base, run, horizon),
//! [`page`] (the rows of a run), [`again`] (rows that were read before), [`parked`] (events set aside), [`store`] (the cursor's row and its
//! epoch, and the transaction in which both are written), [`connection`] (all of this as sinks ask for it), [`known`] (which sinks there are), [`members`] (the list of relays and who holds what), [`upkeep`] (partitions). For commands:
//! [`standing`] (how far everybody is), [`relays`] (who lives), [`extent`] and [`freeing`] (how large the log is, and when it is freed),
//! [`moving`] and [`renaming`] (cursors moved by a person), [`rebase`] (a log that came from another cluster), [`replay`]
//! (a fixed set of events, published again).

pub mod again;
pub mod connection;
pub mod cursor;
pub mod extent;
pub mod freeing;
pub mod known;
pub mod members;
pub mod moving;
pub mod page;
pub mod parked;
pub mod rebase;
pub mod relays;
pub mod renaming;
pub mod replay;
pub mod snapshot;
pub mod standing;
pub mod store;
pub mod upkeep;

/// A position in the log: the value of `seq`, which starts at 1.
pub type Seq = i64;

/// A transaction id as Postgres' 64-bit `xid8`, in the `bigint` that the log keeps it in.
pub type Xid = i64;
