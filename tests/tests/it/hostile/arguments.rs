//! What may stand on the command line of `outbox-relay`, as the operating system hands it over.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
};

use system_tests::{Database, Stack, binary};

use super::{Accepted, DeadLettered, Outcome, Parked, Refused};

struct Row {
    name: &'static str,
    arguments: Vec<OsString>,
    outcome: Outcome,
}

fn row<T: AsRef<OsStr>>(name: &'static str, arguments: &[T], outcome: Outcome) -> Row {
    let arguments = arguments.iter().map(|argument| argument.as_ref().to_owned()).collect();
    Row {
        name,
        arguments,
        outcome,
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let bad = |words| Refused("2", words);
    let limit = |name, value: &str, outcome| row(name, &["parked", "list", "--limit", value], outcome);
    let odd = |option: &str| [OsStr::new("parked"), OsStr::new("list"), OsStr::new(option), OsStr::from_bytes(b"a\xff")].map(ToOwned::to_owned);
    let list = |name, option: &str, value: &str, outcome| row(name, &["parked", "list", option, value], outcome);
    vec![
        row("nothing at all", &[""; 0], bad("Usage")),
        row("an empty word", &[""], bad("Usage")),
        row("a word in odd characters", &["\u{202e}nur\u{200b}"], bad("Usage")),
        limit("one", "1", Accepted),
        limit("no characters", "", bad("--limit")),
        limit("zero", "0", bad("--limit")),
        limit("below zero", "-1", bad("--limit")),
        limit("a power of ten", "1e3", bad("--limit")),
        limit("digits of another script", "１０", bad("--limit")),
        limit("white space around a number", " 1", bad("--limit")),
        limit("64 bits", "9223372036854775807", bad("--limit")),
        limit("more than 64 bits", "18446744073709551616", bad("--limit")),
        limit("a megabyte's worth of digits", &"9".repeat(100_000), bad("--limit")),
        limit("no number", "NaN", bad("--limit")),
        list("the last position", "--seq", "9223372036854775807", Accepted),
        list("the position after the last", "--seq", "9223372036854775808", bad("--seq")),
        list("an id of zeros", "--id", "00000000-0000-0000-0000-000000000000", Accepted),
        list("half an id", "--id", "00000000", bad("--id")),
        list("a key of 100,000 bytes", "--key", &"k".repeat(100_000), Accepted),
        list("a key in odd characters", "--key", "\u{202e}\u{200b}\u{10ffff}\u{1}", Accepted),
        list("a key of no characters", "--key", "", Accepted),
        list("a tenant that is SQL", "--tenant", "'; drop table oncebox.parked; --", Accepted),
        list("a sink of no characters", "--sink", "", bad("there is no sink")),
        list("a state in capitals", "--state", "PARKED", bad("--state")),
        list("a configuration of no name", "--config", "", bad("--config")),
        list("a configuration that is a folder", "--config", "/", bad("/")),
        row("a key that is no UTF-8", &odd("--key"), bad("invalid UTF-8")),
        row("a sink that is no UTF-8", &odd("--sink"), bad("invalid UTF-8")),
        row("an option twice", &["parked", "list", "--limit", "1", "--limit", "2"], bad("--limit")),
        row("an option without its value", &["parked", "list", "--limit"], bad("--limit")),
        row("an unknown option", &["parked", "list", "--\u{200b}limit", "1"], bad("unexpected argument")),
        row("a shard after the last", &["cursor", "reset", "--sink", "a", "--to", "now", "--shard", "16", "--yes"], bad("--shard")),
        row("a time that is none", &["cursor", "reset", "--sink", "a", "--to", "2026-02-29T00:00:00Z", "--yes"], bad("--to")),
        row("a time before all times", &["cursor", "reset", "--sink", "a", "--to", "-9999999-01-01T00:00:00Z", "--yes"], bad("--to")),
    ]
}

#[tokio::test]
async fn each_command_line_is_taken_or_refused_with_what_is_wrong() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let mut wrong = Vec::new();
    for Row {
        name,
        arguments,
        outcome,
    } in rows()
    {
        let mut command = tokio::process::Command::new(binary("outbox-relay").unwrap());
        command.args(&arguments).env_remove("OUTBOX_RELAY_CONFIG");
        command
            .env("DATABASE_URL", database.url.as_str())
            .stdin(std::process::Stdio::null());
        let printed = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&printed.stderr);
        let code = printed.status.code().unwrap_or(-1).to_string();
        let is_right = match outcome {
            Accepted => code == "0",
            Refused(expected, words) => code == expected && said.contains(words) && !said.contains("panicked"),
            Parked(_) | DeadLettered(..) => false,
        };
        if !is_right {
            wrong.push(format!(
                "{name}: {outcome:?} was expected, and it ended with {code}: {said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
