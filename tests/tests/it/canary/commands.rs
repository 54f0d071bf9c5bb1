//! The commands: what they print, at every level, when all is well and when it is not.

use std::process::Stdio;

use system_tests::{
    AwsProxy, Database, EVERYTHING, Fault, Printed, Queue, Relay, RelayCommand, RelayConfig, Stack, Tables, binary,
    until,
};
use tokio::process::Command;
use uuid::Uuid;

use super::{Canaries, relay::url_with_password};
use crate::command::configured::written;

/// What a command shows because it is about it: `parked` and `gap` name keys, `parked show` headers.
const ASKED_FOR: &[&str] = &["key", "header"];

#[tokio::test]
async fn the_relays_commands_say_no_secret_at_any_level() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let proxy = AwsProxy::start(&stack).await.unwrap();
    let queue = Queue::fifo(&stack).await.unwrap();
    let mut canaries = Canaries::default();
    let [data, header, key] = ["data", "header", "key"].map(|place| canaries.plant(place));
    let url = url_with_password(&database, &canaries.plant("database's password")).await;
    let secret_key = canaries.plant("AWS secret access key");
    let token = canaries.plant("AWS session token");
    let config = RelayConfig::new(&database)
        .sink("all", EVERYTHING, &queue)
        .env("AWS_ENDPOINT_URL", &proxy.endpoint);
    let refused = Fault::Quoted(400, "InvalidMessageContents", data.clone());
    proxy.inject(usize::MAX, refused, system_tests::Request::is_send);
    sqlx::query(
        "select oncebox.enqueue('test.happened.v1', jsonb_build_object('secret', $1::text), key => $2,
           headers => jsonb_build_object('note', $3::text))",
    )
    .bind(&data)
    .bind(&key)
    .bind(&header)
    .execute(&database.pool)
    .await
    .unwrap();
    let relay = Relay::start(&config).await.unwrap();
    until("the event to be parked", async || {
        let parked: i64 = sqlx::query_scalar("select count(*) from oncebox.parked")
            .fetch_one(&database.pool)
            .await?;
        anyhow::ensure!(parked == 1);
        Ok(())
    })
    .await
    .unwrap();
    let id: Uuid = sqlx::query_scalar("select id from oncebox.parked")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let id = id.to_string();
    let file = written(&config);
    let path = file.path().to_str().unwrap();
    let run = async |arguments: &[&str], url: &str, input: &str| -> Printed {
        let command = RelayCommand::new(arguments).env("DATABASE_URL", url).input(input);
        let command = command
            .env("AWS_ENDPOINT_URL", &proxy.endpoint)
            .env("RUST_LOG", "trace");
        let command = command
            .env("AWS_SECRET_ACCESS_KEY", &secret_key)
            .env("AWS_SESSION_TOKEN", &token);
        command.run().await.unwrap()
    };
    let looks: &[&[&str]] = &[
        &["check", "--config", path],
        &["status", "--config", path],
        &["status", "--json"],
        &["parked", "list"],
        &["parked", "list", "--json"],
        &["parked", "show", "--id", &id],
        &["parked", "show", "--id", &id, "--json"],
        &["parked", "retry", "--id", &id, "--dry-run"],
        &["parked", "skip", "--id", &id, "--dry-run", "--json"],
        &["cursor", "show", "--shards"],
        &["replay", "--config", path, "--sink", "all", "--dry-run"],
        &["replay", "--config", path, "--sink", "all", "--yes"],
        &["health", "--config", path],
        &["migrate"],
    ];
    for arguments in looks {
        let printed = run(arguments, url.as_str(), "").await;
        let said = format!("{}\n{}", printed.stdout, printed.stderr);
        canaries.assert_absent_but(ASKED_FOR, &format!("{arguments:?}"), &said);
    }
    assert!(!proxy.sends().is_empty());
    // Data and attributes that are refused are not repeated.
    for (option, value) in [
        ("--data", "-"),
        ("--header", &format!("note:={data}")),
        ("--header", &format!("expirytime={data}")),
        ("--header", &format!("traceparent={data}")),
    ] {
        let edit = ["parked", "edit", "--sink", "all", "--id", &id, option, value, "--yes"];
        let printed = run(&edit, url.as_str(), &format!("{{\"a\": {data}")).await;
        assert_ne!(printed.code, Some(0), "{printed:?}");
        let said = format!("{}\n{}", printed.stdout, printed.stderr);
        canaries.assert_absent_but(ASKED_FOR, &format!("{edit:?}"), &said);
    }
    relay.stop().await.unwrap();

    // Databases that are not there, and addresses that are none.
    let password = canaries.text("database's password");
    for url in [
        format!("postgres://u:{password}@127.0.0.1:1/d"),
        format!("postgres://u:{password}@no-such-host.invalid/d?sslmode=disable"),
        format!("postgres://u:{password}@[bad/d"),
        format!("postgres://u:{password}@h:port/d"),
        format!("mysql://u:{password}@h/d"),
        password.clone(),
    ] {
        for arguments in looks.iter().filter(|arguments| arguments[0] != "health") {
            let printed = run(arguments, &url, "").await;
            assert_ne!(printed.code, Some(0), "{arguments:?} {printed:?}");
            let said = format!("{}\n{}", printed.stdout, printed.stderr);
            canaries.assert_absent(&format!("{arguments:?}"), &said);
        }
        let printed = run(&["migrate", "--database-url", &url], "", "").await;
        canaries.assert_absent("migrate", &format!("{}\n{}", printed.stdout, printed.stderr));
    }
}

#[tokio::test]
async fn oncebox_consumer_says_no_secret_at_any_level() {
    let stack = Stack::from_env().await.unwrap();
    let tables = Tables::create(&stack).await.unwrap();
    let proxy = AwsProxy::start(&stack).await.unwrap();
    let mut canaries = Canaries::default();
    let secret_key = canaries.plant("AWS secret access key");
    let token = canaries.plant("AWS session token");
    let event = Uuid::now_v7().to_string();
    let commands: [&[&str]; 3] = [
        &["gap", "show", "--key", "order-7"],
        &["gap", "skip", "--key", "order-7", "--sequence", "1", "--yes"],
        &["record", "show", &event],
    ];
    for fault in [
        Fault::None,
        Fault::Quoted(400, "ValidationException", "{".to_owned()),
        Fault::AccessDenied,
        Fault::Status(500),
    ] {
        proxy.inject(usize::MAX, fault, |_| true);
        for arguments in commands {
            let output = Command::new(binary("oncebox-consumer").unwrap())
                .args(arguments)
                .args(["--consumer", "c", "--table", &tables.dedupe])
                .env("AWS_ENDPOINT_URL", &proxy.endpoint)
                .env("AWS_SECRET_ACCESS_KEY", &secret_key)
                .env("AWS_SESSION_TOKEN", &token)
                .env("RUST_LOG", "trace")
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = output.await.unwrap();
            let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
            canaries.assert_absent(&format!("{arguments:?}"), &said.join("\n"));
        }
        proxy.heal();
    }
}
