//! A database with cursors and parked events, and the commands on it.

use serde_json::Value;
use sqlx::AssertSqlSafe;
use system_tests::{Database, Printed, RelayCommand, Stack};

/// What every parked event's data holds, and no output but that of `show --data` may.
pub(super) const CANARY: &str = "canary-7f3a";

pub(crate) struct Scene {
    pub(crate) stack: Stack,
    pub(crate) database: Database,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        let database = Database::create(&stack).await.unwrap();
        Self { stack, database }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> RelayCommand {
        RelayCommand::new(arguments).on(&self.database)
    }

    /// Runs a command that has to succeed.
    pub(super) async fn done(&self, arguments: &[&str]) -> String {
        self.command(arguments).done().await.unwrap()
    }

    pub(super) async fn json(&self, arguments: &[&str]) -> Value {
        self.command(arguments).json().await.unwrap()
    }

    /// Runs a command that has to fail with this code and say all of this.
    pub(super) async fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) -> Printed {
        let printed = self.command(arguments).run().await.unwrap();
        assert_says(&printed, code, words);
        printed
    }

    pub(super) async fn execute(&self, sql: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .execute(&self.database.pool)
            .await;
        done.unwrap().rows_affected()
    }

    pub(super) async fn number(&self, sql: &str) -> i64 {
        let asked = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.database.pool)
            .await;
        asked.unwrap()
    }

    pub(super) async fn texts(&self, sql: &str) -> Vec<String> {
        let asked = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&self.database.pool)
            .await;
        asked.unwrap()
    }

    /// Gives a sink its sixteen cursors, at the log's beginning.
    pub(super) async fn cursors(&self, sink: &str) {
        self.execute(&format!(
            "insert into oncebox.cursor (sink, shard, base, base_next_xid, base_seq, base_open_floor, base_floors, position)
             select '{sink}', shard, '1:1:', 1, 0, 0, '{{}}', 0 from generate_series(0, 15) shard"
        ))
        .await;
    }

    /// Enqueues an event and parks it in a sink; returns its id.
    pub(super) async fn park(&self, sink: &str, key: Option<&str>, class: &str, code: &str) -> String {
        let key = key.map_or("null".to_owned(), |key| format!("'{key}'"));
        let ids = self
            .texts(&format!(
                "with new as (select oncebox.enqueue('test.happened.v1', '{{\"secret\": \"{CANARY}\"}}', key => {key}) as id)
                 select id::text from new"
            ))
            .await;
        self.execute(&format!(
            "insert into oncebox.parked (sink, seq, shard, id, type, key, key_seq, tenant, kind, source, time, headers, data,
                                         class, code, reason, attempts)
             select '{sink}', seq, bucket >> 4, id, type, key, key_seq, tenant, kind, source, time, headers, data,
                    '{class}', '{code}', 'the target does not take it', 3
             from oncebox.event where id = '{}'",
            ids[0]
        ))
        .await;
        ids[0].clone()
    }

    /// The parked events of a sink as `seq:state`, in order.
    pub(super) async fn states(&self, sink: &str) -> Vec<String> {
        self.texts(&format!(
            "select seq || ':' || state from oncebox.parked where sink = '{sink}' order by seq"
        ))
        .await
    }
}

/// It failed with this code and one line that says all of this.
pub(super) fn assert_says(printed: &Printed, code: i32, words: &[&str]) {
    assert_eq!(printed.code, Some(code), "{printed:?}");
    for word in words {
        assert!(printed.stderr.contains(word), "nothing about `{word}`: {printed:?}");
    }
    assert!(!printed.stderr.contains("panicked"), "{printed:?}");
}
