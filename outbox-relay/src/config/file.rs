//! The file's shape, and the rules that its values keep.

mod database;
mod sink;
mod target;

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use serde::Deserialize;
use toml::Table;

pub(crate) use self::sink::is_sink_name;
use self::{database::DatabaseTable, sink::SinkTable};
use super::{Config, Fault, SinkConfig};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    database: DatabaseTable,
    #[serde(default)]
    http: HttpTable,
    #[serde(default)]
    drain_timeout_secs: Option<i64>,
    retention_days: Option<i64>,
    #[serde(default)]
    lease_secs: Option<i64>,
    #[serde(default, rename = "sink")]
    sinks: Vec<SinkTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { listen = \"127.0.0.1:9464\" }")]
struct HttpTable {
    listen: Option<String>,
}

/// Reads the table, in which `env:` is resolved already.
pub(super) fn read(table: Table) -> Result<Config, Fault> {
    let file: File = serde_path_to_error::deserialize(table).map_err(|error| {
        let key = match error.path().to_string() {
            path if path == "." => "configuration".to_owned(),
            path => path,
        };
        let problem = describe(&key, error.inner());
        (key, problem)
    })?;
    let database = database::read(file.database)?;
    let retention = database::retention(file.retention_days)?;
    let listen = file
        .http
        .listen
        .as_deref()
        .map(str::parse::<SocketAddr>)
        .transpose()
        .map_err(|_| {
            let problem = "is no address; write an IP address and a port, like 127.0.0.1:9464";
            ("http.listen".to_owned(), problem.to_owned())
        })?;
    let drain_timeout_secs = file.drain_timeout_secs.unwrap_or(20);
    if !(1..=900).contains(&drain_timeout_secs) {
        return Err((
            "drain_timeout_secs".to_owned(),
            "write a number of seconds from 1 to 900".to_owned(),
        ));
    }
    let lease_secs = file.lease_secs.unwrap_or(10);
    if !(2..=300).contains(&lease_secs) {
        return Err((
            "lease_secs".to_owned(),
            "write a number of seconds from 2 to 300".to_owned(),
        ));
    }
    if file.sinks.is_empty() {
        return Err((
            "sink".to_owned(),
            "there is none; write at least one [[sink]] table".to_owned(),
        ));
    }
    let mut names = HashSet::new();
    let mut sinks: Vec<SinkConfig> = Vec::new();
    for (index, table) in file.sinks.into_iter().enumerate() {
        let sink = sink::read(index, table)?;
        if !names.insert(sink.name.clone()) {
            let problem = format!(
                "`{}` is the name of another sink too; a sink's cursors go by its name, so give each its own",
                sink.name
            );
            return Err((format!("sink[{index}].name"), problem));
        }
        if let Some(other) = sinks.iter().find(|other| other.target == sink.target) {
            let problem = same_target(&other.name, &sink.name);
            return Err((format!("sink[{index}].{}", sink.target.key()), problem));
        }
        sinks.push(sink);
    }
    Ok(Config {
        database,
        retention,
        listen,
        drain_timeout: Duration::from_secs(drain_timeout_secs.unsigned_abs()),
        lease: Duration::from_secs(lease_secs.unsigned_abs()),
        sinks,
    })
}

/// What is wrong with two sinks of one target.
pub(crate) fn same_target(one: &str, other: &str) -> String {
    format!(
        "is the target of sink `{one}` and of sink `{other}`, which would send the same events twice or keys out of \
         order; give each its own target, or make them one sink with lists in `match`"
    )
}

/// What the reader says, without the value: it may be a secret that stands at the wrong key.
fn describe(key: &str, error: &toml::de::Error) -> String {
    const ONE_OR_MANY: &str = "a string or an array of strings";
    let said = error.message();
    let names_keys_only = ["unknown field `", "missing field `", "duplicate field `"];
    if names_keys_only.iter().any(|start| said.starts_with(start)) {
        return said.to_owned();
    }
    if key == "sink" {
        return "is no list of tables; write [[sink]] with two brackets".to_owned();
    }
    // The value stands before the last `expected`, and nothing of it may be shown.
    match said
        .rsplit_once(", expected ")
        .or_else(|| (said == ONE_OR_MANY).then_some(("", said)))
    {
        Some((_, "i64")) => "is not what belongs here; expected a whole number without quotes".to_owned(),
        // What the reader says where one of a few words is asked for and there is no text at all.
        Some((_, "string only")) if key.ends_with(".start") => {
            "is not what belongs here; expected `beginning` or `now`".to_owned()
        }
        Some((_, "string only")) => "is not what belongs here; expected `at-least-once` or `at-most-once`".to_owned(),
        Some((_, expected)) => format!("is not what belongs here; expected {expected}"),
        None => "is not what belongs here".to_owned(),
    }
}
