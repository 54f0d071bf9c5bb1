//! A function killed at an exact moment, and replies that are lost.

use std::time::Duration;

use system_tests::{Fault, Moment};

use super::scene::{Mode, Scene, some_invoices};

/// The answer has come, so the effect is committed; nobody hears of it.
async fn killed_between_effect_and_response(mode: Mode) {
    let scene = Scene::of(mode).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<3>();
    let batch = scene.batch(invoices.map(|id| scene.message(id)));
    let unheard = function.invoke_unacknowledged(&batch).await.unwrap();
    assert_eq!(unheard.answer.failures(), [""; 0]);
    scene.assert_once(&invoices).await;
    function.kill().await.unwrap();

    let mut next = scene.function().await;
    assert_eq!(next.invoke(&batch.again()).await.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
    assert_eq!(next.outcomes(), ["duplicate"; 3]);
}

#[tokio::test]
async fn killed_between_effect_and_response_the_effect_in_postgres_stays_one() {
    killed_between_effect_and_response(Mode::Postgres).await;
}

#[tokio::test]
async fn killed_between_effect_and_response_the_effect_in_dynamodb_stays_one() {
    killed_between_effect_and_response(Mode::Transactional).await;
}

#[tokio::test]
async fn killed_before_its_effect_a_function_leaves_nothing_that_stops_the_next() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<2>();
    let batch = scene.batch(invoices.map(|id| scene.message(id)));
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, |request| {
        request.operation == "TransactWriteItems"
    });
    tokio::select! {
        answer = function.invoke(&batch) => panic!("answered without having written: {answer:?}"),
        reached = gate.reached(1) => reached.unwrap(),
    }
    function.kill().await.unwrap();
    gate.discard();
    scene.proxy.heal();
    scene.assert_once(&[]).await;

    let mut next = scene.function().await;
    assert_eq!(next.invoke(&batch.again()).await.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_not_done_again() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<2>();
    let batch = scene.batch(invoices.map(|id| scene.message(id)));
    scene
        .proxy
        .inject(6, Fault::LoseReply, |request| request.operation == "TransactWriteItems");

    let returned = function.invoke(&batch).await.unwrap().failures();
    if !returned.is_empty() {
        // Allowed: it may give back what it is not sure of.
        assert_eq!(function.invoke(&batch.again()).await.unwrap().failures(), [""; 0]);
    }
    scene.assert_once(&invoices).await;
}

#[tokio::test]
async fn a_store_that_is_down_gives_every_message_back() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<2>();
    let records = invoices.map(|id| scene.message(id));
    let mut all: Vec<String> = records.iter().map(|record| record.message_id.clone()).collect();
    all.sort();
    let mut batch = scene.batch(records);
    // It tries until its time is nearly over.
    batch.deadline = Duration::from_secs(3);
    scene.proxy.inject(usize::MAX, Fault::Status(500), |request| {
        request.operation.contains("Item")
    });
    assert_eq!(function.invoke(&batch).await.unwrap().failures(), all);
    scene.proxy.heal();
    scene.assert_once(&[]).await;

    assert_eq!(function.invoke(&batch.again()).await.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
}
