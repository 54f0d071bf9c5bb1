//! The file's shape, and the rules that its values keep.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use oncebox_envelope::{Kind, Tenant};
use secrecy::SecretString;
use serde::Deserialize;
use toml::Table;

use super::{Config, Fault, SinkConfig, TargetConfig, pattern};
use crate::{
    log::{page::Selection, store::Start},
    sink::supervisor::Database,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    database: DatabaseTable,
    #[serde(default)]
    http: HttpTable,
    #[serde(default)]
    drain_timeout_secs: Option<i64>,
    #[serde(default, rename = "sink")]
    sinks: Vec<SinkTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { url = \"postgres://…\" }")]
struct DatabaseTable {
    url: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { listen = \"127.0.0.1:9464\" }")]
struct HttpTable {
    listen: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a [[sink]] table")]
struct SinkTable {
    name: String,
    #[serde(default, rename = "match")]
    selection: MatchTable,
    sqs: Option<SqsTable>,
    max_in_flight: Option<i64>,
    max_window: Option<i64>,
    #[serde(default)]
    start: StartWord,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { type = \"invoice.*\" }")]
struct MatchTable {
    #[serde(rename = "type")]
    types: Option<OneOrMany>,
    #[serde(rename = "kind")]
    kinds: Option<OneOrMany>,
    #[serde(rename = "tenant")]
    tenants: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table like { queue = \"…\" }")]
struct SqsTable {
    queue: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or an array of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StartWord {
    #[default]
    Beginning,
    Now,
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
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
    let database_url = SecretString::from(file.database.url);
    Database::new(&database_url).map_err(|problem| ("database.url".to_owned(), problem.to_string()))?;
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
    if file.sinks.is_empty() {
        return Err((
            "sink".to_owned(),
            "there is none; write at least one [[sink]] table".to_owned(),
        ));
    }
    let mut names = HashSet::new();
    let mut sinks = Vec::new();
    for (index, table) in file.sinks.into_iter().enumerate() {
        let sink = sink(index, table)?;
        if !names.insert(sink.name.clone()) {
            let problem = format!(
                "`{}` is the name of another sink too; a sink's cursors go by its name, so give each its own",
                sink.name
            );
            return Err((format!("sink[{index}].name"), problem));
        }
        sinks.push(sink);
    }
    Ok(Config {
        database_url,
        listen,
        drain_timeout: Duration::from_secs(drain_timeout_secs.unsigned_abs()),
        sinks,
    })
}

fn sink(index: usize, table: SinkTable) -> Result<SinkConfig, Fault> {
    let fault = |key: &str, problem: &str| (format!("sink[{index}].{key}"), problem.to_owned());
    let name_is_right = (1..=64).contains(&table.name.len())
        && table
            .name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if !name_is_right {
        return Err(fault(
            "name",
            "write 1 to 64 lower-case letters, digits, hyphens and underscores",
        ));
    }
    let types = list(table.selection.types, |glob| {
        pattern::like(&glob).map_err(str::to_owned)
    });
    let kinds = list(table.selection.kinds, |kind| match kind.parse::<Kind>() {
        Ok(kind) => Ok(kind.to_string()),
        Err(error) => Err(error.to_string()),
    });
    let tenants = list(table.selection.tenants, |tenant| match tenant.parse::<Tenant>() {
        Ok(tenant) => Ok(tenant.to_string()),
        Err(error) => Err(error.to_string()),
    });
    let Some(sqs) = table.sqs else {
        return Err(fault(
            "sqs",
            "is missing; write where the events go: sqs = { queue = \"…\" }",
        ));
    };
    if sqs.queue.is_empty() {
        return Err(fault("sqs.queue", "is empty; write the queue's name, URL or ARN"));
    }
    let max_in_flight = table.max_in_flight.unwrap_or(16);
    if !(1..=256).contains(&max_in_flight) {
        return Err(fault("max_in_flight", "write a number of requests from 1 to 256"));
    }
    let max_window = table.max_window.unwrap_or(100_000);
    if !(100..=1_000_000).contains(&max_window) {
        return Err(fault("max_window", "write a number of events from 100 to 1000000"));
    }
    Ok(SinkConfig {
        name: table.name,
        selection: Selection {
            types: types.map_err(|problem| fault("match.type", &problem))?,
            kinds: kinds.map_err(|problem| fault("match.kind", &problem))?,
            tenants: tenants.map_err(|problem| fault("match.tenant", &problem))?,
            shards: None,
        },
        target: TargetConfig::Sqs { queue: sqs.queue },
        max_in_flight: usize::try_from(max_in_flight).unwrap_or(16),
        max_window: usize::try_from(max_window).unwrap_or(100_000),
        start: match table.start {
            StartWord::Beginning => Start::Beginning,
            StartWord::Now => Start::Now,
        },
    })
}

fn list(
    words: Option<OneOrMany>,
    read: impl Fn(String) -> Result<String, String>,
) -> Result<Option<Vec<String>>, String> {
    let Some(words) = words else { return Ok(None) };
    let words = words.into_vec();
    if words.is_empty() {
        return Err("is an empty list, which matches nothing; leave it out to match all".to_owned());
    }
    words.into_iter().map(read).collect::<Result<Vec<_>, _>>().map(Some)
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
        Some((_, expected)) => format!("is not what belongs here; expected {expected}"),
        None => "is not what belongs here".to_owned(),
    }
}
