//! A consumer that is put together wrongly does not start.

use oncebox_consumer::{Consumer, StartError, postgres, transactional};

use crate::ping::{Ping, count, insert};

fn fault(result: Result<Consumer, StartError>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_handler_without_its_store_is_a_fault_at_start() {
    let transactional = Consumer::builder("a").on::<Ping, _>(transactional(count)).build();
    assert!(fault(transactional).contains("`test.ping.v1` is transactional; call `.dedupe("));
    let postgres = Consumer::builder("a").on::<Ping, _>(postgres(insert)).build();
    assert!(fault(postgres).contains("`test.ping.v1` works in Postgres; call `.postgres("));
}

#[test]
fn two_handlers_for_one_type_are_a_fault_even_in_two_modes() {
    let twice = Consumer::builder("a")
        .on::<Ping, _>(transactional(count))
        .on::<Ping, _>(postgres(insert))
        .build();
    assert_eq!(fault(twice), "event type `test.ping.v1` has two handlers; keep one");
}

#[test]
fn a_consumer_needs_a_name_and_a_handler() {
    assert!(matches!(
        Consumer::builder("a").build(),
        Err(StartError::NoHandler { .. })
    ));
    // `#` would let two consumers share a dedupe record.
    for name in ["", "a#b", "a b", &"x".repeat(101)] {
        assert!(
            matches!(Consumer::builder(name).build(), Err(StartError::InvalidName { .. })),
            "{name}"
        );
    }
}

#[test]
fn a_missing_variable_is_named() {
    let consumer = Consumer::builder("a").table_from_env("t", "ONCEBOX_TEST_NO_SUCH_VARIABLE");
    let consumer = consumer.on::<Ping, _>(transactional(count)).build();
    assert!(fault(consumer).contains("`ONCEBOX_TEST_NO_SUCH_VARIABLE` is not set"));
}
