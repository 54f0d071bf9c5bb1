//! When to look at the log's end.

use std::time::Duration;

use tokio::time::Instant;

use crate::log::{Seq, connection::Connection, cursor::Horizon};

const SHORTEST: Duration = Duration::from_millis(2);
pub(super) const LONGEST: Duration = Duration::from_millis(50);
/// After this long the sequence is read anew before a look: a bound that is too low makes a later
/// run look again at rows that were read already.
const STALE: Duration = Duration::from_millis(200);

/// Looks at the log's end: what an earlier look has shown, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Poll {
    /// The sequence's position at the last look.
    high: Seq,
    looked_at: Option<Instant>,
}

impl Poll {
    pub(super) fn new() -> Self {
        Self {
            high: 0,
            looked_at: None,
        }
    }

    /// Takes a look. The position at the look before is older than this look's snapshot, as it has
    /// to be.
    pub(super) async fn look<C: Connection>(&mut self, connection: &mut C) -> Result<Horizon, sqlx::Error> {
        if self.looked_at.is_none_or(|at| at.elapsed() > STALE) {
            self.high = connection.sequence_position().await?;
        }
        let horizon = connection.look(self.high).await?;
        self.high = horizon.seq_after;
        self.looked_at = Some(Instant::now());
        Ok(horizon)
    }
}

/// When the next look is due: soon after something was found, ever later when not.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) next: Instant,
    pause: Duration,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now(),
            pause: SHORTEST,
        }
    }

    /// Notes a look, and whether there was anything to read since the one before.
    pub(super) fn note(&mut self, found: bool) {
        self.pause = if found { SHORTEST } else { (self.pause * 2).min(LONGEST) };
        self.next = Instant::now() + self.pause;
    }
}
