//! `relay.toml`, read once into one validated value.
//!
//! ```toml
//! [database]
//! url = "env:DATABASE_URL"
//!
//! [http]
//! listen = "127.0.0.1:9464"          # /healthz, /readyz, /metrics
//!
//! [[sink]]
//! name = "invoice-commands"
//! match = { type = "invoice.create.*", kind = "command" }
//! sqs = { queue = "invoice-commands.fifo" }
//! ```
//!
//! Every string may be `"env:NAME"`, which is the value of that environment variable. So may the
//! file's own path: where files are hard to place (a container), the variable holds the whole text.

mod environment;
mod file;
pub(crate) mod pattern;
mod written;

use std::{net::SocketAddr, path::Path, time::Duration};

use crate::{
    database::Database,
    log::{page::Selection, store::Start},
    sink::{Guarantee, gather::BundleLimits},
};
pub(crate) use file::{is_sink_name, same_target};

/// The relay's configuration.
#[derive(Debug)]
pub struct Config {
    /// The database with the outbox.
    pub database: Database,
    /// How long events stay in the log.
    pub retention: Retention,
    /// Where health and metrics are served; `None` for nowhere.
    pub listen: Option<SocketAddr>,
    /// Longest that a stopping relay waits for answers.
    pub drain_timeout: Duration,
    /// Within this time a killed relay's shards are taken over by the others.
    pub lease: Duration,
    /// The sinks, at least one.
    pub sinks: Vec<SinkConfig>,
}

/// How long events stay in the log after they were written; longer where a sink still needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// At least this long.
    For(Duration),
    /// Nothing is dropped.
    ForEver,
}

/// One sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkConfig {
    /// Its name, which its cursors go by.
    pub name: String,
    /// Which events it wants.
    pub selection: Selection,
    /// Where they go.
    pub target: TargetConfig,
    /// What one message may hold; `None` for one event.
    pub bundle: Option<BundleLimits>,
    /// How often an event may arrive.
    pub guarantee: Guarantee,
    /// Where data goes that is too large for the target; `None` for nowhere.
    pub claim_check: Option<ClaimCheckConfig>,
    /// Requests in flight at once.
    pub max_in_flight: usize,
    /// Most events that may pass one that is stuck, and that a crash may repeat.
    pub max_window: usize,
    /// Where in the log it begins when it is new; `None` for the beginning, unless it may be a renamed one.
    pub start: Option<Start>,
}

/// Where a sink's events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetConfig {
    /// An SQS queue by name, URL or ARN.
    Sqs {
        /// The queue.
        queue: String,
    },
    /// An SNS topic by name or ARN.
    Sns {
        /// The topic.
        topic: String,
    },
    /// An EventBridge event bus by name or ARN.
    EventBridge {
        /// The bus.
        bus: String,
    },
}

impl Default for Retention {
    fn default() -> Self {
        Self::For(Duration::from_secs(7 * 24 * 60 * 60))
    }
}

impl TargetConfig {
    /// The key that names the target in a `[[sink]]` table.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Sqs { .. } => "sqs.queue",
            Self::Sns { .. } => "sns.topic",
            Self::EventBridge { .. } => "eventbridge.bus",
        }
    }
}

/// Where data goes that is too large for its target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCheckConfig {
    /// The S3 bucket.
    pub bucket: String,
    /// What the objects' keys begin with, without the slash behind it; empty for none.
    pub prefix: String,
    /// Messages above this many bytes go by reference though the target would take them; `None` for
    /// the target's own limit.
    pub above_bytes: Option<usize>,
}

/// What is wrong with the configuration; names the key and the fix.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {key}: {problem}")]
pub struct ConfigError {
    /// The file, as given.
    pub file: String,
    /// The key's path, such as `sink[0].sqs.queue`; `configuration` when it is the whole file.
    pub key: String,
    /// What is wrong and what to write instead; with the value that was found, where it can be no secret.
    pub problem: String,
}

impl Config {
    /// Reads and validates a file. `environment` looks up what `env:NAME` stands for; a path
    /// `env:NAME` is the variable that holds the file's text.
    ///
    /// # Errors
    /// The first fault, by key.
    pub fn load(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let named = |(key, problem)| ConfigError {
            file: path.display().to_string(),
            key,
            problem,
        };
        let text = text(path, &environment).map_err(|problem| named(("configuration".to_owned(), problem)))?;
        Self::parse(&text, environment).map_err(named)
    }

    fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let mut table: toml::Table = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
            let problem = format!("is no TOML at line {line}: {}", error.message());
            ("configuration".to_owned(), problem)
        })?;
        let written = table.clone();
        environment::resolve(&mut table, &environment)?;
        file::read(table).map_err(|(key, problem)| match written::found(&written, &key) {
            Some(found) => (key, format!("{problem} (found {found})")),
            None => (key, problem),
        })
    }
}

fn text(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(name) = path.to_str().and_then(|path| path.strip_prefix("env:")) {
        return environment(name)
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| format!("environment variable `{name}` is not set; set it to the text of a relay.toml"));
    }
    std::fs::read_to_string(path)
        .map_err(|error| format!("cannot be read ({error}); pass the path of a relay.toml with --config"))
}

/// A key's path, and what is wrong with it.
type Fault = (String, String);

#[cfg(test)]
mod tests;
