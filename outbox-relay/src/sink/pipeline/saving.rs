//! When the cursor is written, and the writing.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    database::session::Session,
    log::store::{self, Claim, Place, StoreError},
    sink::window::Window,
};

/// After an event was settled: long enough to write once for many, short enough that a crash
/// repeats little.
const AFTER_PROGRESS: Duration = Duration::from_millis(50);
/// When only other transactions moved on: nothing would be repeated, but a base that is too old
/// makes the next start look at many rows.
const WHEN_IDLE: Duration = Duration::from_secs(10);

/// When the cursor is written.
#[derive(Debug)]
pub(super) struct Saving {
    claim: Claim,
    saved: Place,
    saved_at: Instant,
    progress_since: Option<Instant>,
}

impl Saving {
    pub(super) fn new(claim: Claim) -> Self {
        Self {
            saved: claim.place.clone(),
            claim,
            saved_at: Instant::now(),
            progress_since: None,
        }
    }

    /// Notes that an event was settled.
    pub(super) fn note_progress(&mut self, now: Instant) {
        self.progress_since.get_or_insert(now);
    }

    /// When the window's place should be written; `None` if that would change nothing.
    pub(super) fn due(&self, window: &Window) -> Option<Instant> {
        if let Some(since) = self.progress_since {
            return Some(since + AFTER_PROGRESS);
        }
        (window.place() != self.saved).then_some(self.saved_at + WHEN_IDLE)
    }

    /// Writes the window's place.
    pub(super) async fn save(&mut self, window: &Window, session: &mut Session) -> Result<(), StoreError> {
        self.claim.place = window.place();
        store::save(session, &self.claim).await?;
        self.saved = self.claim.place.clone();
        self.saved_at = Instant::now();
        self.progress_since = None;
        Ok(())
    }
}
