//! `outbox-relay cursor rebase`: a log that comes from another cluster.

use std::process::Stdio;

use anyhow::{Result, ensure};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _};
use system_tests::{AwsProxy, Database, EVERYTHING, Entry, Queue, Relay, RelayConfig, enqueue, until};

use super::scene::Scene;

const SINK: &str = "all";

/// Moves all transaction ids, and gives the cursors another cluster's identifier: what a dump looks
/// like that was made elsewhere. `{by}` is a SQL expression.
const MOVE_IDS: &str = "
create function pg_temp.moved(s pg_snapshot, by bigint) returns pg_snapshot language sql strict as $$
  select case when s::text = '1:1:' then s else (
    select format('%s:%s:%s', pg_snapshot_xmin(s)::text::bigint + by, pg_snapshot_xmax(s)::text::bigint + by,
                  (select string_agg((x::text::bigint + by)::text, ',' order by x::text::bigint) from pg_snapshot_xip(s) x))
           ::pg_snapshot) end
$$;
create temp table distance as select ({by})::bigint as by;
update oncebox.event set xid = xid + by from distance;
update oncebox.cursor
set base = pg_temp.moved(base, by), target = pg_temp.moved(target, by), target_next_xid = target_next_xid + by,
    base_next_xid = case when base_next_xid = 1 then 1 else base_next_xid + by end, system_id = 12345
from distance";
/// Ids that this cluster will not have had for years.
const FAR_ABOVE: &str = "5000000000";
/// The lowest ids there are: this cluster has given all of them out long ago.
const FAR_BELOW: &str = "3 - least((select min(xid) from oncebox.event),
    (select min(pg_snapshot_xmin(base)::text::bigint) from oncebox.cursor where base::text <> '1:1:'))";

struct Restored {
    scene: Scene,
    proxy: AwsProxy,
    queue: Queue,
}

impl Restored {
    /// An empty scene, to be filled by a dump of `source`.
    async fn from(source: &Scene, by: &str) -> Self {
        let stack = source.stack.clone();
        let database = Database::create_empty(&stack).await.unwrap();
        let dump = tokio::process::Command::new(stack.psql.with_file_name("pg_dump"))
            .args(["--no-owner", source.database.url.as_str()])
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), dump.stdout).unwrap();
        let restored = tokio::process::Command::new(&stack.psql)
            .args(["-v", "ON_ERROR_STOP=1", "-q", "-f"])
            .arg(file.path())
            .arg(database.url.as_str())
            .stdout(Stdio::null())
            .status()
            .await
            .unwrap();
        assert!(restored.success());
        let mut connection = database.connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(MOVE_IDS.replace("{by}", by)))
            .execute(&mut connection)
            .await
            .unwrap();
        let proxy = AwsProxy::start(&stack).await.unwrap();
        let queue = Queue::fifo(&stack).await.unwrap();
        Self {
            scene: Scene { stack, database },
            proxy,
            queue,
        }
    }

    fn config(&self) -> RelayConfig {
        RelayConfig::new(&self.scene.database)
            .sink(SINK, EVERYTHING, &self.queue)
            .env("AWS_ENDPOINT_URL", &self.proxy.endpoint)
    }

    fn taken(&self) -> Vec<String> {
        self.proxy.taken().into_iter().map(|entry| entry.event_id).collect()
    }

    async fn published(&self, ids: &[String]) {
        let look = async || -> Result<()> {
            let taken = self.taken();
            let missing: Vec<&String> = ids.iter().filter(|id| !taken.contains(id)).collect();
            ensure!(missing.is_empty(), "{} of {} are missing", missing.len(), ids.len());
            Ok(())
        };
        until("all events to be published", look).await.unwrap();
    }

    fn sequences(&self, key: &str) -> Vec<i64> {
        let of_key = |entry: &Entry| (entry.key.as_deref() == Some(key)).then_some(entry.sequence)?;
        self.proxy.taken().iter().filter_map(of_key).collect()
    }
}

/// A database whose relay has published `published`, and not `waiting`.
struct Source {
    scene: Scene,
    published: Vec<String>,
    waiting: Vec<String>,
}

async fn source() -> Source {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let config = RelayConfig::new(&scene.database)
        .sink(SINK, EVERYTHING, &queue)
        .env("AWS_ENDPOINT_URL", &scene.stack.endpoint);
    let relay = Relay::start(&config).await.unwrap();
    let mut late = scene.database.connect().await.unwrap();
    let mut late = late.begin().await.unwrap();
    let mut waiting = vec![enqueue(&mut late, Some("late")).await.unwrap()];
    // A number that nobody has: somebody rolled back.
    scene.execute("select nextval('oncebox.event_seq')").await;
    let mut published = Vec::new();
    for n in 0..30 {
        published.push(scene.database.enqueue(Some(&format!("key-{}", n % 7))).await.unwrap());
    }
    until("all but the late one to be published", async || {
        let ahead = scene.database.unpublished(SINK).await?;
        ensure!(ahead == 0, "{ahead} ahead");
        Ok(())
    })
    .await
    .unwrap();
    relay.stop().await.unwrap();
    late.commit().await.unwrap();
    for n in 0..10 {
        waiting.push(scene.database.enqueue(Some(&format!("key-{}", n % 7))).await.unwrap());
    }
    Source {
        scene,
        published,
        waiting,
    }
}

/// The whole way: restore, write on, be refused, rebase with a transaction open, go on.
async fn a_restored_log_goes_on(by: &str) {
    let source = source().await;
    let restored = Restored::from(&source.scene, by).await;
    let scene = &restored.scene;
    // A relay that was running when the dump was made.
    scene
        .execute("insert into oncebox.relay (id, sinks, term_ms) values ('old', '{all}', 300)")
        .await;
    // Producers did not wait for the rebase.
    let mut expected = source.waiting.clone();
    expected.extend(scene.database.enqueue_many(Some("key-1"), 2).await.unwrap());
    // In shards, too, that had published everything.
    for n in 0..8 {
        expected.push(scene.database.enqueue(Some(&format!("native-{n}"))).await.unwrap());
    }
    // This machine's clock is behind the one of the machine that the dump is from.
    scene
        .execute("update oncebox.event set time = time - interval '1 day' where seq > 42")
        .await;
    let exit = Relay::spawn(&restored.config()).unwrap().quiet().ended().await.unwrap();
    assert_eq!(exit.code, Some(1), "{}", exit.printed);
    assert!(exit.printed.contains("cursor rebase"), "{}", exit.printed);
    assert_eq!(restored.taken(), Vec::<String>::new());

    let rows = "select md5(string_agg(e::text, ';' order by seq)) from oncebox.event e";
    let before = scene.texts(rows).await;
    let dry = scene.json(&["cursor", "rebase", "--dry-run"]).await;
    assert_eq!((&dry["rows"], &dry["dry_run"]), (&json!(51), &json!(true)), "{dry}");
    assert_eq!(scene.texts(rows).await, before, "a dry run changes nothing");

    let mut open = scene.database.connect().await.unwrap();
    let mut open = open.begin().await.unwrap();
    expected.push(enqueue(&mut open, Some("open")).await.unwrap());
    let report = scene.json(&["cursor", "rebase", "--yes"]).await;
    assert_eq!(
        scene.number("select count(*) from oncebox.relay").await,
        0,
        "dead relays are forgotten: {report}"
    );
    assert_eq!(
        report["sinks"][0]["from"],
        json!(1),
        "the late event has the lowest position: {report}"
    );
    open.commit().await.unwrap();
    expected.extend(scene.database.enqueue_many(Some("key-1"), 3).await.unwrap());

    let relay = Relay::start(&restored.config()).await.unwrap();
    expected.extend(scene.database.enqueue_many(Some("key-2"), 3).await.unwrap());
    restored.published(&expected).await;
    // Numbers go on where they were, and each key in order.
    for (key, last) in [("key-1", 12), ("key-2", 9), ("late", 1), ("open", 1)] {
        let sequences = restored.sequences(key);
        assert!(sequences.is_sorted(), "{key}: {sequences:?}");
        assert_eq!(sequences.last(), Some(&last), "{key}: {sequences:?}");
    }
    relay.stop().await.unwrap();
    let again = scene.done(&["cursor", "rebase", "--yes"]).await;
    assert!(again.contains("nothing to rebase"), "{again}");
    // The late event is alone in its shard or shares it with few: the rest was not sent again.
    let repeated = restored
        .taken()
        .iter()
        .filter(|id| source.published.contains(id))
        .count();
    assert!(
        repeated < source.published.len(),
        "{repeated} of {} again",
        source.published.len()
    );
}

#[tokio::test]
async fn a_restored_log_with_ids_above_the_clusters_loses_nothing() {
    a_restored_log_goes_on(FAR_ABOVE).await;
}

#[tokio::test]
async fn a_restored_log_with_ids_below_the_clusters_loses_nothing() {
    a_restored_log_goes_on(FAR_BELOW).await;
}

#[tokio::test]
async fn shards_within_a_run_go_on_from_their_own_positions() {
    let source = source().await;
    let reset = |to: &'static str, shard: &'static str| {
        ["cursor", "reset", "--sink", SINK, "--to", to, "--shard", shard, "--yes"]
    };
    source.scene.done(&reset("11", "0,1,2,3,4,5,6,7")).await;
    source.scene.done(&reset("beginning", "8")).await;
    let position = "select string_agg(f, ' ' order by shard) from (
        select e.bucket / 16 as shard, e.bucket / 16 || ':' || min(seq) as f from oncebox.event e
        join oncebox.cursor c on c.shard = e.bucket / 16
        where not (pg_visible_in_snapshot(xid::text::xid8, base)
                   or coalesce(seq <= position and pg_visible_in_snapshot(xid::text::xid8, target), false))
        group by 1) s";
    let expected = source.scene.texts(position).await;
    let restored = Restored::from(&source.scene, FAR_ABOVE).await;
    restored.scene.done(&["cursor", "rebase", "--yes"]).await;
    // What counts as unpublished is at least what did before; a shard whose base knew no more than a
    // position before its last events may begin a little earlier.
    let found = restored.scene.texts(position).await;
    let parse = |texts: &[String]| -> Vec<(i64, i64)> {
        let pairs = texts[0].split(' ').map(|pair| pair.split_once(':').unwrap());
        pairs
            .map(|(shard, seq)| (shard.parse().unwrap(), seq.parse().unwrap()))
            .collect()
    };
    for (shard, seq) in parse(&expected) {
        let now = parse(&found)
            .into_iter()
            .find(|(other, _)| *other == shard)
            .map(|(_, seq)| seq);
        if shard <= 8 {
            assert_eq!(now, Some(seq), "shard {shard}: {expected:?} became {found:?}");
        } else {
            assert!(
                now.is_some_and(|now| now <= seq),
                "shard {shard}: {expected:?} became {found:?}"
            );
        }
    }
    // The late event lies below the position that some shards were reset to.
    let _relay = Relay::start(&restored.config()).await.unwrap();
    restored.published(&source.waiting[1..]).await;
}

#[tokio::test]
async fn a_sequence_and_counters_that_are_behind_are_raised() {
    let source = source().await;
    let restored = Restored::from(&source.scene, FAR_ABOVE).await;
    let scene = &restored.scene;
    // As after logical replication, which brings neither.
    scene.execute("select setval('oncebox.event_seq', 1)").await;
    let mut expected = source.waiting.clone();
    expected.push(scene.database.enqueue(Some("in the gap")).await.unwrap());
    assert_eq!(
        scene
            .number("select seq from oncebox.event where key = 'in the gap'")
            .await,
        2
    );
    scene
        .execute("delete from oncebox.key_sequence where key = 'key-1'")
        .await;
    scene
        .execute("update oncebox.key_sequence set last = 1 where key = 'key-2'")
        .await;
    let report = scene.json(&["cursor", "rebase", "--yes"]).await;
    assert_eq!(report["keys_mended"], json!(2), "{report}");
    assert!(report["sequence_set_to"].as_i64().unwrap() > 41, "{report}");
    expected.extend(scene.database.enqueue_many(Some("key-1"), 2).await.unwrap());
    let _relay = Relay::start(&restored.config()).await.unwrap();
    restored.published(&expected).await;
    assert_eq!(restored.sequences("key-1").last(), Some(&9));
}

#[tokio::test]
async fn nothing_is_rebased_while_a_relay_lives() {
    let scene = Scene::new().await;
    scene.cursors(SINK).await;
    scene.execute("update oncebox.cursor set system_id = 12345").await;
    scene
        .execute("insert into oncebox.relay (id, sinks, term_ms) values ('living', '{all}', 60000)")
        .await;
    let pool = scene.database.pool.clone();
    let beating = tokio::spawn(async move {
        while sqlx::query("update oncebox.relay set beat = beat + 1")
            .execute(&pool)
            .await
            .is_ok()
        {
            tokio::task::yield_now().await;
        }
    });
    scene
        .refused(&["cursor", "rebase", "--yes"], 1, &["relay living lives"])
        .await;
    beating.abort();
    assert_eq!(
        scene
            .number("select count(*) from oncebox.cursor where system_id = 12345")
            .await,
        16
    );
    scene.refused(&["cursor", "rebase"], 2, &["--yes"]).await;
}

#[tokio::test]
async fn after_an_upgrade_in_place_cursors_are_adopted_and_nothing_is_sent_again() {
    let source = source().await;
    // In the same cluster the ids go on, as they do after pg_upgrade.
    let restored = Restored::from(&source.scene, "0").await;
    let report = restored.scene.json(&["cursor", "rebase", "--adopt", "--yes"]).await;
    assert_eq!(report["cursors"], json!(16), "{report}");
    let _relay = Relay::start(&restored.config()).await.unwrap();
    restored.published(&source.waiting).await;
    let again: Vec<String> = restored
        .taken()
        .into_iter()
        .filter(|id| source.published.contains(id))
        .collect();
    assert_eq!(again, Vec::<String>::new());

    let elsewhere = Restored::from(&source.scene, FAR_ABOVE).await;
    elsewhere
        .scene
        .refused(&["cursor", "rebase", "--adopt", "--yes"], 1, &["without --adopt"])
        .await;
}
