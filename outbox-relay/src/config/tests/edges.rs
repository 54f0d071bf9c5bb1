//! Every key of relay.toml at its edges: the last good value, the first bad one, another type, nothing.

mod rows;

use self::rows::ROWS;
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
