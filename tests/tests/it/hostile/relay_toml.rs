//! What may stand in relay.toml, byte by byte: told by its exit code and one error.

use system_tests::{Database, RelayCommand, Stack};

use super::{Accepted, CANARY, DeadLettered, Outcome, Parked, Refused};

const GOOD: &str = "[database]\nurl = \"env:DATABASE_URL\"\n[[sink]]\nname = \"a\"\nsqs = { queue = \"q\" }\n";

struct Row {
    name: &'static str,
    file: Vec<u8>,
    outcome: Outcome,
}

fn sinks(count: usize) -> String {
    let sink = |n: usize| format!("[[sink]]\nname = \"s{n}\"\nsqs = {{ queue = \"q{n}\" }}\n");
    let sinks: String = (0..count).map(sink).collect();
    format!("[database]\nurl = \"env:DATABASE_URL\"\n{sinks}")
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let row = |name, file: &dyn AsRef<[u8]>, outcome| Row { name, file: file.as_ref().to_vec(), outcome };
    // Before the first table, or at the end, which is the sink's.
    let top = |line: &str| format!("{line}\n{GOOD}");
    let end = |line: &str| format!("{GOOD}{line}\n");
    let bad = |words| Refused("2", words);
    vec![
        row("good", &GOOD, Accepted),
        row("nothing", &"", bad("database")),
        row("white space", &" \n\t\n", bad("database")),
        row("no sink", &"[database]\nurl = \"env:DATABASE_URL\"\n", bad("sink")),
        row("NUL", &[b"\0", GOOD.as_bytes()].concat(), bad("relay.toml")),
        row("invalid UTF-8", &[GOOD.as_bytes(), b"# \xff\n"].concat(), bad("UTF-8")),
        row("UTF-16", &GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>(), bad("relay.toml")),
        row("a byte order mark", &format!("\u{feff}{GOOD}"), Accepted),
        row("Windows' ends of lines", &GOOD.replace('\n', "\r\n"), Accepted),
        row("JSON", &"{\"database\": {}}", bad("relay.toml")),
        row("eight megabytes of remarks", &format!("{GOOD}#{}\n", "x".repeat(8_000_000)), Accepted),
        row("arrays, 100,000 deep", &top(&format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000))), bad("relay.toml")),
        row("tables, 10,000 deep", &end(&format!("[a{}]", ".a".repeat(10_000))), bad("relay.toml")),
        row("a key twice", &end("name = \"b\""), bad("duplicate key")),
        row("a table twice", &end("[database]\nurl = \"kanarienvogel\""), bad("duplicate key")),
        row("a sink's name twice", &end("[[sink]]\nname = \"a\"\nsqs = { queue = \"r\" }"), bad("sink[1].name")),
        row("a target twice", &end("[[sink]]\nname = \"b\"\nsqs = { queue = \"q\" }"), bad("sink[1]")),
        row("a sink that is no list", &GOOD.replace("[[sink]]", "[sink]"), bad("sink")),
        row("a database that is text", &GOOD.replace("[database]\nurl", "database"), bad("database")),
        row("text where a number stands", &top("lease_secs = \"10\""), bad("lease_secs")),
        row("beyond 64 bits", &top("lease_secs = 9223372036854775808"), bad("relay.toml")),
        row("below zero", &top("lease_secs = -9223372036854775808"), bad("lease_secs")),
        row("no number", &top("lease_secs = nan"), bad("lease_secs")),
        row("a time", &top("lease_secs = 2026-01-01T00:00:00Z"), bad("lease_secs")),
        row("an unknown key", &top("kanarienvögel = 1"), bad("relay.toml")),
        row("an unknown key whose name is long", &top(&format!("{} = 1", "k".repeat(500))), bad("relay.toml")),
        row("a sink's name in odd characters", &GOOD.replace("\"a\"", "\"a\\u200b\""), bad("sink[0].name")),
        row("a queue of nothing", &GOOD.replace("\"q\"", "\"\""), bad("sink[0].sqs")),
        row("an environment variable that is not there", &GOOD.replace("env:DATABASE_URL", "env:NO_SUCH_VARIABLE"), bad("NO_SUCH_VARIABLE")),
        row("a secret where the database's URL stands", &GOOD.replace("env:DATABASE_URL", "kanarienvogel"), bad("database.url")),
        row("sixteen sinks", &sinks(16), Accepted),
    ]
}

#[tokio::test]
async fn each_file_is_taken_or_refused_with_one_error_that_names_the_place() {
    let stack = Stack::from_env().await.unwrap();
    let database = Database::create(&stack).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("relay.toml");
    let mut wrong = Vec::new();
    for Row { name, file, outcome } in rows() {
        std::fs::write(&path, &file).unwrap();
        let command = RelayCommand::new(&["status", "--config"]).arg(path.to_str().unwrap());
        let printed = command.on(&database).run().await.unwrap();
        let (code, said) = (printed.code.unwrap_or(-1).to_string(), &printed.stderr);
        let is_right = match outcome {
            Accepted => code == "0",
            Refused(expected, words) => {
                let is_one_error = said.len() < 2_000 && !said.contains("panicked") && !said.contains(CANARY);
                code == expected && said.contains(words) && is_one_error
            }
            Parked(_) | DeadLettered(..) => false,
        };
        if !is_right {
            let said: String = said.chars().take(500).collect();
            wrong.push(format!(
                "{name}: {outcome:?} was expected, and it ended with {code}: {said}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
