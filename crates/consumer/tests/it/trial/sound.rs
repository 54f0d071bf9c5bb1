//! Sound handlers pass, and every kind of scenario was played.

use std::time::Duration;

use oncebox_consumer::{
    Consumer, Key, leased, postgres,
    test_kit::{MemoryTables, Report, Scenario, Trial, without_waiting},
    transactional,
};

use super::planted::{Ask, Fault, Planted, World};
use crate::{
    ping::{Act, Ping, count, insert},
    stack::{Database, Tables},
};

pub(super) fn ping(_: usize) -> Ping {
    Ping { act: Act::Succeed }
}

/// As a word, whatever the boundary.
pub(super) fn kind(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Clean => "clean",
        Scenario::Reordered => "reordered",
        Scenario::Crash { .. } => "crash",
        Scenario::Frozen { .. } => "frozen",
        Scenario::AtOnce { copies: 2, .. } => "two at once",
        Scenario::AtOnce { .. } => "three at once",
        Scenario::Faulty { .. } => "faulty",
        Scenario::Outage { .. } => "outage",
        other => panic!("{other:?} is new: add it here"),
    }
}

/// Every kind was played, those that have boundaries at `boundaries` of them at least.
fn assert_played(report: &Report, boundaries: usize) {
    let times = |wanted: &str| {
        report
            .scenarios
            .iter()
            .filter(|scenario| kind(**scenario) == wanted)
            .count()
    };
    for wanted in ["clean", "reordered"] {
        assert_eq!(times(wanted), 1, "{wanted}: {report:?}");
    }
    for wanted in ["crash", "frozen", "two at once", "three at once"] {
        assert!(times(wanted) >= boundaries, "{wanted}: {report:?}");
    }
    for wanted in ["faulty", "outage"] {
        assert!(times(wanted) >= 2, "{wanted}: {report:?}");
    }
}

#[tokio::test]
async fn a_transactional_handler_passes_over_tables_in_memory() {
    let tables = MemoryTables::new().table("effects", &["pk"]);
    let function = || {
        let builder = Consumer::builder("test").dedupe(tables.dedupe());
        builder.on::<Ping, _>(transactional(count))
    };
    let trial = Trial::new(function, ping);
    let effects = async |event: &oncebox_envelope::Envelope<Ping>| {
        tables.number("effects", Key::new("pk", event.id.to_string()), "times")
    };
    // Before and after the one transaction.
    assert_played(&trial.run(effects).await.unwrap(), 2);
}

#[tokio::test]
async fn a_transactional_handler_passes_over_dynamodb() {
    let tables = Tables::new().await;
    let trial = Trial::new(|| tables.builder(), ping);
    let effects = async |event: &oncebox_envelope::Envelope<Ping>| {
        usize::try_from(tables.times(*event.id.as_uuid()).await).unwrap()
    };
    assert_played(&trial.run(effects).await.unwrap(), 3);
}

#[tokio::test]
async fn a_postgres_handler_passes() {
    let database = Database::new().await;
    let function = || database.empty_builder().on::<Ping, _>(postgres(insert));
    let effects = async |event: &oncebox_envelope::Envelope<Ping>| {
        usize::try_from(database.times(*event.id.as_uuid()).await).unwrap()
    };
    assert_played(&Trial::new(function, ping).run(effects).await.unwrap(), 3);
}

#[tokio::test]
async fn leased_handlers_pass_with_the_policy_that_suits_their_receiver() {
    for policy in ["retry the same key", "reconcile", "park"] {
        without_waiting(1, async {
            let (tables, world) = (MemoryTables::new(), World::default());
            let function = || {
                let builder = Consumer::builder("test").dedupe(tables.dedupe());
                let handler = |fault| leased(Planted(fault, world.clone()));
                match policy {
                    "park" => builder.on::<Ping, _>(handler(Fault::NoFence).park()),
                    "reconcile" => builder.on::<Ping, _>(handler(Fault::None).reconcile(Ask(world.clone()))),
                    _ => builder.on::<Ping, _>(handler(Fault::KnowsTheKey).retry_same_key()),
                }
            };
            let effects = async |event: &oncebox_envelope::Envelope<Ping>| world.effects(event);
            let report = Trial::new(function, ping).run(effects).await.unwrap();
            // Before and after claim and completion, and while the handler waits.
            assert_played(&report, 5);
        })
        .await;
    }
}

#[tokio::test]
async fn a_leased_handler_passes_over_dynamodb() {
    let (tables, world) = (Tables::new().await, World::default());
    let function = || {
        let handler = leased(Planted(Fault::KnowsTheKey, world.clone()));
        let handler = handler.lease(Duration::from_millis(500)).retry_same_key();
        tables.empty_builder().on::<Ping, _>(handler)
    };
    let effects = async |event: &oncebox_envelope::Envelope<Ping>| world.effects(event);
    assert_played(&Trial::new(function, ping).run(effects).await.unwrap(), 5);
}

#[tokio::test]
async fn where_at_least_one_effect_was_declared_two_are_no_fault_and_none_is() {
    for (fault, is_caught) in [(Fault::NoFence, false), (Fault::Never, true)] {
        without_waiting(1, async {
            let (tables, world) = (MemoryTables::new(), World::default());
            let function = || {
                let builder = Consumer::builder("test").dedupe(tables.dedupe());
                builder.on::<Ping, _>(leased(Planted(fault, world.clone())).retry_same_key())
            };
            let effects = async |event: &oncebox_envelope::Envelope<Ping>| world.effects(event);
            let caught = Trial::new(function, ping).at_least_once().run(effects).await;
            assert_eq!(caught.is_err(), is_caught, "{fault:?}: {caught:?}");
        })
        .await;
    }
}
