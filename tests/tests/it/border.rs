//! Real Postgres and the relay agree on every call in the corpus of the fuzz target `border`.

use std::{fs, path::Path};

use fuzzing::border::Call;
use sqlx::{PgConnection, postgres::PgDatabaseError};
use system_tests::{Database, Stack};

/// The calls of the corpus, by file.
fn calls() -> Vec<(String, Call)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/border");
    let files = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path());
    let calls: Vec<_> = files
        .filter_map(|file| {
            let call = Call::read(&fs::read(&file).unwrap())?;
            Some((file.file_name()?.to_string_lossy().into_owned(), call))
        })
        .collect();
    assert!(calls.len() > 50, "{} calls", calls.len());
    calls
}

/// Headers and data as Postgres writes them; `None` where they are no `jsonb`, so that no call comes about.
async fn as_written(connection: &mut PgConnection, call: &Call) -> Option<Call> {
    let texts = [&call.event_type, &call.tenant, &call.kind, &call.source];
    if texts.into_iter().chain(&call.key).any(|text| text.contains('\0')) {
        return None;
    }
    let written: Result<(String, String), _> = sqlx::query_as("select $1::text::jsonb::text, $2::text::jsonb::text")
        .bind(&call.headers)
        .bind(&call.data)
        .fetch_one(connection)
        .await;
    let (headers, data) = written.ok()?;
    Some(Call {
        headers,
        data,
        ..call.clone()
    })
}

/// Whether the call is taken; a refusal is one that says so, not some other error.
async fn is_taken(connection: &mut PgConnection, file: &str, call: &Call) -> bool {
    let enqueued = sqlx::query("select oncebox.enqueue($1, $2::text::jsonb, $3, $4, $5, $6, $7::text::jsonb)")
        .bind(&call.event_type)
        .bind(&call.data)
        .bind(&call.key)
        .bind(&call.tenant)
        .bind(&call.kind)
        .bind(&call.source)
        .bind(&call.headers)
        .execute(connection)
        .await;
    let Err(error) = enqueued else { return true };
    let refusal = error
        .as_database_error()
        .expect("an answer")
        .downcast_ref::<PgDatabaseError>();
    assert_eq!(refusal.code(), "22023", "{file}: {error}");
    false
}

#[tokio::test]
async fn postgres_takes_what_the_relay_can_publish_and_nothing_else() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let mut connection = database.connect().await.unwrap();
    let (mut taken, mut differing) = (0, Vec::new());
    let calls = calls();
    for (file, call) in &calls {
        let Some(call) = as_written(&mut connection, call).await else {
            continue;
        };
        let is_taken = is_taken(&mut connection, file, &call).await;
        if is_taken != call.is_publishable() {
            differing.push((file, is_taken, call));
        }
        taken += usize::from(is_taken);
    }
    assert!(differing.is_empty(), "{differing:#?}");
    assert!((10..calls.len() - 10).contains(&taken), "{taken} taken");
}
