//! The relay against models: nothing breaks, and what is broken on purpose is found.

use outbox_relay::planted::{Bug, plant};
use system_tests::simulation::{plan::Plan, run};

/// Runs these seeds; the first that breaks a promise ends the test and says how to see it again.
fn nothing_breaks(seeds: std::ops::Range<u64>) {
    let mut events = 0;
    for seed in seeds {
        let ended = run(&Plan::of_seed(seed), false);
        events += ended.events;
        assert!(
            ended.violations.is_empty(),
            "{:?}; to see it: make simulate SEED={seed}",
            ended.violations
        );
    }
    assert!(events > 10_000, "only {events} events: nothing was simulated");
}

// Two thousand seeds, in parts that run beside each other.

#[test]
fn no_promise_is_broken_in_the_first_five_hundred_seeds() {
    nothing_breaks(0..500);
}

#[test]
fn no_promise_is_broken_in_the_second_five_hundred_seeds() {
    nothing_breaks(500..1_000);
}

#[test]
fn no_promise_is_broken_in_the_third_five_hundred_seeds() {
    nothing_breaks(1_000..1_500);
}

#[test]
fn no_promise_is_broken_in_the_fourth_five_hundred_seeds() {
    nothing_breaks(1_500..2_000);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let digests = |_| -> Vec<String> {
        (0..40)
            .map(|seed| run(&Plan::of_seed(seed), false).trace.digest())
            .collect()
    };
    let [first, second] = [(), ()].map(digests);
    assert_eq!(first, second);
    let distinct: std::collections::BTreeSet<&String> = first.iter().collect();
    assert_eq!(distinct.len(), first.len(), "another seed, another trace");
}

/// Plants a fault and expects that it is found, by what it breaks, within so many seeds.
fn is_found(bug: Bug, words: &[&str]) {
    const WITHIN: u64 = 600;
    plant(Some(bug));
    let mut found = Vec::new();
    for seed in 0..WITHIN {
        let violations = run(&Plan::of_seed(seed), false).violations;
        if violations
            .iter()
            .any(|what| words.iter().any(|word| what.contains(word)))
        {
            eprintln!("{bug:?} is found with seed {seed}: {violations:?}");
            return;
        }
        found.extend(violations);
    }
    panic!("{bug:?} is not found within {WITHIN} seeds, only {found:?}");
}

/// A test per planted fault.
macro_rules! planted {
    ($($test:ident: $bug:ident, $words:expr;)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Bug::$bug, &$words);
            }
        )*
    };
}

planted! {
    a_cursor_that_moves_before_the_answer_is_found: CursorBeforeAnswer, ["is lost", "not drained"];
    one_entry_that_stands_for_all_is_found: OneOfAllIsEnough, ["is lost", "not drained"];
    silence_that_counts_as_success_is_found: SilenceIsSuccess, ["is lost", "not drained"];
    a_lease_without_end_is_found: LeaseWithoutEnd, ["holds"];
    a_lease_that_is_not_asked_again_is_found: LeaseNotAskedAgain, ["holds"];
    a_term_that_counts_from_the_answer_is_found: TermFromAnswer, ["holds"];
    a_relay_that_is_declared_dead_too_early_is_found: DeadTooEarly, ["holds", "is out"];
    reading_above_the_last_position_only_is_found: AboveLastOnly, ["is lost", "not drained"];
    a_retry_out_of_order_is_found: RetryOutOfOrder, ["came after", "two requests"];
    parking_without_followers_is_found: ParkedWithoutFollowers, ["came after"];
    forgetting_the_parked_keys_is_found: ParkedKeysForgotten, ["came after"];
    a_drain_that_waits_for_no_answer_is_found: DrainWithoutAnswers, ["is out"];
    forgetting_what_was_given_up_is_found: UnansweredForgotten, ["is out"];
    sending_again_what_may_have_arrived_is_found: SentAgain, ["came twice"];
    a_payload_that_is_not_loaded_again_is_found: PayloadNotLoaded, ["is lost", "not drained"];
    taking_a_refused_retry_for_done_is_found: RetryTakenForDone, ["is lost", "not drained"];
}
