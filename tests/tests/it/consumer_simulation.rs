//! The consumer against models: nothing breaks, and what is broken on purpose is found.

use oncebox_consumer::planted::{Bug, plant};
use system_tests::consumer_simulation::{plan::Plan, run};

/// Runs these seeds; the first that breaks a promise ends the test and says how to see it again.
fn nothing_breaks(seeds: std::ops::Range<u64>) {
    let (mut effects, mut set_aside) = (0, 0);
    for seed in seeds {
        let ended = run(&Plan::of_seed(seed), false);
        (effects, set_aside) = (effects + ended.effects, set_aside + ended.set_aside);
        assert!(
            ended.violations.is_empty(),
            "{:?}; to see it: make simulate SIDE=consumer SEED={seed}",
            ended.violations
        );
    }
    assert!(effects > 5_000, "only {effects} effects: nothing was simulated");
    assert!(set_aside < effects / 2, "{set_aside} set aside, {effects} effects");
}

// Two thousand seeds, in parts that run beside each other.

#[test]
fn no_promise_is_broken_in_the_first_thousand_seeds() {
    nothing_breaks(0..1_000);
}

#[test]
fn no_promise_is_broken_in_the_second_thousand_seeds() {
    nothing_breaks(1_000..2_000);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let digests = |_| -> Vec<String> {
        (0..100)
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
    const WITHIN: u64 = 2_000;
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
    a_record_of_the_attempt_is_found: RecordOfAttempt, ["doubled"];
    a_record_that_is_committed_before_the_effect_is_found: RecordBeforeEffect, ["lost"];
    silence_that_counts_as_a_commit_is_found: UnknownIsDone, ["lost"];
    a_canceled_transaction_that_counts_as_done_is_found: CanceledIsDone, ["lost"];
    a_record_that_counts_beyond_its_time_is_found: ExpiredCounts, ["lost"];
    a_bundle_that_goes_with_its_first_event_is_found: BundleByFirst, ["lost"];
    what_was_not_begun_and_is_acknowledged_is_found: NotStartedAcknowledged, ["lost"];
    what_overtakes_a_failure_is_found: BlockedGoesOn, ["out_of_order"];
    a_dead_letter_that_was_never_stored_is_found: DeadLetterNotStored, ["lost"];
    a_gap_guard_that_is_off_by_one_is_found: GapOffByOne, ["gap", "out_of_order"];
    what_is_held_and_acknowledged_is_found: HeldAcknowledged, ["lost"];
    a_watermark_that_is_written_over_is_found: WatermarkOverwritten, ["doubled"];
    a_claim_that_is_taken_over_at_once_is_found: ClaimTakenOver, ["two are at work"];
    a_claim_that_counts_as_its_effect_is_found: ClaimIsDone, ["lost"];
    a_fence_that_does_not_rise_is_found: FenceNotRaised, ["has fence"];
    a_holder_without_a_beat_is_found: NoBeat, ["two are at work"];
    a_holder_that_goes_on_when_it_has_lost_is_found: LostGoesOn, ["two are at work"];
    a_release_of_what_another_one_holds_is_found: ReleasedWithoutFence, ["doubled", "lost", "two are at work"];
    a_record_before_the_leased_effect_is_found: DoneBeforeEffect, ["lost"];
    an_unknown_end_that_counts_as_a_failure_is_found: UnknownIsFailed, ["doubled"];
}
