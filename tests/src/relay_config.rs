//! A `relay.toml` for tests.

use std::fmt::Write as _;

use crate::{Database, Queue};

/// A `relay.toml` and the environment that goes with it.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    toml: String,
    pub(crate) environment: Vec<(String, String)>,
}

impl RelayConfig {
    /// The relay of `database`, without sinks yet, on a port of its own choice.
    #[must_use]
    pub fn new(database: &Database) -> Self {
        let toml = "drain_timeout_secs = 3\nlease_secs = 2\n\n[database]\nurl = \"env:DATABASE_URL\"\n\n[http]\nlisten = \"127.0.0.1:0\"\n";
        Self::from_toml(toml).env("DATABASE_URL", database.url.as_str())
    }

    /// Exactly this text.
    #[must_use]
    pub fn from_toml(toml: &str) -> Self {
        Self {
            toml: toml.to_owned(),
            environment: Vec::new(),
        }
    }

    /// Adds a sink: every event that `matching` (a TOML inline table) lets through goes to `queue`.
    #[must_use]
    pub fn sink(self, name: &str, matching: &str, queue: &Queue) -> Self {
        self.sink_to(name, matching, &queue.name)
    }

    /// As [`RelayConfig::sink`], to a queue that is told by name, URL or ARN.
    #[must_use]
    pub fn sink_to(self, name: &str, matching: &str, queue: &str) -> Self {
        self.sink_table(name, matching, &format!("sqs = {{ queue = \"{queue}\" }}"))
    }

    /// Adds a sink whose target, and whatever else it has, is written in `lines` of TOML.
    #[must_use]
    pub fn sink_table(mut self, name: &str, matching: &str, lines: &str) -> Self {
        let _ = write!(
            self.toml,
            "\n[[sink]]\nname = \"{name}\"\nmatch = {matching}\n{lines}\n"
        );
        self
    }

    /// Sets a variable of the relay's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The file's text.
    #[must_use]
    pub fn toml(&self) -> &str {
        &self.toml
    }
}
