//! The process of a function: its start, several invocations at once, its end, and what it prints.

use serde_json::Value;
use system_tests::{Batch, Function, Moment};

use super::scene::{Mode, Scene, some_invoices};

#[tokio::test]
async fn a_function_asks_for_its_first_event_without_waiting_for_anybody() {
    for mode in [Mode::Transactional, Mode::Postgres] {
        let scene = Scene::of(mode).await;
        // Nobody is answered; the database is not asked either.
        let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, |_| true);
        let nowhere = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing");
        let function = scene.function_with(&[nowhere]).await;
        println!(
            "{mode:?}: {} ms from start to the first question",
            function.init_time().as_millis()
        );
        gate.discard();
        scene.proxy.heal();
    }
}

#[tokio::test]
async fn several_invocations_run_at_once_in_one_process_with_one_effect_each() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function_with(&[("AWS_LAMBDA_MAX_CONCURRENCY", "3")]).await;
    let invoices = some_invoices::<3>();
    let records = invoices.map(|id| scene.message(id));
    let mut batches: Vec<Batch> = records.iter().map(|record| scene.batch([record.clone()])).collect();
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, |request| {
        request.operation == "TransactWriteItems"
    });
    let all_at_once = async {
        gate.reached(3).await.unwrap();
        gate.release();
    };
    let (answers, ()) = tokio::join!(function.invoke_all(&batches), all_at_once);
    for answer in answers.unwrap() {
        assert_eq!(answer.failures(), [""; 0]);
    }
    scene.assert_once(&invoices).await;

    // Copies of one message in three invocations at once.
    batches.fill(scene.batch([records[0].copy()]));
    for answer in function.invoke_all(&batches).await.unwrap() {
        assert_eq!(answer.failures(), [""; 0]);
    }
    scene.assert_once(&invoices).await;
}

#[tokio::test]
async fn sigterm_ends_an_idle_function_by_itself() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    let (code, answer) = function.terminate().await.unwrap();
    assert_eq!(code, Some(0));
    assert!(answer.is_none());
}

/// A function that is stopped while its write is on its way; what it did not end is done by the next.
async fn stopped_in_the_middle(is_answered: bool) {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<3>();
    let batch = scene.batch(invoices.map(|id| scene.message(id)));
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, |request| {
        request.operation == "TransactWriteItems"
    });
    function.hand_over(&batch).unwrap();
    gate.reached(1).await.unwrap();
    if is_answered {
        gate.release();
    }
    let (code, answer) = function.terminate().await.unwrap();
    assert_eq!(code, Some(0), "it ends by itself within its time");
    assert!(is_answered || answer.is_none());
    gate.discard();
    scene.proxy.heal();

    let mut next: Function = scene.function().await;
    assert_eq!(next.invoke(&batch.again()).await.unwrap().failures(), [""; 0]);
    scene.assert_once(&invoices).await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_batch_lets_it_end_and_loses_and_doubles_nothing() {
    stopped_in_the_middle(true).await;
}

#[tokio::test]
async fn sigterm_abandons_what_does_not_end_and_loses_and_doubles_nothing() {
    stopped_in_the_middle(false).await;
}

#[tokio::test]
async fn a_batch_leaves_metrics_and_lines_without_payloads_whatever_the_level() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function_with(&[("RUST_LOG", "trace")]).await;
    let invoices = some_invoices::<2>();
    let [first, second] = invoices.map(|id| scene.message(id));
    let batch = scene.batch([first.clone(), first.copy(), second]);
    assert_eq!(function.invoke(&batch).await.unwrap().failures(), [""; 0]);

    let lines = function.lines();
    let metrics: Vec<Value> = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("_aws").is_some())
        .collect();
    assert_eq!(metrics.len(), 1, "one type: {metrics:?}");
    let (line, about) = (&metrics[0], &metrics[0]["_aws"]["CloudWatchMetrics"][0]);
    assert_eq!((&line["Processed"], &line["Duplicates"]), (&2.into(), &1.into()));
    assert_eq!(
        about["Dimensions"],
        serde_json::json!([["consumer"], ["consumer", "event_type"]])
    );
    assert_eq!(line["AgeMs"].as_array().unwrap().len(), 2);
    for invoice in invoices {
        let shown: Vec<&String> = lines
            .iter()
            .filter(|line| line.contains(&invoice.to_string()))
            .collect();
        assert!(shown.is_empty(), "a payload in the log: {shown:?}");
    }
}
