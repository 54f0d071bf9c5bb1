//! What must not outlive a membership, and what must not be forgotten within one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use outbox_relay::{
    lease::{
        member::{Member, Membership, Roster},
        term::{Lease, Moment, Terms},
    },
    log::{members::ShardRow, store::Start},
    sink::supervisor::{Ended, Surroundings, supervise},
    telemetry::metrics::Metrics,
};
use system_tests::{Database, DatabaseProxy, Stack, until};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::light::{self, Target};

const SINK: &str = "all";

async fn database() -> Database {
    Database::create(&Stack::from_env().await.unwrap()).await.unwrap()
}

/// A relay that runs alone on the list, without sinks.
struct Lone {
    roster: watch::Receiver<Roster>,
    running: JoinHandle<()>,
}

impl Lone {
    fn start(url: &url::Url, lease: Duration) -> Self {
        let terms = Terms::of_lease(lease);
        let (member, roster) = Member::new(light::database(url), "lone".to_owned(), vec![SINK.to_owned()], terms);
        let running = tokio::spawn(member.run(CancellationToken::new(), || false));
        Self { roster, running }
    }

    async fn membership(&self, other_than: Option<&str>) -> Membership {
        until("the relay to be on the list", async || {
            let me = self.roster.borrow().me.clone().context("not yet")?;
            ensure!(Some(me.id.as_str()) != other_than, "still under the old name");
            ensure!(me.lease.lasts_until().is_some(), "no beat yet");
            Ok(me)
        })
        .await
        .unwrap()
    }
}

impl Drop for Lone {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[tokio::test]
async fn who_is_declared_dead_and_joins_anew_has_another_lease() {
    let database = database().await;
    let lone = Lone::start(&database.url, Duration::from_secs(10));
    let old = lone.membership(None).await;
    assert!(old.lease.may_send());
    sqlx::query("delete from oncebox.relay")
        .execute(&database.pool)
        .await
        .unwrap();
    let new = lone.membership(Some(&old.id)).await;
    assert!(new.lease.may_send());
    assert!(
        !old.lease.may_send(),
        "what was begun under the old membership is never sent"
    );
    old.lease.extend(Moment::now());
    assert!(!old.lease.may_send());
}

#[tokio::test]
async fn a_lease_lasts_from_when_the_beat_was_sent_however_late_its_answer_is() {
    let database = database().await;
    let proxy = DatabaseProxy::start(&database.url).await.unwrap();
    let lease = Duration::from_secs(20);
    let lone = Lone::start(&proxy.url, lease);
    let me = lone.membership(None).await;
    let beat = async || -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("select beat from oncebox.relay")
            .fetch_one(&database.pool)
            .await?)
    };
    proxy.hold();
    let before = beat().await.unwrap();
    until("another beat to be written", async || {
        let now = beat().await?;
        ensure!(now > before, "still {now}");
        Ok(())
    })
    .await
    .unwrap();
    // Sent before this moment. The answer comes after it.
    let written = Moment::now();
    let confirmed_before = me.lease.lasts_until().unwrap();
    proxy.let_one_pass();
    let confirmed = until("the beat to be confirmed", async || {
        let end = me.lease.lasts_until().context("declared dead")?;
        ensure!(end > confirmed_before, "not yet");
        Ok(end)
    })
    .await
    .unwrap();
    assert!(
        confirmed.since(written) <= Terms::of_lease(lease).term,
        "others count the term from when they see the beat"
    );
}

#[tokio::test]
async fn a_reply_to_the_joining_that_is_lost_leaves_no_second_row() {
    let database = database().await;
    let proxy = DatabaseProxy::start(&database.url).await.unwrap();
    // The row waits for this lock, so its reply can be held.
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("lock oncebox.relay in share mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let lone = Lone::start(&proxy.url, Duration::from_secs(10));
    until("the joining to wait", async || {
        ensure!(database.waiting_for_locks().await? == 1, "not yet");
        Ok(())
    })
    .await
    .unwrap();
    proxy.hold();
    lock.rollback().await.unwrap();
    let listed = async || -> anyhow::Result<Vec<String>> {
        Ok(sqlx::query_scalar("select id from oncebox.relay")
            .fetch_all(&database.pool)
            .await?)
    };
    until("the row to be there", async || {
        ensure!(listed().await?.len() == 1, "not yet");
        Ok(())
    })
    .await
    .unwrap();
    database.cut_connections_of_others().await.unwrap();
    proxy.let_go();
    let me = lone.membership(None).await;
    assert_eq!(listed().await.unwrap(), [me.id]);
}

/// A sink under supervision whose roster the test writes.
struct Supervised {
    database: Database,
    target: Target,
    terms: Terms,
    me: Membership,
    roster: watch::Sender<Roster>,
    end: CancellationToken,
    metrics: Metrics,
    running: JoinHandle<Ended>,
}

impl Supervised {
    /// One that holds all shards, and has sent an event that is not answered.
    async fn with_an_unanswered_request(lease: Duration) -> Self {
        let (database, target, terms) = (database().await, Target::default(), Terms::of_lease(lease));
        let me = Membership {
            id: "me".to_owned(),
            lease: Lease::endless(terms),
        };
        sqlx::query(
            "insert into oncebox.relay (id, sinks, term_ms) values ('me', '{all}', 60000), ('heir', '{all}', 60000)",
        )
        .execute(&database.pool)
        .await
        .unwrap();
        let (roster, seen) = watch::channel(Roster::default());
        let end = CancellationToken::new();
        let surroundings = Surroundings {
            database: light::database(&database.url),
            terms,
            roster: seen,
            end: end.clone(),
        };
        let mut metrics = Metrics::new();
        let sink = Arc::new(light::sink(SINK, &target, &mut metrics));
        let running = tokio::spawn(async move { supervise(sink, Start::Beginning, surroundings).await.unwrap() });
        let this = Self {
            database,
            target,
            terms,
            me,
            roster,
            end,
            metrics,
            running,
        };
        until("the shards to be taken", async || {
            this.tell(&["me"]).await;
            ensure!(this.held_by("me").await == 16, "not yet");
            Ok(())
        })
        .await
        .unwrap();
        let pool = &this.database.pool;
        sqlx::query("select oncebox.enqueue('a.v1', '1', tenant => 'silent')")
            .execute(pool)
            .await
            .unwrap();
        this.target.until_one_is_unanswered().await;
        this
    }

    /// Tells the sink who lives, and what the cursors' rows say now.
    async fn tell(&self, members: &[&str]) {
        let looked_at = Some(Moment::now());
        let rows: Vec<(i16, i64, Option<String>)> =
            sqlx::query_as("select shard, epoch, owner from oncebox.cursor where sink = $1 order by shard")
                .bind(SINK)
                .fetch_all(&self.database.pool)
                .await
                .unwrap();
        let rows = rows.into_iter();
        let rows = rows.map(|(shard, epoch, owner)| ShardRow { shard, epoch, owner });
        self.roster.send_replace(Roster {
            me: Some(self.me.clone()),
            looked_at,
            members: HashMap::from([(SINK.to_owned(), members.iter().map(|id| (*id).to_owned()).collect())]),
            cursors: HashMap::from([(SINK.to_owned(), rows.collect())]),
        });
    }

    async fn held_by(&self, relay: &str) -> i64 {
        sqlx::query_scalar("select count(*) from oncebox.cursor where owner = $1")
            .bind(relay)
            .fetch_one(&self.database.pool)
            .await
            .unwrap()
    }

    /// Has a request given up by a drain that cannot save: the cursors are locked by somebody else.
    async fn give_a_request_up(&self) {
        let mut lock = self.database.pool.begin().await.unwrap();
        sqlx::query("select from oncebox.cursor for update")
            .execute(&mut *lock)
            .await
            .unwrap();
        let confirmed = self.database.enqueue_many(None, 40).await.unwrap();
        self.target.until_confirmed(&confirmed).await;
        until("the cursor's next write to wait", async || {
            ensure!(self.database.waiting_for_locks().await? == 1, "not yet");
            Ok(())
        })
        .await
        .unwrap();
        self.tell(&["heir", "me"]).await;
        until("the session to have ended", async || {
            let reasons = self.metrics.not_ready().join(", ");
            ensure!(reasons.contains("no answer within"), "{reasons}");
            Ok(())
        })
        .await
        .unwrap();
        lock.rollback().await.unwrap();
        assert_eq!(self.target.given_up().len(), 1);
    }
}

#[tokio::test]
async fn requests_that_were_given_up_are_not_forgotten_with_their_session() {
    let supervised = Supervised::with_an_unanswered_request(Duration::from_secs(60)).await;
    supervised.give_a_request_up().await;
    supervised.end.cancel();
    let ended = supervised.running.await.unwrap();
    assert!(
        !ended.is_clean,
        "its relay must not leave the list before the term is over"
    );
}

#[tokio::test]
async fn shards_are_handed_over_a_term_after_requests_were_given_up_also_by_another_session() {
    let supervised = Supervised::with_an_unanswered_request(Duration::from_secs(4)).await;
    supervised.give_a_request_up().await;
    until("half of the shards to be handed over", async || {
        supervised.tell(&["heir", "me"]).await;
        let free = 16 - supervised.held_by("me").await;
        ensure!(free == 8, "{free} are free");
        Ok(())
    })
    .await
    .unwrap();
    let handed_over = Moment::now();
    let given_up = supervised.target.given_up()[0];
    let waited = handed_over.since(given_up);
    assert!(
        waited >= supervised.terms.term,
        "only {waited:?} after a request was given up"
    );
}
