//! Which attempt at an event this is.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Events that failed and are not published yet. More are not counted: memory is bounded, and a
/// target that refuses ten thousand events needs no count of them.
const MOST: usize = 10_000;

/// Failures of events, by id, since this relay began.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<String, u32>>);

impl Attempts {
    /// Notes an attempt and tells its number, from 1; `None` when there are too many to count.
    pub(super) fn note(&self, id: &str, succeeded: bool) -> Option<u32> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if succeeded {
            return Some(failures.remove(id).unwrap_or(0) + 1);
        }
        if let Some(before) = failures.get_mut(id) {
            *before += 1;
            return Some(*before);
        }
        if failures.len() >= MOST {
            return None;
        }
        failures.insert(id.to_owned(), 1);
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempts, MOST};

    #[test]
    fn attempts_are_numbered_until_one_succeeds() {
        let attempts = Attempts::default();
        let noted = [("a", false), ("a", false), ("b", true), ("a", true), ("a", true)];
        let numbers = noted.map(|(id, succeeded)| attempts.note(id, succeeded));
        assert_eq!(numbers, [Some(1), Some(2), Some(1), Some(3), Some(1)]);
    }

    #[test]
    fn a_target_that_refuses_everything_fills_no_memory() {
        let attempts = Attempts::default();
        for id in 0..MOST {
            attempts.note(&id.to_string(), false);
        }
        assert_eq!(attempts.note("one more", false), None);
        assert_eq!(attempts.note("7", false), Some(2));
        assert_eq!(attempts.0.lock().expect("no panic").len(), MOST);
    }
}
