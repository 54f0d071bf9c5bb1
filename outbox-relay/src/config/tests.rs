use super::*;

mod edges;

const GOOD: &str = r#"
[database]
url = "env:DATABASE_URL"

[http]
listen = "127.0.0.1:0"

[[sink]]
name = "commands"
match = { type = "invoice.create.*", kind = "command" }
sqs = { queue = "env:QUEUE" }

[[sink]]
name = "tap"
match = { tenant = ["acme", "default"] }
sqs = { queue = "tap" }
max_in_flight = 4
max_window = 100
start = "now"
"#;

fn environment(name: &str) -> Option<String> {
    match name {
        "DATABASE_URL" => Some("postgres://u:secret@localhost:5432/db".to_owned()),
        "QUEUE" => Some("q.fifo".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn fault(text: &str) -> (String, String) {
    Config::parse(text, environment).expect_err("a fault")
}

#[test]
fn a_file_is_read_with_its_defaults() {
    let config = Config::parse(GOOD, environment).unwrap();
    assert_eq!(config.database.place(), "database `db` at localhost:5432");
    assert_eq!(config.retention, Retention::For(Duration::from_secs(7 * 24 * 60 * 60)));
    let [commands, tap] = config.sinks.as_slice() else {
        panic!("two sinks")
    };
    assert_eq!(
        commands.selection.types.as_deref(),
        Some(&["invoice.create.%".to_owned()][..])
    );
    assert_eq!(
        commands.target,
        TargetConfig::Sqs {
            queue: "q.fifo".to_owned()
        }
    );
    assert_eq!((commands.max_in_flight, commands.start), (16, None));
    assert_eq!(
        (tap.max_in_flight, tap.max_window, tap.start),
        (4, 100, Some(Start::Now))
    );
    assert_eq!(commands.max_window, 100_000);
    assert_eq!(tap.selection.types, None);
}

#[test]
fn each_kind_of_target_and_a_claim_check_are_read() {
    let read = |table: &str| {
        let text = format!("[database]\nurl = \"postgres://h/d\"\n[[sink]]\nname = \"a\"\n{table}");
        Config::parse(&text, environment).unwrap().sinks.remove(0)
    };
    let sns = read("sns = { topic = \"t.fifo\" }");
    assert_eq!((sns.target.key(), sns.claim_check), ("sns.topic", None));
    let bus = read(
        "eventbridge = { bus = \"default\" }\nclaim_check = { bucket = \"my.bucket-1\", prefix = \"a/b_c\", above_bytes = 1024 }",
    );
    assert_eq!(
        bus.target,
        TargetConfig::EventBridge {
            bus: "default".to_owned()
        }
    );
    assert_eq!(
        bus.claim_check,
        Some(ClaimCheckConfig {
            bucket: "my.bucket-1".to_owned(),
            prefix: "a/b_c".to_owned(),
            above_bytes: Some(1_024)
        })
    );
}

#[test]
fn each_fault_names_its_key_and_the_fix() {
    let change = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        fault(&GOOD.replacen(from, to, 1))
    };
    let cases = [
        (
            change("kind = \"command\"", "knd = \"command\""),
            "sink[0].match.knd",
            "unknown field",
        ),
        (change("[http]", "[htp]"), "htp", "unknown field"),
        (
            change("listen = \"127.0.0.1:0\"", "listen = \"localhost\""),
            "http.listen",
            "127.0.0.1:9464",
        ),
        (
            change("\"env:QUEUE\"", "\"env:NOPE\""),
            "sink[0].sqs.queue",
            "`NOPE` is not set",
        ),
        (
            change("\"env:QUEUE\"", "\"env:EMPTY\""),
            "sink[0].sqs.queue",
            "`EMPTY` is empty",
        ),
        (change("\"env:QUEUE\"", "\"\""), "sink[0].sqs.queue", "is empty"),
        (
            change("\"env:DATABASE_URL\"", "\"mysql://x\""),
            "database.url",
            "postgres://",
        ),
        (
            change("name = \"tap\"", "name = \"commands\""),
            "sink[1].name",
            "another sink",
        ),
        (
            change("name = \"tap\"", "name = \"Tap!\""),
            "sink[1].name",
            "lower-case",
        ),
        (
            change("sqs = { queue = \"tap\" }", ""),
            "sink[1]",
            "one of sqs = { queue = \"…\" }, sns = { topic = \"…\" } and eventbridge = { bus = \"…\" }",
        ),
        (
            change(
                "sqs = { queue = \"tap\" }",
                "sqs = { queue = \"tap\" }\nsns = { topic = \"t\" }",
            ),
            "sink[1]",
            "has sqs and sns; a sink has one target",
        ),
        (
            change("sqs = { queue = \"tap\" }", "sns = { topic = \"\" }"),
            "sink[1].sns.topic",
            "is empty",
        ),
        (
            change("sqs = { queue = \"tap\" }", "eventbridge = { bus = \"\" }"),
            "sink[1].eventbridge.bus",
            "is empty",
        ),
        (
            change("sqs = { queue = \"tap\" }", "sns = { queue = \"t\" }"),
            "sink[1].sns.queue",
            "unknown field",
        ),
        (
            change("sqs = { queue = \"tap\" }", "sqs = { queue = \"q.fifo\" }"),
            "sink[1].sqs.queue",
            "sink `commands` and of sink `tap`",
        ),
        (
            change("start = \"now\"", "claim_check = { bucket = \"No\" }"),
            "sink[1].claim_check.bucket",
            "S3 bucket",
        ),
        (
            change(
                "start = \"now\"",
                "claim_check = { bucket = \"bucket\", prefix = \"a/../b\" }",
            ),
            "sink[1].claim_check.prefix",
            "no slash at either end",
        ),
        (
            change(
                "start = \"now\"",
                "claim_check = { bucket = \"bucket\", above_bytes = 1023 }",
            ),
            "sink[1].claim_check.above_bytes",
            "1024 to 1048576",
        ),
        (
            change("invoice.create.*", "Invoice.*"),
            "sink[0].match.type",
            "lower-case",
        ),
        (
            change("\"command\"", "\"order\""),
            "sink[0].match.kind",
            "`event`, `command`",
        ),
        (
            change("[\"acme\", \"default\"]", "[]"),
            "sink[1].match.tenant",
            "empty list",
        ),
        (
            change("[\"acme\", \"default\"]", "7"),
            "sink[1].match.tenant",
            "a string or an array",
        ),
        (
            change("max_in_flight = 4", "max_in_flight = 0"),
            "sink[1].max_in_flight",
            "1 to 256",
        ),
        (
            change("max_in_flight = 4", "max_in_flight = -1"),
            "sink[1].max_in_flight",
            "1 to 256",
        ),
        (
            change("start = \"now\"", "start = \"later\""),
            "sink[1].start",
            "expected `beginning` or `now`",
        ),
        (
            change("url = \"env:DATABASE_URL\"", ""),
            "database",
            "missing field `url`",
        ),
        (fault("[database]\nurl = \"postgres://x/y\""), "sink", "at least one"),
        (
            change("[database]\n", "[database]\ntls = \"sure\"\n"),
            "database.tls",
            "verify-full",
        ),
        (
            change("[database]\n", "[database]\nca_file = \"/no/such/file\"\n"),
            "database.ca_file",
            "cannot be read",
        ),
        (
            change("\"env:DATABASE_URL\"", "\"postgres://db.example/d?sslmode=require\""),
            "database.url",
            "database.tls",
        ),
        (
            change(
                "url = \"env:DATABASE_URL\"",
                "url = \"postgres://db.example/d?sslmode=require\"\ntls = \"verify-full\"",
            ),
            "database.tls",
            "leave one of them out",
        ),
        (
            change("[database]", "retention_days = 3651\n[database]"),
            "retention_days",
            "1 to 3650",
        ),
        (fault("[database\n"), "configuration", "line 1"),
    ];
    for ((key, problem), expected_key, expected_problem) in cases {
        assert!(
            key.starts_with(expected_key) || expected_key.starts_with(&key),
            "{key}: {problem} (expected {expected_key})"
        );
        assert!(
            problem.contains(expected_problem),
            "{key}: {problem} (expected {expected_problem})"
        );
    }
}

#[test]
fn a_secret_at_the_wrong_key_is_not_shown() {
    let secret = "postgres://u:canary, expected canary@h/d\ncanary";
    let environment = |name: &str| (name == "SECRET").then(|| secret.to_owned());
    let keys = [
        "database = \"env:SECRET\"",
        "[database]\nurl = \"env:SECRET\"",
        "[database]\nurl = [\"env:SECRET\"]",
        "http = \"env:SECRET\"\n[database]\nurl = \"postgres://h/d\"",
        "sink = \"env:SECRET\"\n[database]\nurl = \"postgres://h/d\"",
        "drain_timeout_secs = \"env:SECRET\"\n[database]\nurl = \"postgres://h/d\"",
        "retention_days = \"env:SECRET\"\n[database]\nurl = \"postgres://h/d\"",
        "[database]\nurl = \"postgres://h/d\"\ntls = \"env:SECRET\"",
        "[database]\nurl = \"postgres://h/d\"\nca_file = \"env:SECRET\"",
        "sink = [\"env:SECRET\"]\n[database]\nurl = \"postgres://h/d\"",
    ];
    let sinks = [
        "name = \"env:SECRET\"",
        "name = \"a\"\nsqs = \"env:SECRET\"",
        "name = \"a\"\nmatch = \"env:SECRET\"",
        "name = \"a\"\nmatch = { type = \"env:SECRET\" }",
        "name = \"a\"\nmatch = { kind = \"env:SECRET\" }",
        "name = \"a\"\nmatch = { tenant = \"env:SECRET\" }",
        "name = \"a\"\nstart = \"env:SECRET\"",
        "name = \"a\"\nmax_window = \"env:SECRET\"",
        "name = \"a\"\nmax_in_flight = \"env:SECRET\"",
        "name = \"a\"\nsqs = { queue = [\"env:SECRET\"] }",
        "name = \"a\"\nsns = \"env:SECRET\"",
        "name = \"a\"\nsns = { topic = [\"env:SECRET\"] }",
        "name = \"a\"\neventbridge = { bus = [\"env:SECRET\"] }",
        "name = \"a\"\nsqs = { queue = \"env:SECRET\" }\nsns = { topic = \"env:SECRET\" }",
        "name = \"a\"\nsqs = { queue = \"q\" }\nclaim_check = \"env:SECRET\"",
        "name = \"a\"\nsqs = { queue = \"q\" }\nclaim_check = { bucket = \"env:SECRET\" }",
        "name = \"a\"\nsqs = { queue = \"q\" }\nclaim_check = { bucket = \"bucket\", prefix = \"env:SECRET\" }",
        "name = \"a\"\nsqs = { queue = \"q\" }\nclaim_check = { bucket = \"bucket\", above_bytes = \"env:SECRET\" }",
        "name = \"a\"\nsqs = { queue = \"env:SECRET\" }\n[[sink]]\nname = \"b\"\nsqs = { queue = \"env:SECRET\" }",
    ];
    let texts = keys.iter().map(|text| (*text).to_owned());
    let in_sink = sinks
        .iter()
        .map(|text| format!("[database]\nurl = \"postgres://h/d\"\n[[sink]]\n{text}\n"));
    for text in texts.chain(in_sink) {
        let (key, problem) = Config::parse(&text, environment).expect_err(&text);
        assert!(
            !problem.contains("canary") && !key.contains("canary"),
            "{text}\n{key}: {problem}"
        );
    }
}

#[test]
fn a_variable_can_hold_the_whole_file() {
    let inherited = |name: &str| match name {
        "RELAY_TOML" => Some(GOOD.to_owned()),
        name => environment(name),
    };
    let config = Config::load(Path::new("env:RELAY_TOML"), inherited).unwrap();
    assert_eq!(config.sinks.len(), 2);

    for name in ["EMPTY", "NO_SUCH"] {
        let error = Config::load(Path::new(&format!("env:{name}")), environment).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with(&format!("env:{name}: configuration: ")), "{said}");
        assert!(said.contains(&format!("`{name}` is not set")), "{said}");
    }
}
