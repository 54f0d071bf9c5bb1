//! What is left to chance: jitter and names.

use std::sync::{Arc, Mutex, PoisonError};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

/// A source of chance; all copies are one.
#[derive(Debug, Clone, Default)]
pub struct Chance {
    /// `None` draws from the operating system's.
    seeded: Option<Arc<Mutex<StdRng>>>,
}

impl Chance {
    /// The same draws for the same seed, so that what happened can be made to happen again.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seeded: Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))),
        }
    }

    /// A number from 0 up to 1.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        match &self.seeded {
            None => rand::random(),
            Some(random) => random.lock().unwrap_or_else(PoisonError::into_inner).random(),
        }
    }

    /// A UUID that nobody else has.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        match &self.seeded {
            None => Uuid::new_v4(),
            Some(random) => {
                let bytes = random.lock().unwrap_or_else(PoisonError::into_inner).random();
                uuid::Builder::from_random_bytes(bytes).into_uuid()
            }
        }
    }
}
