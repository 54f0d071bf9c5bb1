//! Records that can never succeed: set aside with their reason, and nobody else is failed.

use std::collections::BTreeMap;

use serde_json::json;
use system_tests::{Record, envelope};

use super::scene::{Mode, Scene, some_invoices};

/// One of each kind between good neighbours.
async fn is_set_aside_with_its_reason(mode: Mode) {
    let scene = Scene::of(mode).await;
    let mut function = scene.function().await;
    let (expected_type, kind) = match mode {
        Mode::Postgres => ("invoice.create.v1", "command"),
        Mode::Transactional => ("invoice.created.v1", "event"),
    };
    let poison = [
        ("this is no JSON {".to_owned(), "not_an_envelope"),
        (
            json!({ "specversion": "1.0", "data": 1 }).to_string(),
            "not_an_envelope",
        ),
        (envelope("nobody.knows.v1", kind, &json!({})), "unknown_type"),
        (
            envelope(expected_type, kind, &json!({ "invoice_id": 7 })),
            "wrong_schema",
        ),
    ];
    let invoices = some_invoices::<2>();
    let mut records = vec![scene.message(invoices[0])];
    records.extend(poison.iter().enumerate().map(|(n, (body, _))| {
        let record = Record::new(body);
        if mode == Mode::Postgres {
            record.in_group(&format!("poison-{n}"))
        } else {
            record
        }
    }));
    records.push(scene.message(invoices[1]));

    assert_eq!(
        function.invoke(&scene.batch(records)).await.unwrap().failures(),
        [""; 0]
    );
    scene.assert_once(&invoices).await;
    let dead = scene.dead_letters.take(poison.len()).await.unwrap();
    let reason =
        |message: &system_tests::Message| message.attributes.get("oncebox-reason").cloned().unwrap_or_default();
    let found: BTreeMap<String, String> = dead
        .iter()
        .map(|message| (message.body.clone(), reason(message)))
        .collect();
    let expected: BTreeMap<String, String> = poison
        .into_iter()
        .map(|(body, reason)| (body, reason.to_owned()))
        .collect();
    assert_eq!(found, expected, "each with its original body and its reason");
    assert!(
        dead.iter()
            .all(|message| !message.attributes["oncebox-error"].is_empty())
    );
}

#[tokio::test]
async fn poison_among_commands_is_set_aside_with_its_reason_and_the_neighbours_are_done() {
    is_set_aside_with_its_reason(Mode::Postgres).await;
}

#[tokio::test]
async fn poison_among_events_is_set_aside_with_its_reason_and_the_neighbours_are_done() {
    is_set_aside_with_its_reason(Mode::Transactional).await;
}

#[tokio::test]
async fn poison_that_the_dead_letter_queue_does_not_take_goes_back_and_its_neighbours_are_done() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    scene
        .proxy
        .inject(usize::MAX, system_tests::Fault::AccessDenied, |request| {
            request.operation == "SendMessage"
        });
    let invoices = some_invoices::<2>();
    let poison = Record::new("this is no JSON {");
    let records = [scene.message(invoices[0]), poison.clone(), scene.message(invoices[1])];

    let answer = function.invoke(&scene.batch(records)).await.unwrap();
    assert_eq!(answer.failures(), [poison.message_id]);
    scene.assert_once(&invoices).await;
}

#[tokio::test]
async fn one_id_with_two_payloads_is_a_fault_and_no_duplicate() {
    let scene = Scene::of(Mode::Transactional).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<1>();
    let honest = system_tests::invoice_created_message(invoices[0]).unwrap();
    let forged = honest.replace("12345", "99999");
    assert_ne!(honest, forged);
    function.invoke(&scene.batch([Record::new(honest)])).await.unwrap();

    assert_eq!(
        function
            .invoke(&scene.batch([Record::new(forged)]))
            .await
            .unwrap()
            .failures(),
        [""; 0]
    );
    let dead = scene.dead_letters.take(1).await.unwrap();
    assert_eq!(dead[0].attributes["oncebox-reason"], "payload_mismatch");
    scene.assert_once(&invoices).await;
}
