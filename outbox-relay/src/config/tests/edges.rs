//! Every key of relay.toml at its edges: the last good value, the first bad one, another type, nothing.

use super::*;

/// Where a key stands: what is written before it in the file of one sink.
#[derive(Clone, Copy)]
enum Table {
    Top,
    Database,
    Http,
    Sink,
}

/// A key as a message names it, its table, how it is written (`@` is the value), values that are
/// taken, and values that are not, each with what the message has to say.
type Row = (
    &'static str,
    Table,
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const NUMBER: &str = "expected a whole number without quotes";

const ROWS: &[Row] = &[
    (
        "retention_days",
        Table::Top,
        "retention_days = @",
        &["0", "1", "3650"],
        &[
            ("-1", "1 to 3650, or 0 to keep events for ever (found -1)"),
            ("3651", "(found 3651)"),
            ("9223372036854775807", "1 to 3650"),
            ("\"7\"", NUMBER),
            ("\"\"", NUMBER),
            ("1.5", NUMBER),
        ],
    ),
    (
        "lease_secs",
        Table::Top,
        "lease_secs = @",
        &["2", "300"],
        &[
            ("1", "from 2 to 300 (found 1)"),
            ("301", "from 2 to 300 (found 301)"),
            ("-10", "(found -10)"),
            ("\"10\"", NUMBER),
            ("\"\"", NUMBER),
            ("true", NUMBER),
        ],
    ),
    (
        "drain_timeout_secs",
        Table::Top,
        "drain_timeout_secs = @",
        &["1", "900"],
        &[
            ("0", "from 1 to 900 (found 0)"),
            ("901", "from 1 to 900 (found 901)"),
            ("\"\"", NUMBER),
        ],
    ),
    (
        "database.tls",
        Table::Database,
        "tls = @",
        &["\"verify-full\"", "\"require\"", "\"disable\""],
        &[
            (
                "\"sure\"",
                "\"verify-full\", \"verify-ca\", \"require\" or \"disable\" (found `sure`)",
            ),
            ("\"\"", "verify-full"),
            ("7", "expected a string"),
            ("\"env:EMPTY\"", "`EMPTY` is empty"),
        ],
    ),
    (
        "database.ca_file",
        Table::Database,
        "ca_file = @",
        &[],
        &[
            ("\"/no/such/file\"", "cannot be read"),
            ("\"\"", "cannot be read"),
            ("7", "expected"),
        ],
    ),
    (
        "database.ca_file",
        Table::Database,
        "tls = @",
        &[],
        &[("\"verify-ca\"", "is missing")],
    ),
    (
        "http.listen",
        Table::Http,
        "listen = @",
        &["\"127.0.0.1:0\"", "\"[::1]:65535\""],
        &[
            ("\"127.0.0.1:65536\"", "like 127.0.0.1:9464 (found `127.0.0.1:65536`)"),
            ("\"localhost:9464\"", "write an IP address and a port"),
            ("\":9464\"", "write an IP address and a port"),
            ("\"\"", "write an IP address and a port"),
            ("9464", "expected a string"),
        ],
    ),
    (
        "http.host",
        Table::Http,
        "host = @",
        &[],
        &[("\"h\"", "unknown field `host`, expected `listen`")],
    ),
    (
        "sink[0].name",
        Table::Sink,
        "name = @",
        &["\"a\"", "\"a-_9\""],
        &[
            ("\"\"", "1 to 64 lower-case letters"),
            ("\"Tap\"", "(found `Tap`)"),
            ("\"a b\"", "(found `a b`)"),
            ("7", "expected a string"),
        ],
    ),
    (
        "sink[0].match.type",
        Table::Sink,
        "match = { type = @ }",
        &["\"*\"", "\"a.v?\"", "[\"a\", \"b\"]"],
        &[
            ("\"\"", "write `*` for all"),
            ("\"A.*\"", "lower-case letters"),
            (
                "\"a.[bc]\"",
                "lower-case letters, digits, `.`, `_`, `-`, `*` (any text) and `?` (one character) (found `a.[bc]`)",
            ),
            ("\"a%\"", "lower-case letters"),
            ("[]", "is an empty list, which matches nothing"),
            ("7", "a string or an array of strings"),
            ("[7]", "a string or an array of strings"),
        ],
    ),
    (
        "sink[0].match.type[1]",
        Table::Sink,
        "match = { type = @ }",
        &[],
        &[("[\"a\", \"B\"]", "(found `B`)")],
    ),
    (
        "sink[0].match.kind",
        Table::Sink,
        "match = { kind = @ }",
        &["\"query\"", "[\"event\", \"reply\"]"],
        &[
            ("\"Event\"", "`event`, `command`"),
            ("\"\"", "`event`, `command`"),
            ("[]", "is an empty list"),
            ("true", "a string or an array of strings"),
        ],
    ),
    (
        "sink[0].match.tenant",
        Table::Sink,
        "match = { tenant = @ }",
        &["\"acme\""],
        &[
            ("\"\"", "empty"),
            ("[]", "is an empty list"),
            ("7", "a string or an array of strings"),
        ],
    ),
    (
        "sink[0].match.tipe",
        Table::Sink,
        "match = { tipe = @ }",
        &[],
        &[("\"a\"", "unknown field `tipe`, expected one of `type`")],
    ),
    (
        "sink[0].match",
        Table::Sink,
        "match = @",
        &["{}"],
        &[("\"invoice.*\"", "a table like { type = \"invoice.*\" }")],
    ),
    (
        "sink[0].sqs.queue",
        Table::Sink,
        "sqs = { queue = @ }",
        &["\"q\"", "\"https://sqs.example/1/q\""],
        &[
            ("\"\"", "is empty; write the queue's name, URL or ARN"),
            ("7", "expected a string"),
        ],
    ),
    (
        "sink[0].sqs",
        Table::Sink,
        "sqs = @",
        &[],
        &[("\"q\"", "a table like { queue = "), ("{}", "missing field `queue`")],
    ),
    (
        "sink[0].sns.topic",
        Table::Sink,
        "sns = { topic = @ }",
        &["\"t.fifo\""],
        &[
            ("\"\"", "is empty; write the topic's name or ARN"),
            ("7", "expected a string"),
        ],
    ),
    (
        "sink[0].eventbridge.bus",
        Table::Sink,
        "eventbridge = { bus = @ }",
        &["\"default\""],
        &[
            ("\"\"", "is empty; write the event bus's name or ARN"),
            ("7", "expected a string"),
        ],
    ),
    (
        "sink[0].claim_check.bucket",
        Table::Sink,
        "claim_check = { bucket = @ }",
        &["\"abc\"", "\"a.b-c\""],
        &[
            (
                "\"ab\"",
                "3 to 63 lower-case letters, digits, dots and hyphens (found `ab`)",
            ),
            ("\"-ab\"", "S3 bucket"),
            ("\"Abc\"", "S3 bucket"),
            ("\"\"", "S3 bucket"),
            ("7", "expected a string"),
        ],
    ),
    (
        "sink[0].claim_check.prefix",
        Table::Sink,
        "claim_check = { bucket = \"abc\", prefix = @ }",
        &["\"\"", "\"a/b\""],
        &[
            ("\"/a\"", "between them (found `/a`)"),
            ("\"a/\"", "no slash"),
            ("\"a/../b\"", "no slash"),
            ("\"a b\"", "1 to 512 letters"),
            ("7", "expected a string"),
        ],
    ),
    (
        "sink[0].claim_check.above_bytes",
        Table::Sink,
        "claim_check = { bucket = \"abc\", above_bytes = @ }",
        &["1024", "1048576"],
        &[
            (
                "1023",
                "from 1024 to 1048576, or leave it out for the target's own limit (found 1023)",
            ),
            ("1048577", "(found 1048577)"),
            ("-1", "(found -1)"),
            ("\"1024\"", NUMBER),
        ],
    ),
    (
        "sink[0].claim_check",
        Table::Sink,
        "claim_check = @",
        &[],
        &[
            ("\"abc\"", "a table like { bucket = "),
            ("{}", "missing field `bucket`"),
        ],
    ),
    (
        "sink[0].bundle",
        Table::Sink,
        "bundle = @",
        &["{}"],
        &[
            (
                "true",
                "a table like { max_events = 100, max_bytes = 65536, linger_ms = 5 }",
            ),
            ("100", "a table like { max_events"),
        ],
    ),
    (
        "sink[0].bundle.max_events",
        Table::Sink,
        "bundle = { max_events = @ }",
        &["2", "1000"],
        &[
            ("1", "from 2 to 1000 (found 1)"),
            ("1001", "(found 1001)"),
            ("\"2\"", NUMBER),
        ],
    ),
    (
        "sink[0].bundle.max_bytes",
        Table::Sink,
        "bundle = { max_bytes = @ }",
        &["1024", "1048576"],
        &[
            ("1023", "from 1024 to 1048576 (found 1023)"),
            ("1048577", "(found 1048577)"),
            ("\"64 KiB\"", NUMBER),
        ],
    ),
    (
        "sink[0].bundle.linger_ms",
        Table::Sink,
        "bundle = { linger_ms = @ }",
        &["0", "10000"],
        &[
            ("-1", "from 0 to 10000 (found -1)"),
            ("10001", "(found 10001)"),
            ("0.5", NUMBER),
        ],
    ),
    (
        "sink[0].bundle.size",
        Table::Sink,
        "bundle = { size = @ }",
        &[],
        &[("2", "unknown field `size`, expected one of `max_events`")],
    ),
    (
        "sink[0].guarantee",
        Table::Sink,
        "guarantee = @",
        &["\"at-least-once\"", "\"at-most-once\""],
        &[
            (
                "\"exactly-once\"",
                "expected `at-least-once` or `at-most-once` (found `exactly-once`)",
            ),
            ("\"\"", "expected `at-least-once` or `at-most-once`"),
            ("1", "at-least-once"),
        ],
    ),
    (
        "sink[0].max_in_flight",
        Table::Sink,
        "max_in_flight = @",
        &["1", "256"],
        &[
            ("0", "from 1 to 256 (found 0)"),
            ("257", "from 1 to 256 (found 257)"),
            ("\"\"", NUMBER),
        ],
    ),
    (
        "sink[0].max_window",
        Table::Sink,
        "max_window = @",
        &["100", "1000000"],
        &[
            ("99", "from 100 to 1000000 (found 99)"),
            ("1000001", "(found 1000001)"),
            ("1e3", NUMBER),
        ],
    ),
    (
        "sink[0].start",
        Table::Sink,
        "start = @",
        &["\"beginning\"", "\"now\""],
        &[
            ("\"later\"", "expected `beginning` or `now` (found `later`)"),
            ("\"\"", "expected `beginning` or `now`"),
            ("7", "beginning"),
        ],
    ),
    (
        "sink[0].max_retries",
        Table::Sink,
        "max_retries = @",
        &[],
        &[("3", "unknown field `max_retries`")],
    ),
    (
        "leases",
        Table::Top,
        "leases = @",
        &[],
        &[("3", "unknown field `leases`")],
    ),
];

/// A right file of one sink, but for this line.
fn file(table: Table, line: &str) -> String {
    let of = |here: bool, table: &str| {
        if here {
            format!("{table}\n{line}\n")
        } else {
            format!("{table}\n")
        }
    };
    let key = line.split(' ').next().unwrap_or_default();
    let is_target = matches!(key, "sqs" | "sns" | "eventbridge");
    let name = if key == "name" { "" } else { "name = \"a\"\n" };
    let target = if is_target { "" } else { "sqs = { queue = \"q\" }\n" };
    [
        of(matches!(table, Table::Top), ""),
        of(
            matches!(table, Table::Database),
            "[database]\nurl = \"postgres://localhost/d\"",
        ),
        of(matches!(table, Table::Http), "[http]"),
        of(matches!(table, Table::Sink), "[[sink]]"),
        name.to_owned(),
        target.to_owned(),
    ]
    .concat()
}

#[test]
fn every_key_takes_its_last_good_value_and_refuses_the_next_with_key_value_and_fix() {
    for (key, table, line, good, bad) in ROWS {
        for value in *good {
            let text = file(*table, &line.replace('@', value));
            let read = Config::parse(&text, environment);
            assert!(read.is_ok(), "{key} = {value}: {:?}\n{text}", read.err());
        }
        for (value, words) in *bad {
            let text = file(*table, &line.replace('@', value));
            let (found, problem) = Config::parse(&text, environment).expect_err(&text);
            assert_eq!(&found, key, "{value}: {problem}");
            assert!(
                problem.contains(words),
                "{key} = {value}: `{problem}` says nothing of `{words}`"
            );
        }
    }
}

#[test]
fn lengths_are_counted_to_the_last_character() {
    let parse = |line: String| Config::parse(&file(Table::Sink, &line), environment);
    for (line, most) in [
        ("name = \"@\"", 64),
        ("claim_check = { bucket = \"@\" }", 63),
        ("claim_check = { bucket = \"abc\", prefix = \"@\" }", 512),
        ("match = { tenant = \"@\" }", 128),
    ] {
        let of = |length: usize| line.replace('@', &"a".repeat(length));
        assert!(parse(of(most)).is_ok(), "{line} with {most}");
        assert!(parse(of(most + 1)).is_err(), "{line} with {}", most + 1);
    }
}

#[test]
fn the_documented_keys_are_those_that_are_tested() {
    let documented = include_str!("../../../../docs/OPERATIONS.md");
    let (_, section) = documented.split_once("## relay.toml").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("another section");
    let named = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: Vec<&str> = named.filter_map(|line| line.split('`').next()).collect();
    assert!(named.len() > 15, "{named:?}");
    for key in named {
        let is_tested = key == "database.url" // see `each_fault_names_its_key_and_the_fix`
            || ROWS.iter().any(|(tested, ..)| tested.replace("sink[0]", "sink") == key);
        assert!(is_tested, "`{key}` is in docs/OPERATIONS.md and not in this table");
    }
}
