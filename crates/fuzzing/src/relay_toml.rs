//! `relay.toml`.

use std::{collections::HashSet, path::Path, time::Duration};

use outbox_relay::config::{Config, ConfigError, Retention};

/// A text in the environment that no error of ours has by itself, and no name of a sink, which is no secret: it is shown everywhere.
const CANARY: &str = "C4n4ry";

/// The first steps of the keys that an error may name.
const KEYS: [&str; 7] = [
    "configuration",
    "database",
    "http",
    "drain_timeout_secs",
    "retention_days",
    "lease_secs",
    "sink",
];

/// A configuration is within its bounds and reads the same twice; a fault names its key and what to do; neither an error nor a
/// configuration that is printed shows what stands in the environment.
pub fn relay_toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let read = || Config::load(Path::new("env:RELAY_TOML"), |name| environment(name, text));
    match read() {
        Ok(config) => {
            assert_within_bounds(&config);
            assert_eq!(format!("{config:?}"), format!("{:?}", read().expect("the same text")));
            assert!(!format!("{} {:?}", config.database.place(), config.database.weakness()).is_empty());
            if !text.contains(CANARY) {
                assert!(!config.database.place().contains(CANARY), "a password is shown");
            }
        }
        Err(error) => assert_fault(&error, text),
    }
}

/// The file's text, a database's URL with a secret in it, a secret, nothing.
fn environment(name: &str, text: &str) -> Option<String> {
    match name {
        "RELAY_TOML" => Some(text.to_owned()),
        "EMPTY" => Some(String::new()),
        _ if name.starts_with("URL") => Some(format!("postgres://u:{CANARY}@127.0.0.1/d")),
        _ if name.starts_with('X') => Some(CANARY.to_owned()),
        _ => None,
    }
}

fn assert_fault(error: &ConfigError, text: &str) {
    let first = error.key.split(['.', '[']).next().unwrap_or_default();
    // A key that we do not know is named as it stands in the file.
    let is_named = KEYS.contains(&first) || text.contains(first);
    assert!(
        !first.is_empty() || error.key.starts_with(['.', '[']) || text.contains("\"\"") || text.contains("''"),
        "a fault without a key: {error}"
    );
    assert!(
        is_named || text.contains('\\'),
        "the key is none of the file's: {error}"
    );
    assert!(!error.problem.is_empty());
    if !text.contains(CANARY) {
        let error = error.to_string();
        assert!(!error.contains(CANARY), "the environment is shown: {error}");
    }
}

fn assert_within_bounds(config: &Config) {
    let secs = Duration::from_secs;
    assert!((secs(1)..=secs(900)).contains(&config.drain_timeout) && (secs(2)..=secs(300)).contains(&config.lease));
    assert!(
        config.retention == Retention::ForEver || matches!(config.retention, Retention::For(time) if time >= secs(1))
    );
    assert!(!config.sinks.is_empty());
    let mut names = HashSet::new();
    for sink in &config.sinks {
        assert!(names.insert(&sink.name), "two sinks of one name");
        assert!((1..=256).contains(&sink.max_in_flight) && (100..=1_000_000).contains(&sink.max_window));
        let others = config.sinks.iter().filter(|other| other.target == sink.target);
        assert_eq!(others.count(), 1, "two sinks of one target");
        for pattern in sink.selection.types.iter().flatten() {
            assert!(is_like_pattern(pattern), "Postgres takes no pattern {pattern:?}");
        }
    }
}

/// A pattern must not end with its escape (Postgres documentation, "LIKE").
fn is_like_pattern(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next().is_none() {
            return false;
        }
    }
    !pattern.is_empty()
}
