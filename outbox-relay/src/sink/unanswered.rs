//! Requests that were given up: what they held may still arrive.

use std::time::Duration;

use crate::lease::term::Moment;

/// When requests were last given up without an answer. Kept for as long as the sink is supervised: a
/// session of the database that ends, or a cursor that somebody moves, does not take them back.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    since: Option<Moment>,
}

impl Unanswered {
    /// Requests were given up at `now` at the latest.
    pub(super) fn note(&mut self, now: Moment) {
        self.since = Some(now);
    }

    /// How much is left of the term after which nobody waits for them any more.
    pub(super) fn left(&self, term: Duration, now: Moment) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| term.saturating_sub(now.since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_waited_for_during_one_term() {
        let (term, at) = (Duration::from_nanos(100), Moment::of_nanos);
        let mut unanswered = Unanswered::default();
        assert_eq!(unanswered.left(term, at(5)), Duration::ZERO);
        unanswered.note(at(10));
        assert_eq!(unanswered.left(term, at(10)), term);
        assert_eq!(unanswered.left(term, at(109)), Duration::from_nanos(1));
        assert_eq!(unanswered.left(term, at(110)), Duration::ZERO);
        unanswered.note(at(50));
        assert_eq!(unanswered.left(term, at(110)), Duration::from_nanos(40));
    }
}
