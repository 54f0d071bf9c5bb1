//! The relay and the consumer as models of which every state is visited: nothing breaks, and what is broken on purpose is found.
//!
//! The counts are exact, so that a model that has lost something, or has got something new, is told.

use system_tests::model::{
    COMES_TO_ITS_END, Model,
    consumer::{
        leased::{self, Leased, Policy},
        transactional::{self, Transactional},
    },
    explore,
    relay::{self, Relays, Setting},
};

/// Visits all states: no promise is broken, so many there are, and all of this happens.
fn nothing_breaks<M: Model>(model: &M, states: usize, shown: &[&str]) {
    let explored = explore(model);
    eprintln!(
        "{} states, {} steps from them, the farthest after {}; {:#?}",
        explored.states, explored.transitions, explored.depth, explored.shown
    );
    assert!(explored.counterexample.is_none(), "{:?}", explored.counterexample);
    for what in shown {
        assert!(explored.shown.contains_key(what), "it never happens that {what}");
    }
    assert_eq!(
        explored.states, states,
        "the model has changed: see what, and write the new count here"
    );
}

/// A fault is found, by the promise that it breaks.
fn is_found<M: Model>(model: &M, promise: &str) {
    let explored = explore(model);
    let found = explored.counterexample.expect("no promise is broken");
    eprintln!("{} states until {found:?}", explored.states);
    assert_eq!(found.promise, promise, "{found:?}");
}

/// Two relays, an event that is there, and no faults.
const CALM: Setting = Setting {
    relays: 2,
    keyed: 1,
    is_written: true,
    has_old: false,
    crashes: 0,
    stops: 0,
    disconnects: 0,
    slow: 0,
};

const STOPPED: Setting = Setting { stops: 1, ..CALM };

const SLOW: Setting = Setting { slow: 1, ..CALM };

const KILLED: Setting = Setting { crashes: 1, ..CALM };

const CUT_OFF: Setting = Setting { disconnects: 1, ..CALM };

const TWO_EVENTS: Setting = Setting { keyed: 2, ..CALM };

const WRITTEN_MEANWHILE: Setting = Setting {
    relays: 1,
    keyed: 2,
    is_written: false,
    has_old: true,
    ..CALM
};

#[test]
fn two_relays_of_which_one_is_stopped_keep_every_promise_in_every_state() {
    nothing_breaks(
        &Relays::new(STOPPED, None),
        62_223,
        &[
            "a shard is taken from who still thinks to hold it",
            "a shard is taken over halfway",
            "a cursor is not written for who was superseded",
            "a relay hears that it was declared dead",
            "a copy arrives",
        ],
    );
}

#[test]
fn two_relays_of_which_one_is_answered_late_keep_every_promise_in_every_state() {
    nothing_breaks(&Relays::new(SLOW, None), 104_223, &["a shard is handed over"]);
}

#[test]
fn two_relays_with_two_events_of_a_key_keep_every_promise_in_every_state() {
    nothing_breaks(
        &Relays::new(TWO_EVENTS, None),
        60_178,
        &["a shard is handed over", "a request that was given up arrives first"],
    );
}

#[test]
fn two_relays_of_which_one_is_killed_keep_every_promise_in_every_state() {
    nothing_breaks(
        &Relays::new(KILLED, None),
        94_504,
        &[
            "a shard is taken over halfway",
            "a shard is handed over",
            "a copy arrives",
        ],
    );
}

#[test]
fn two_relays_of_which_one_loses_its_session_keep_every_promise_in_every_state() {
    nothing_breaks(
        &Relays::new(CUT_OFF, None),
        40_754,
        &[
            "a shard is handed over",
            "a request that was given up arrives first",
            "a copy arrives",
        ],
    );
}

#[test]
fn a_relay_reads_what_commits_in_whatever_order_in_every_state() {
    nothing_breaks(
        &Relays::new(WRITTEN_MEANWHILE, None),
        51_015,
        &[
            "an event commits below the position",
            "a transaction is rolled back",
            "a request that was given up arrives first",
        ],
    );
}

#[test]
fn two_functions_with_a_transactional_handler_have_one_effect_in_every_state() {
    let model = Transactional {
        crashes: 1,
        lost: 1,
        copies: 1,
        bug: None,
    };
    let shown = [
        "a copy comes when the message was deleted",
        "two functions have the event",
        "a duplicate is refused",
        "a commit is found to be one's own",
        "a commit is found to be another's",
        "a commit is not found, and may still come",
        "what was given up is applied",
        "the transaction of a dead function is applied",
    ];
    nothing_breaks(&model, 7_332, &shown);
}

const fn frozen(policy: Policy, bug: Option<leased::Bug>) -> Leased {
    Leased {
        policy,
        crashes: 0,
        stops: 1,
        lost: 0,
        refusals: 0,
        copies: 0,
        bug,
    }
}

const fn killed(policy: Policy, bug: Option<leased::Bug>) -> Leased {
    Leased {
        crashes: 1,
        stops: 0,
        ..frozen(policy, bug)
    }
}

/// Refused, told wrongly, and delivered again.
const fn refused(policy: Policy, bug: Option<leased::Bug>) -> Leased {
    Leased {
        stops: 0,
        lost: 1,
        refusals: 1,
        copies: 1,
        ..frozen(policy, bug)
    }
}

const SUPERSEDED: [&str; 5] = [
    "two functions have the event",
    "a beat of who was superseded is refused",
    "a completion of who was superseded is refused",
    "a claim is confirmed too late",
    "a request arrives that nobody waits for",
];

#[test]
fn a_leased_handler_that_runs_again_keeps_what_is_promised_in_every_state() {
    nothing_breaks(&frozen(Policy::RetrySameKey, None), 43_979, &SUPERSEDED);
    nothing_breaks(
        &killed(Policy::RetrySameKey, None),
        24_450,
        &["a holder is superseded", "the handler runs again"],
    );
}

#[test]
fn a_leased_handler_that_asks_first_keeps_what_is_promised_in_every_state() {
    nothing_breaks(&killed(Policy::Reconcile, None), 40_596, &SUPERSEDED);
}

#[test]
fn a_leased_handler_that_parks_keeps_what_is_promised_in_every_state() {
    nothing_breaks(&frozen(Policy::Park, None), 2_523, &["a frozen holder is superseded"]);
    nothing_breaks(&killed(Policy::Park, None), 1_521, &["a holder is superseded"]);
    nothing_breaks(
        &refused(Policy::Park, None),
        1_241,
        &["a copy comes when the message was deleted"],
    );
}

#[test]
fn a_leased_handler_that_is_refused_keeps_what_is_promised_in_every_state() {
    nothing_breaks(
        &refused(Policy::RetrySameKey, None),
        62_706,
        &["a copy comes when the message was deleted", "the handler runs again"],
    );
}

/// A test per planted fault.
macro_rules! planted {
    ($($test:ident: $model:expr, $promise:expr;)*) => {
        $(
            #[test]
            fn $test() {
                is_found(&$model, $promise);
            }
        )*
    };
}

const fn transactional(bug: transactional::Bug) -> Transactional {
    Transactional {
        crashes: 1,
        lost: 1,
        copies: 1,
        bug: Some(bug),
    }
}

planted! {
    // The relay.
    the_model_finds_a_cursor_before_its_answer:
        Relays::new(CALM, Some(relay::Bug::CursorBeforeAnswer)), relay::NOTHING_PASSED;
    the_model_finds_an_epoch_that_is_not_checked:
        Relays::new(Setting { keyed: 2, ..STOPPED }, Some(relay::Bug::EpochNotChecked)), relay::MOVED_BY_HOLDER;
    the_model_finds_a_lease_without_end:
        Relays::new(STOPPED, Some(relay::Bug::LeaseWithoutEnd)), relay::ONE_AT_ONCE;
    the_model_finds_a_term_that_counts_from_the_answer:
        Relays::new(SLOW, Some(relay::Bug::TermFromAnswer)), relay::ONE_AT_ONCE;
    the_model_finds_a_takeover_before_the_term_is_over:
        Relays::new(CALM, Some(relay::Bug::DeadTooEarly)), relay::ONE_AT_ONCE;
    the_model_finds_that_nobody_takes_over:
        Relays::new(KILLED, Some(relay::Bug::NobodyDeclaredDead)), COMES_TO_ITS_END;
    the_model_finds_reading_above_the_last_position_only:
        Relays::new(WRITTEN_MEANWHILE, Some(relay::Bug::AboveLastOnly)), relay::NOTHING_PASSED;
    the_model_finds_reading_what_has_not_ended:
        Relays::new(WRITTEN_MEANWHILE, Some(relay::Bug::OpenRead)), relay::NOTHING_ROLLED_BACK;
    the_model_finds_a_successor_before_its_predecessor:
        Relays::new(TWO_EVENTS, Some(relay::Bug::SuccessorNotHeldBack)), relay::IN_ORDER;
    the_model_finds_a_drain_that_waits_for_no_answer:
        Relays::new(CALM, Some(relay::Bug::DrainWithoutAnswers)), relay::ONE_AT_ONCE;
    the_model_finds_that_what_was_given_up_is_forgotten:
        Relays::new(CUT_OFF, Some(relay::Bug::UnansweredForgotten)), relay::ONE_AT_ONCE;
    // The consumer, in one transaction.
    the_model_finds_record_and_effect_in_two_steps:
        transactional(transactional::Bug::TwoSteps), transactional::BOTH_OR_NEITHER;
    the_model_finds_a_condition_that_is_not_checked:
        transactional(transactional::Bug::ConditionNotChecked), transactional::ONE_EFFECT;
    the_model_finds_doubt_that_is_taken_for_done:
        transactional(transactional::Bug::DoubtTakenForDone), transactional::EFFECT_FIRST;
    the_model_finds_a_duplicate_that_is_tried_for_ever:
        transactional(transactional::Bug::DuplicateTriedAgain), COMES_TO_ITS_END;
    // The consumer, under a lease.
    the_model_finds_a_completion_without_a_fence:
        frozen(Policy::RetrySameKey, Some(leased::Bug::CompletionUnfenced)), leased::SUPERSEDED_WRITES_NOTHING;
    the_model_finds_a_beat_without_a_fence:
        frozen(Policy::RetrySameKey, Some(leased::Bug::BeatUnfenced)), leased::SUPERSEDED_WRITES_NOTHING;
    the_model_finds_a_claim_that_is_taken_over_too_early:
        frozen(Policy::RetrySameKey, Some(leased::Bug::TakeoverTooEarly)), leased::ONE_HOLDER;
    the_model_finds_a_handler_that_outlives_its_lease:
        frozen(Policy::RetrySameKey, Some(leased::Bug::LeaseWithoutEnd)), leased::ONE_HOLDER;
    the_model_finds_a_lease_that_counts_from_the_answer:
        frozen(Policy::RetrySameKey, Some(leased::Bug::LeaseFromAnswer)), leased::ONE_HOLDER;
    the_model_finds_a_dead_attempt_that_counts_as_failed:
        killed(Policy::Park, Some(leased::Bug::UnknownTakenForFailed)), leased::UNKNOWN_IS_TOLD;
    the_model_finds_a_doubt_that_is_forgotten:
        refused(Policy::RetrySameKey, Some(leased::Bug::DoubtForgotten)), leased::UNKNOWN_IS_TOLD;
    the_model_finds_a_receiver_that_is_not_asked:
        killed(Policy::Reconcile, Some(leased::Bug::NotReconciled)), leased::AS_DECLARED;
    the_model_finds_a_claim_that_nobody_takes_over:
        killed(Policy::RetrySameKey, Some(leased::Bug::NoTakeover)), COMES_TO_ITS_END;
}
