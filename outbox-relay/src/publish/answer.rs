//! From a target's answer to one result per message, the same way for all targets.

use super::PublishError;

/// One result per message that was sent.
///
/// A 200 says nothing by itself: only a message that the answer names as taken has arrived. One that
/// is named as both did not safely arrive, one that is not named at all has no answer, and a place
/// that was not sent counts for nothing.
pub(super) fn results(
    sent: usize,
    taken: impl IntoIterator<Item = Option<usize>>,
    failed: impl IntoIterator<Item = (Option<usize>, PublishError)>,
) -> Vec<Result<(), PublishError>> {
    let mut results = vec![Err(PublishError::unanswered()); sent];
    for place in taken.into_iter().flatten() {
        if let Some(result) = results.get_mut(place) {
            *result = Ok(());
        }
    }
    for (place, error) in failed {
        if let Some(result) = place.and_then(|place| results.get_mut(place)) {
            *result = Err(error);
        }
    }
    results
}

/// The place of the message that was sent with this entry id; entries are numbered from 0.
pub(super) fn place(entry_id: &str) -> Option<usize> {
    entry_id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_its_own_result_and_silence_is_no_success() {
        let failure = PublishError {
            code: "InternalError".to_owned(),
            ..PublishError::unanswered()
        };
        let results = results(4, ["2", "0"].map(place), [(place("3"), failure.clone())]);
        assert_eq!(results, [Ok(()), Err(PublishError::unanswered()), Ok(()), Err(failure)]);
    }

    #[test]
    fn what_is_named_as_both_failed_and_what_was_not_sent_counts_for_nothing() {
        let taken = ["0", "7", "x", ""].map(place);
        let failed = ["0", "9", "y"].map(|id| (place(id), PublishError::unanswered()));
        assert!(results(2, taken, failed).iter().all(Result::is_err));
    }
}
