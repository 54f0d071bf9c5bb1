//! Sinks that have no cursors yet, beside cursors whose sink is not configured.
//!
//! Cursors go by their sink's name, so a renamed sink looks like one that is new and one that is gone. To
//! begin it where a new sink begins would send the whole log again, or pass by what is not sent yet. So
//! where that could be, a person has to say which it is.

use crate::{config::SinkConfig, log::store::Start};

/// How many names a message tells.
const MOST_NAMES: usize = 5;

/// What a start is about to change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Newcomers<'a> {
    /// Configured sinks without cursors.
    pub(super) new: Vec<&'a SinkConfig>,
    /// Sinks with cursors that are not configured.
    pub(super) unconfigured: Vec<&'a str>,
}

impl<'a> Newcomers<'a> {
    /// Compares what is configured with the names of the sinks that have cursors.
    pub(super) fn among(configured: &'a [SinkConfig], with_cursors: &[&'a str]) -> Self {
        let is_configured = |name: &str| configured.iter().any(|sink| sink.name == name);
        let is_new = |sink: &&SinkConfig| !with_cursors.contains(&sink.name.as_str());
        Self {
            new: configured.iter().filter(is_new).collect(),
            unconfigured: with_cursors
                .iter()
                .copied()
                .filter(|name| !is_configured(name))
                .collect(),
        }
    }

    /// Why the first new sink may not begin before a person has said where; names the key and the fix.
    pub(super) fn doubt(&self) -> Option<String> {
        let old = self.unconfigured.first()?;
        let new = &self.new.iter().find(|sink| sink.start.is_none())?.name;
        let mut names: Vec<String> = self.unconfigured.iter().map(|name| format!("`{name}`")).collect();
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        if more > 0 {
            names.push(format!("{more} more"));
        }
        let names = names.join(", ");
        Some(format!(
            "sink `{new}`: start: it has no cursors yet, while the log has cursors of sinks that are not configured \
             ({names}). Is it one of them, renamed? Then run `outbox-relay cursor rename --sink {old} --to {new}`, and it \
             goes on where it was. Is it another sink? Then write start = \"beginning\" or start = \"now\" in its table"
        ))
    }
}

/// Where a new sink begins, in words.
pub(super) fn beginning(start: Option<Start>) -> &'static str {
    match start.unwrap_or_default() {
        Start::Beginning => "with the oldest event of the log (start = \"beginning\")",
        Start::Now => "with what commits from its first start on (start = \"now\")",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::TargetConfig, log::page::Selection, sink::Guarantee};

    /// Configured sinks with their `start`, the sinks that have cursors, and what a doubt says.
    type Case = (
        &'static [(&'static str, Option<Start>)],
        &'static [&'static str],
        Option<&'static str>,
    );

    fn sink(name: &str, start: Option<Start>) -> SinkConfig {
        SinkConfig {
            name: name.to_owned(),
            selection: Selection::default(),
            target: TargetConfig::Sqs { queue: name.to_owned() },
            bundle: None,
            guarantee: Guarantee::AtLeastOnce,
            claim_check: None,
            max_in_flight: 1,
            max_window: 100,
            start,
        }
    }

    #[test]
    fn a_new_sink_is_doubted_only_beside_cursors_of_others_and_until_its_start_is_written() {
        let cases: [Case; 8] = [
            (&[("a", None)], &[], None),
            (&[("a", None)], &["a"], None),
            (&[("a", None)], &["a", "old"], None),
            (&[("a", None), ("b", None)], &["a"], None),
            (&[("b", None)], &["a"], Some("--sink a --to b")),
            (&[("b", Some(Start::Beginning))], &["a"], None),
            (&[("b", Some(Start::Now)), ("c", None)], &["a"], Some("--sink a --to c")),
            (&[("a", None), ("b", None)], &["a", "y", "z"], Some("(`y`, `z`)")),
        ];
        for (configured, with_cursors, expected) in cases {
            let configured: Vec<SinkConfig> = configured.iter().map(|(name, start)| sink(name, *start)).collect();
            let doubt = Newcomers::among(&configured, with_cursors).doubt();
            match expected {
                None => assert_eq!(doubt, None, "{with_cursors:?}"),
                Some(words) => assert!(doubt.clone().is_some_and(|said| said.contains(words)), "{doubt:?}"),
            }
        }
    }

    #[test]
    fn a_doubt_tells_a_few_names_and_how_many_more() {
        let configured = [sink("new", None)];
        let doubt = Newcomers::among(&configured, &["a", "b", "c", "d", "e", "f", "g"])
            .doubt()
            .unwrap();
        assert!(doubt.contains("(`a`, `b`, `c`, `d`, `e`, 2 more)"), "{doubt}");
        assert!(doubt.contains("sink `new`: start: "), "{doubt}");
    }
}
