//! Per-key order on FIFO, with failures in the middle of a group.

use sqlx::{AssertSqlSafe, Executor as _};
use system_tests::{Record, create_invoice_message};
use uuid::Uuid;

use super::scene::{Mode, Scene, some_invoices};

fn command(invoice_id: Uuid, group: &str) -> Record {
    Record::new(create_invoice_message(invoice_id).unwrap()).in_group(group)
}

/// The database refuses this invoice, with an error that may pass.
async fn refuse(scene: &Scene, invoice_id: Uuid) {
    let sql = format!(
        "create function invoicing.refuse() returns trigger language plpgsql as $$
         begin raise exception 'not now' using errcode = 'serialization_failure'; end $$;
         create trigger refuse before insert on invoicing.invoice
         for each row when (new.invoice_id = '{invoice_id}') execute function invoicing.refuse()"
    );
    scene
        .database
        .connect()
        .await
        .unwrap()
        .execute(AssertSqlSafe(sql))
        .await
        .unwrap();
}

async fn accept_again(scene: &Scene) {
    scene
        .database
        .connect()
        .await
        .unwrap()
        .execute("drop trigger refuse on invoicing.invoice")
        .await
        .unwrap();
}

/// The invoices in the order in which they were created.
async fn created(scene: &Scene) -> Vec<Uuid> {
    let rows = sqlx::query_scalar("select invoice_id from invoicing.invoice order by id");
    rows.fetch_all(&scene.database.pool).await.unwrap()
}

#[tokio::test]
async fn a_failure_in_the_middle_of_a_group_returns_it_and_all_that_follows_it() {
    let scene = Scene::of(Mode::Postgres).await;
    let mut function = scene.function().await;
    let [a1, a2, a3, a4] = some_invoices::<4>();
    let [b1, b2] = some_invoices::<2>();
    refuse(&scene, a2).await;
    let records = [
        command(a1, "a"),
        command(b1, "b"),
        command(a2, "a"),
        command(a3, "a"),
        command(b2, "b"),
        command(a4, "a"),
    ];
    let mut expected: Vec<String> = [2, 3, 5]
        .iter()
        .map(|n: &usize| records[*n].message_id.clone())
        .collect();
    expected.sort();
    let returned = [records[2].again(), records[3].again(), records[5].again()];

    let answer = function.invoke(&scene.batch(records)).await.unwrap();
    assert_eq!(
        answer.failures(),
        expected,
        "the failed one and the later ones of its group, nobody else"
    );
    let mut done = created(&scene).await;
    done.sort();
    let mut others = vec![a1, b1, b2];
    others.sort();
    assert_eq!(done, others);

    accept_again(&scene).await;
    assert_eq!(
        function.invoke(&scene.batch(returned)).await.unwrap().failures(),
        [""; 0]
    );
    let group_a: Vec<Uuid> = created(&scene)
        .await
        .into_iter()
        .filter(|id| [a1, a2, a3, a4].contains(id))
        .collect();
    assert_eq!(group_a, [a1, a2, a3, a4]);
    scene.assert_once(&[a1, a2, a3, a4, b1, b2]).await;
}

#[tokio::test]
async fn poison_in_the_middle_of_a_group_is_set_aside_and_the_group_goes_on_in_order() {
    let scene = Scene::of(Mode::Postgres).await;
    let mut function = scene.function().await;
    let invoices = some_invoices::<3>();
    let [first, second, third] = invoices.map(|id| command(id, "a"));
    let poison = Record::new("no JSON").in_group("a");

    let answer = function
        .invoke(&scene.batch([first, second, poison, third]))
        .await
        .unwrap();
    assert_eq!(answer.failures(), [""; 0]);
    assert_eq!(created(&scene).await, invoices);
    let dead = scene.dead_letters.take(1).await.unwrap();
    assert_eq!(dead[0].group.as_deref(), Some("a"), "the dead letter keeps its group");
}
