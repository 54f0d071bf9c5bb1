//! The relay: its log at every level, its pages, what it parks.

use anyhow::ensure;
use sqlx::AssertSqlSafe;
use system_tests::{
    AwsProxy, Bucket, Bus, Database, EVERYTHING, Fault, Queue, Relay, RelayConfig, Stack, Topic, unique, until,
};
use url::Url;

use super::Canaries;

/// Everything that a relay of this configuration prints until it ends by itself.
async fn said_by_a_relay_that_ends(config: &RelayConfig) -> String {
    let exit = Relay::spawn(config).unwrap().ended().await.unwrap();
    assert_ne!(exit.code, Some(0));
    exit.printed
}

/// The database's URL for a role of its own, whose password is `password`.
pub(crate) async fn url_with_password(database: &Database, password: &str) -> Url {
    let role = unique("r").replace('-', "_");
    let make = format!("create role {role} superuser login password '{password}'");
    sqlx::query(AssertSqlSafe(make)).execute(&database.pool).await.unwrap();
    let mut url = database.url.clone();
    url.set_username(&role).unwrap();
    url.set_password(Some(password)).unwrap();
    url
}

struct Planted {
    canaries: Canaries,
    data: String,
    header: String,
    key: String,
    config: RelayConfig,
}

/// A configuration with every kind of secret in it and in its environment, that logs all there is.
async fn planted(database: &Database, proxy: &AwsProxy) -> Planted {
    let mut canaries = Canaries::default();
    let url = url_with_password(database, &canaries.plant("database's password")).await;
    let config = RelayConfig::new(database)
        .env("DATABASE_URL", url.as_str())
        .env("AWS_ENDPOINT_URL", &proxy.endpoint)
        .env("AWS_SECRET_ACCESS_KEY", &canaries.plant("AWS secret access key"))
        .env("AWS_SESSION_TOKEN", &canaries.plant("AWS session token"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            &format!("authorization={}", canaries.plant("collector's token")),
        )
        .env("RUST_LOG", "trace");
    Planted {
        data: canaries.plant("data"),
        header: canaries.plant("header"),
        key: canaries.plant("key"),
        canaries,
        config,
    }
}

async fn enqueue(database: &Database, planted: &Planted, bytes: i32) {
    let Planted { data, header, key, .. } = planted;
    let sql =
        "select oncebox.enqueue('test.happened.v1', jsonb_build_object('secret', $1::text, 'rest', repeat('x', $4)),
                 key => $2, headers => jsonb_build_object('note', $3::text, 'correlationid', $3::text,
                   'traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'))";
    let enqueue = sqlx::query(sql).bind(data).bind(key).bind(header).bind(bytes);
    enqueue.execute(&database.pool).await.unwrap();
}

#[tokio::test]
async fn a_relay_that_publishes_fails_and_parks_says_no_secret_at_any_level() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let proxy = AwsProxy::start(&stack).await.unwrap();
    let mut planted = planted(&database, &proxy).await;
    let queue = Queue::fifo(&stack).await.unwrap();
    let topic = Topic::standard(&stack).await.unwrap();
    let bus = Bus::to_queue(&stack, r#"{ "source": ["nobody"] }"#, &queue)
        .await
        .unwrap();
    let bucket = Bucket::create(&stack).await.unwrap();
    let (queue_name, bucket_name) = (&queue.name, &bucket.name);
    let lines = format!(
        "sqs = {{ queue = \"{queue_name}\" }}\nclaim_check = {{ bucket = \"{bucket_name}\", above_bytes = 2048 }}"
    );
    planted.config = planted
        .config
        .clone()
        .sink_table("queue", EVERYTHING, &lines)
        .sink_table("topic", EVERYTHING, &format!("sns = {{ topic = \"{}\" }}", topic.name))
        .sink_table(
            "bus",
            EVERYTHING,
            &format!("eventbridge = {{ bus = \"{}\" }}", bus.name),
        );
    let data = planted.data.clone();
    let quoted = |status, code| Fault::Quoted(status, code, data.clone());
    // AWS quotes what it refuses; each way to be refused once at each target, and for the bus for good.
    for fault in [quoted(500, "InternalError"), Fault::Throttled, Fault::AccessDenied] {
        for name in [&queue.name, &topic.name, &bus.name] {
            let name = name.clone();
            proxy.inject(1, fault.clone(), move |request| request.is_send_to(&name));
        }
    }
    proxy.inject(1, quoted(403, "AccessDenied"), system_tests::Request::is_store);
    let name = bus.name.clone();
    let refused = quoted(400, "ValidationException");
    proxy.inject(usize::MAX, refused, move |request| request.is_send_to(&name));
    // Somebody went around enqueue: no valid event, and the fault is in what must not be told.
    let Planted { data, header, .. } = &planted;
    sqlx::query(
        "insert into oncebox.event (seq, xid, bucket, bytes, id, type, key, key_seq, tenant, kind, source, time, headers, data)
         values (nextval('oncebox.event_seq'), pg_current_xact_id()::text::bigint, 1, 2, gen_random_uuid(), 'test.happened.v1',
                 'bad', 1, 'default', 'event', '/s', now(), jsonb_build_object('expirytime', $1::text), to_jsonb($2::text))",
    )
    .bind(header)
    .bind(data)
    .execute(&database.pool)
    .await
    .unwrap();
    for bytes in [10, 5_000] {
        enqueue(&database, &planted, bytes).await;
    }

    let relay = Relay::start(&planted.config).await.unwrap();
    let parked = async || -> anyhow::Result<Vec<String>> {
        let parked = "select concat_ws(' ', sink, class, code, reason) from oncebox.parked";
        Ok(sqlx::query_scalar(parked).fetch_all(&database.pool).await?)
    };
    until("everything to be sent or parked", async || {
        let taken = proxy.taken();
        let of = |name: &str| taken.iter().filter(|entry| entry.queue == name).count();
        let seen = (of(&queue.name), of(&topic.name), parked().await?.len());
        // The bad row in each of three sinks, and at the bus both events.
        ensure!(seen == (2, 2, 5), "{seen:?}");
        Ok(())
    })
    .await
    .unwrap();
    assert!(
        proxy
            .taken()
            .iter()
            .any(|entry| entry.key.as_ref() == Some(&planted.key))
    );
    assert_eq!(bucket.keys().await.unwrap().len(), 1);
    // A lost database is told of, too.
    assert!(database.cut_connections_of_others().await.unwrap() > 0);
    relay.said("the sink stopped").await.unwrap();
    let mut pages = String::new();
    for page in ["/metrics", "/readyz", "/healthz", "/nothing"] {
        pages += &relay.get(page).await.unwrap();
    }
    assert!(pages.contains("oncebox_sink_failed_total"), "{pages}");
    let exit = relay.stop().await.unwrap();
    assert!(exit.printed.contains("DEBUG"), "more than the usual is printed");
    let canaries = &planted.canaries;
    canaries.assert_absent("the relay's pages", &pages);
    canaries.assert_absent("the relay's log", &exit.printed);
    canaries.assert_absent("a reason of oncebox.parked", &parked().await.unwrap().join("\n"));
}

#[tokio::test]
async fn a_relay_that_cannot_start_says_no_secret() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let proxy = AwsProxy::start(&stack).await.unwrap();
    let Planted { canaries, config, .. } = planted(&database, &proxy).await;
    let password = canaries.text("database's password");
    let at = |place: &str| format!("postgres://somebody:{password}@{place}");
    let mut refused = vec![
        at("127.0.0.1:1/nothing"),
        at("127.0.0.1:1/nothing?sslmode=verify-full"),
        at("no-such-host.invalid/d"),
        at("[bad/d"),
        at("127.0.0.1:port/d"),
        at("127.0.0.1/d?nothing=1"),
        format!("mysql://somebody:{password}@127.0.0.1/d"),
        password.clone(),
    ];
    let mut wrong = database.url.clone();
    wrong.set_username("nobody_of_this_name").unwrap();
    wrong.set_password(Some(&password)).unwrap();
    refused.push(wrong.into());
    for url in refused {
        let config = config
            .clone()
            .sink_to("all", EVERYTHING, "none")
            .env("DATABASE_URL", &url);
        canaries.assert_absent("the relay's log", &said_by_a_relay_that_ends(&config).await);
    }
    // In the file, at the right key and at wrong ones.
    let url = at("127.0.0.1:1/nothing");
    for toml in [
        format!("[database]\nurl = \"{url}\"\nurI = \"{url}\""),
        format!("[database]\nurl = [\"{url}\"]"),
        format!("[database]\nurl = \"{url}\"\ntls = \"{url}\""),
        format!("[database]\nurl = \"{url}\n"),
        format!("[database]\nurl = \"{url}\"\n[[sink]]\nname = \"{url}\"\nsqs = {{ queue = \"{url}\" }}"),
        format!("[database]\nurl = \"{url}\"\n[[sink]]\nname = \"a\"\nsqs = {{ queue = \"{url}\" }}"),
        format!("[database]\nurl = \"{url}\"\n[http]\nlisten = \"{url}\""),
    ] {
        let config = RelayConfig::from_toml(&toml).env("RUST_LOG", "trace");
        let said = said_by_a_relay_that_ends(&config).await;
        canaries.assert_absent(&format!("what a relay says of {toml}"), &said);
    }
}
