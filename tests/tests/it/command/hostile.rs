//! Wrong usage and missing parts: one clear error each, with the documented exit code.

use sqlx::AssertSqlSafe;
use system_tests::{Database, RelayCommand, unique};

use super::scene::{Scene, assert_says};

#[tokio::test]
async fn wrong_usage_is_refused_before_anything_is_done() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    scene.park("a", Some("k"), "permanent", "Code").await;
    let cases: [(&[&str], &str); 20] = [
        (&["parked", "list", "--sink", "b"], "there are: a"),
        (&["parked", "list", "--sink", ""], "there is no sink"),
        (&["parked", "list", "--limit", "0"], "--limit"),
        (&["parked", "list", "--limit", "9223372036854775808"], "--limit"),
        (&["parked", "list", "--limit", "1000000"], "--limit"),
        (&["parked", "list", "--id", "7"], "--id"),
        (&["parked", "list", "--seq", "one"], "--seq"),
        (&["parked", "list", "--type", "Test.*"], "--type"),
        (&["parked", "list", "--state", "gone"], "--state"),
        (&["parked", "skip", "--sink", "b", "--yes"], "there are: a"),
        (&["parked", "eat"], "eat"),
        (
            &["cursor", "reset", "--sink", "a", "--to", "yesterday", "--yes"],
            "--to",
        ),
        (
            &[
                "cursor", "reset", "--sink", "a", "--to", "now", "--shard", "16", "--yes",
            ],
            "--shard",
        ),
        (&["cursor", "reset", "--to", "now", "--yes"], "--sink"),
        (&["cursor", "show", "--sink", "b"], "there are: a"),
        (&["status", "--max-lag-secs=-1"], "--max-lag-secs"),
        (&["status", "--max-lag-events", "-1"], "--max-lag-events"),
        (&["parked", "list", "--limit", "-1"], "--limit"),
        (&["cursor", "reset", "--sink", "a", "--to", "-5", "--yes"], "--to"),
        (
            &[
                "cursor", "reset", "--sink", "a", "--to", "now", "--shard", "-1", "--yes",
            ],
            "invalid value '-1' for '--shard",
        ),
    ];
    for (arguments, word) in cases {
        scene.refused(arguments, 2, &[word]).await;
    }
    let odd = scene
        .json(&[
            "parked",
            "list",
            "--key",
            "'; drop table oncebox.parked; --",
            "--tenant",
            "%",
        ])
        .await;
    assert_eq!(odd["total"], 0);
    assert_eq!(scene.states("a").await, ["1:parked"]);
}

#[tokio::test]
async fn a_missing_database_or_schema_is_told_by_its_exit_code() {
    let scene = Scene::new().await;
    let empty = Database::create_empty(&scene.stack).await.unwrap();
    for arguments in [
        &["parked", "list"][..],
        &["cursor", "show"],
        &["status"],
        &["cursor", "rebase", "--yes"],
    ] {
        let run = async |command: RelayCommand| command.run().await.unwrap();
        assert_says(
            &run(RelayCommand::new(arguments)).await,
            2,
            &["no database", "DATABASE_URL"],
        );
        let secret = RelayCommand::new(arguments).env("DATABASE_URL", "postgres://u:secret@127.0.0.1:1/none");
        let printed = run(secret).await;
        assert_says(&printed, 3, &["database `none` at 127.0.0.1:1 cannot be reached"]);
        assert!(!printed.stderr.contains("secret"), "{printed:?}");
        let wrong = RelayCommand::new(arguments).env("DATABASE_URL", "mysql://secret");
        assert_says(&run(wrong).await, 2, &["is no Postgres URL"]);
        assert_says(
            &run(RelayCommand::new(arguments).on(&empty)).await,
            3,
            &["outbox-relay migrate"],
        );
        let no_config = RelayCommand::new(arguments)
            .on(&empty)
            .arg("--config")
            .arg("/no/such.toml");
        assert_says(&run(no_config).await, 2, &["/no/such.toml"]);
    }
}

#[tokio::test]
async fn a_configuration_of_another_database_is_not_mixed_up() {
    let scene = Scene::new().await;
    let config = tempfile::NamedTempFile::new().unwrap();
    let toml = "[database]\nurl = \"postgres://u:secret@127.0.0.1:1/other\"\n[[sink]]\nname = \"a\"\nsqs = { queue = \"q\" }\n";
    std::fs::write(config.path(), toml).unwrap();
    let config = config.path().to_str().unwrap();
    let printed = scene
        .refused(&["status", "--config", config], 2, &["two databases", "other"])
        .await;
    assert!(!printed.stderr.contains("secret"), "{printed:?}");
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_an_operator() {
    let scene = Scene::new().await;
    scene.cursors("a").await;
    let id = scene.park("a", Some("k"), "permanent", "Code").await;
    let operations = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/OPERATIONS.md")).unwrap();
    let mut blocks = operations
        .split("```sql\n")
        .map(|block| block.split("```").next().unwrap());
    let grants = blocks.find(|block| block.contains("my_operator")).unwrap();
    let role = unique("my_operator").replace('-', "_");
    let sql = format!("create role {role} login; {}", grants.replace("my_operator", &role));
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&scene.database.pool)
        .await
        .unwrap();

    let mut url = scene.database.url.clone();
    url.set_username(&role).unwrap();
    let edit = [
        "parked", "edit", "--sink", "a", "--id", &id, "--header", "note=x", "--yes",
    ];
    for arguments in [
        &["status"][..],
        &["cursor", "show"],
        &["parked", "list"],
        &["parked", "show", "--id", &id, "--data"],
        &edit,
        &["parked", "retry", "--id", &id, "--yes"],
        &["parked", "hold", "--id", &id, "--yes"],
        &["parked", "skip", "--id", &id, "--yes"],
        &[
            "cursor",
            "reset",
            "--sink",
            "a",
            "--to",
            "2026-01-01T00:00:00Z",
            "--yes",
        ],
        &["cursor", "delete", "--sink", "a", "--yes"],
    ] {
        RelayCommand::new(arguments)
            .env("DATABASE_URL", url.as_str())
            .done()
            .await
            .unwrap();
    }
    let drop = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(AssertSqlSafe(drop))
        .execute(&scene.database.pool)
        .await
        .unwrap();
}
