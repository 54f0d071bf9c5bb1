//! The relay's reading of the log, on a real Postgres, a page at a time.

mod late;

use outbox_relay::database::session::Session;
use outbox_relay::log::{
    Seq,
    cursor::{Base, Run},
    page::{self, PageLimits, Row, Selection},
    parked::Changes,
    snapshot::Snapshot,
    store::{self, Claim, Place, Start, StoreError},
};
use sqlx::{Connection as _, PgConnection};
use system_tests::{Database, Stack};

use crate::claims::{claim_all, session};

const WIDE: PageLimits = PageLimits {
    span: 1_000,
    max_bytes: 1_000_000,
};

async fn database() -> Database {
    Database::create(&Stack::from_env().await.unwrap()).await.unwrap()
}

struct Reader {
    session: Session,
    base: Base,
    seq_before: Seq,
}

impl Reader {
    async fn at_the_beginning(database: &Database) -> Self {
        Self {
            session: session(database).await,
            base: Base::beginning(),
            seq_before: 0,
        }
    }

    /// Everything that is new since the last call, page by page.
    async fn read(&mut self, selection: &Selection, limits: PageLimits) -> Vec<Vec<Row>> {
        let target = page::look(&mut self.session, self.seq_before).await.unwrap();
        self.seq_before = target.seq_after;
        let base = self.base.clone();
        let run = Run { base, target };
        let mut pages = Vec::new();
        let mut position = run.start();
        while let Some(page) = page::read(&mut self.session, &run, selection, position, limits)
            .await
            .unwrap()
        {
            assert!(page.read_to > position, "each page leads on");
            position = page.read_to;
            if !page.rows.is_empty() {
                pages.push(page.rows);
            }
        }
        self.base = run.completed();
        pages
    }
}

fn seqs(pages: &[Vec<Row>]) -> Vec<Seq> {
    pages.iter().flatten().map(|row| row.seq).collect()
}

async fn enqueue(connection: &mut PgConnection, events: i64, bytes: i32) {
    sqlx::query("select oncebox.enqueue('thing.happened.v1', to_jsonb(repeat('x', $2))) from generate_series(1, $1)")
        .bind(events)
        .bind(bytes)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_late_transaction_of_many_pages_is_read_whole_and_in_order() {
    let database = database().await;
    let (mut late, mut other) = (database.connect().await.unwrap(), database.connect().await.unwrap());
    let mut reader = Reader::at_the_beginning(&database).await;
    let mut late = late.begin().await.unwrap();
    enqueue(&mut late, 25, 1).await;
    enqueue(&mut other, 10, 1).await;
    enqueue(&mut late, 25, 1).await;
    let limits = PageLimits { span: 7, ..WIDE };
    let early = seqs(&reader.read(&Selection::default(), limits).await);
    assert_eq!(early, (26..=35).collect::<Vec<Seq>>());
    enqueue(&mut other, 5, 1).await;
    assert_eq!(
        seqs(&reader.read(&Selection::default(), limits).await),
        (61..=65).collect::<Vec<Seq>>()
    );
    late.commit().await.unwrap();
    enqueue(&mut other, 5, 1).await;
    let rest = seqs(&reader.read(&Selection::default(), limits).await);
    let expected: Vec<Seq> = (1..=25).chain(36..=60).chain(66..=70).collect();
    assert_eq!(rest, expected);
    assert!(reader.read(&Selection::default(), limits).await.is_empty());
}

#[tokio::test]
async fn a_prepared_transaction_is_read_when_it_commits_and_savepoints_count_with_their_transaction() {
    let database = database().await;
    let mut writer = database.connect().await.unwrap();
    let mut reader = Reader::at_the_beginning(&database).await;
    let mut transaction = writer.begin().await.unwrap();
    enqueue(&mut transaction, 1, 1).await;
    let mut lost = transaction.begin().await.unwrap();
    enqueue(&mut lost, 1, 1).await;
    lost.rollback().await.unwrap();
    let mut kept = transaction.begin().await.unwrap();
    enqueue(&mut kept, 1, 1).await;
    kept.commit().await.unwrap();
    assert!(reader.read(&Selection::default(), WIDE).await.is_empty());
    // The server ends the transaction for this session; sqlx's rollback on drop finds none.
    sqlx::query("prepare transaction 'two-phase'")
        .execute(&mut *transaction)
        .await
        .unwrap();
    drop(transaction);
    assert!(
        reader.read(&Selection::default(), WIDE).await.is_empty(),
        "prepared is not committed"
    );
    let mut other = database.connect().await.unwrap();
    enqueue(&mut other, 1, 1).await;
    assert_eq!(seqs(&reader.read(&Selection::default(), WIDE).await), [4]);
    sqlx::query("commit prepared 'two-phase'")
        .execute(&mut other)
        .await
        .unwrap();
    assert_eq!(seqs(&reader.read(&Selection::default(), WIDE).await), [1, 3]);
}

#[tokio::test]
async fn a_page_ends_at_its_bytes_and_an_event_larger_than_a_page_is_read_alone() {
    let database = database().await;
    let mut writer = database.connect().await.unwrap();
    let mut reader = Reader::at_the_beginning(&database).await;
    enqueue(&mut writer, 5, 400).await;
    enqueue(&mut writer, 1, 5_000).await;
    enqueue(&mut writer, 2, 400).await;
    let limits = PageLimits {
        max_bytes: 1_000,
        ..WIDE
    };
    let pages = reader.read(&Selection::default(), limits).await;
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 3, 2], "a page goes on while it is below its bytes");
    assert_eq!(seqs(&pages), (1..=8).collect::<Vec<Seq>>());
}

#[tokio::test]
async fn a_selection_takes_types_kinds_tenants_and_shards() {
    let database = database().await;
    let mut writer = database.connect().await.unwrap();
    for (event_type, kind, tenant, key) in [
        ("invoice.created.v1", "event", "acme", "a"),
        ("invoice.create.v1", "command", "acme", "b"),
        ("invoicexcreated.v1", "event", "zeta", "c"),
        ("payment_taken.v1", "event", "acme", "a"),
        ("paymentxtaken.v1", "event", "acme", "a"),
    ] {
        sqlx::query("select oncebox.enqueue($1, '{}', kind => $2, tenant => $3, key => $4)")
            .bind(event_type)
            .bind(kind)
            .bind(tenant)
            .bind(key)
            .execute(&mut writer)
            .await
            .unwrap();
    }
    let list = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let all = Selection::default();
    let cases = [
        (all.clone(), vec![1, 2, 3, 4, 5]),
        (
            Selection {
                types: list(&["invoice.%"]),
                ..all.clone()
            },
            vec![1, 2],
        ),
        (
            Selection {
                types: list(&["payment\\_taken.%"]),
                ..all.clone()
            },
            vec![4],
        ),
        (
            Selection {
                kinds: list(&["command", "query"]),
                ..all.clone()
            },
            vec![2],
        ),
        (
            Selection {
                tenants: list(&["zeta"]),
                kinds: list(&["event"]),
                ..all.clone()
            },
            vec![3],
        ),
    ];
    for (selection, expected) in cases {
        let mut reader = Reader::at_the_beginning(&database).await;
        assert_eq!(seqs(&reader.read(&selection, WIDE).await), expected, "{selection:?}");
    }
    let mut by_shard = Vec::new();
    for shard in 0..store::SHARDS {
        let selection = Selection {
            shards: Some(vec![shard]),
            ..all.clone()
        };
        let mut reader = Reader::at_the_beginning(&database).await;
        by_shard.extend(seqs(&reader.read(&selection, WIDE).await));
    }
    by_shard.sort_unstable();
    assert_eq!(by_shard, [1, 2, 3, 4, 5], "each event is in one shard");
}

#[tokio::test]
async fn a_sink_that_begins_now_gets_what_commits_from_then_on() {
    let database = database().await;
    let (mut writer, mut session) = (database.connect().await.unwrap(), session(&database).await);
    let mut other = database.connect().await.unwrap();
    enqueue(&mut other, 3, 1).await;
    let mut running = writer.begin().await.unwrap();
    enqueue(&mut running, 1, 1).await;
    let claims = claim_all(&mut session, "tap", "me", Start::Now).await;
    running.commit().await.unwrap();
    enqueue(&mut other, 1, 1).await;
    let mut reader = Reader {
        base: claims[0].place.base.clone(),
        ..Reader::at_the_beginning(&database).await
    };
    assert_eq!(seqs(&reader.read(&Selection::default(), WIDE).await), [4, 5]);
}

fn place(snapshot: &str, seq: Seq) -> Place {
    let snapshot: Snapshot = snapshot.parse().unwrap();
    Place {
        base: Base {
            floors: vec![7; snapshot.xip().len()],
            next_xid: snapshot.xmax() + 3,
            snapshot,
            seq,
            open_floor: 5,
        },
        under_way: None,
    }
}

#[tokio::test]
async fn a_cursor_is_what_was_saved_down_to_the_position_within_a_run() {
    let database = database().await;
    let mut connection = database.connect().await.unwrap();
    let mut session = session(&database).await;
    enqueue(&mut connection, 60, 1).await;
    let mut claims = claim_all(&mut session, "tap", "me", Start::Beginning).await;
    assert_eq!(claims.len(), 1, "all shards of a new sink stand at one place");
    let claim = &mut claims[0];
    assert_eq!(claim.shards.len(), 16);
    claim.place = place("5:15:5,8", 40);
    let target = page::look(&mut session, 55).await.unwrap();
    claim.place.under_way = Some((target, 44));
    store::save(&mut session, "tap", std::slice::from_ref(claim), &Changes::default())
        .await
        .unwrap();
    let again = claim_all(&mut session, "tap", "another", Start::Now).await;
    assert_eq!(again[0].place, claim.place);
    assert_eq!(
        again[0].shards[0].1,
        claim.shards[0].1 + 1,
        "a new claim has a new epoch"
    );
}

#[tokio::test]
async fn a_claim_that_lost_one_shard_saves_none() {
    let database = database().await;
    let mut connection = database.connect().await.unwrap();
    let mut session = session(&database).await;
    enqueue(&mut connection, 60, 1).await;
    let mut old: Claim = claim_all(&mut session, "tap", "old", Start::Beginning).await.remove(0);
    sqlx::query("update oncebox.cursor set epoch = epoch + 1 where shard = 9")
        .execute(&mut connection)
        .await
        .unwrap();
    old.place = place("5:5:", 40);
    let refused = store::save(&mut session, "tap", std::slice::from_ref(&old), &Changes::default()).await;
    assert!(matches!(refused, Err(StoreError::Superseded { .. })), "{refused:?}");
    let moved: i64 = sqlx::query_scalar("select count(*) from oncebox.cursor where base_seq <> 0")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(moved, 0, "a relay that was superseded moves no cursor");
    // Shards that stand at different places come as claims of their own.
    old.shards.retain(|(shard, _)| *shard != 9);
    store::save(&mut session, "tap", std::slice::from_ref(&old), &Changes::default())
        .await
        .unwrap();
    let claims = claim_all(&mut session, "tap", "new", Start::Beginning).await;
    let mut sizes: Vec<usize> = claims.iter().map(|claim| claim.shards.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 15]);
}
