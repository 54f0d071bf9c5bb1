//! When to look at the log's end.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    database::session::Session,
    log::{
        Seq,
        cursor::Horizon,
        page::{look, sequence_position},
    },
};

const SHORTEST: Duration = Duration::from_millis(2);
pub(super) const LONGEST: Duration = Duration::from_millis(50);
/// After this long the sequence is read anew before a look: a bound that is too low makes a later
/// run look again at rows that were read already.
const STALE: Duration = Duration::from_millis(200);

/// When to look at the log's end: soon after something was found, ever later when not.
#[derive(Debug)]
pub(super) struct Poll {
    /// When the next look is due.
    pub(super) next: Instant,
    /// The sequence's position at the last look.
    pub(super) high: Seq,
    pause: Duration,
    looked_at: Instant,
}

impl Poll {
    /// Reads the sequence, so that the first look has an older position to go with.
    pub(super) async fn begin(session: &mut Session) -> Result<Self, sqlx::Error> {
        Ok(Self {
            high: sequence_position(session).await?,
            next: Instant::now(),
            pause: SHORTEST,
            looked_at: Instant::now(),
        })
    }

    /// Takes a look. The position at the look before is older than this look's snapshot, as it has
    /// to be.
    pub(super) async fn look(&mut self, session: &mut Session) -> Result<Horizon, sqlx::Error> {
        if self.looked_at.elapsed() > STALE {
            self.high = sequence_position(session).await?;
        }
        let horizon = look(session, self.high).await?;
        self.high = horizon.seq_after;
        self.looked_at = Instant::now();
        Ok(horizon)
    }

    /// Notes whether there was anything to read.
    pub(super) fn note(&mut self, found: bool) {
        self.pause = if found { SHORTEST } else { (self.pause * 2).min(LONGEST) };
        self.next = Instant::now() + self.pause;
    }
}
