//! Which relay publishes which shard, and for how long it may.
//!
//! A relay holds the shards whose cursors name it as owner, for as long as its row stands in
//! `oncebox.relay`. It raises that row's beat in short intervals; each answer lets it publish for one
//! term more, counted from before the question was sent. Another relay that has seen one and the same
//! beat for a whole term deletes the row, and with that the shards are free.
//!
//! # Guarantees
//! - No two relays publish one shard at once. The holder counts its term from before the beat was
//!   written and starts no request that could outlast it; whoever takes over counts the same term, and
//!   a twentieth more, from after it saw that beat. Both count time that passed on their own machine; no two clocks are
//!   compared.
//! - A relay that was stopped for longer than its term sends nothing and moves no cursor when it goes
//!   on: its term is over, and the epochs of its shards were raised.
//! - A lease belongs to one membership. Who was declared dead and joins anew has another lease, and what was begun
//!   under the old one is never sent.
//! - A killed relay's shards are taken over within the configured lease.
//!
//! # Reading order
//! [`term`] (how long, and whether it still lasts), [`watch`] (who has stopped beating), [`shares`]
//! (who should hold what), [`member`] (the task that beats).

pub mod member;
pub mod shares;
pub mod term;
pub mod watch;
