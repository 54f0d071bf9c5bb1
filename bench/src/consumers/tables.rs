//! What the figures come to.

use std::time::Duration;

use super::{
    function::Who,
    load::Load,
    measure::{LATENCY, Measured},
};
use crate::report::{Goal, Section, thousands};

/// Most calls to the database per message, by the size of a batch.
const MOST_CALLS: [(usize, f64); 2] = [(10, 0.2), (100, 0.05)];
/// How many times the messages per second of Powertools.
const TIMES_AS_FAST: f64 = 10.0;
/// Most of the time that Python takes to start.
const MOST_OF_PYTHONS_INIT: f64 = 20.0;

/// The starts of one function.
pub(crate) struct Init {
    pub(crate) who: Who,
    pub(crate) took: Vec<Duration>,
}

/// One run.
pub(crate) struct Run {
    pub(crate) who: Who,
    pub(crate) load: Load,
    pub(crate) measured: Measured,
}

impl Init {
    fn median_ms(&self) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        took.get(took.len() / 2)
            .map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
    }
}

pub(crate) fn starts(starts: &[Init]) -> Section {
    let of = |who| starts.iter().find(|start| start.who == who).map(Init::median_ms);
    let python = of(Who::Python);
    let ms = |took: Option<&Duration>| took.map_or(String::new(), |took| format!("{:.1}", took.as_secs_f64() * 1e3));
    let rows = starts.iter().map(|start| {
        vec![
            start.who.to_string(),
            format!("{:.1}", start.median_ms()),
            ms(start.took.iter().min()),
            ms(start.took.iter().max()),
            python.map_or(String::new(), |python| format!("{:.2}", start.median_ms() / python)),
            start.who.binary_mib().map_or(String::new(), |mib| format!("{mib:.1}")),
        ]
    });
    let ratio = of(Who::Oncebox)
        .zip(python)
        .map(|(oncebox, python)| oncebox / python * 100.0);
    let goal = ratio.map(|ratio| {
        Goal::at_most(
            "time until the first event is asked for, Oncebox ÷ Python",
            ratio,
            MOST_OF_PYTHONS_INIT,
            1,
            "%",
        )
    });
    Section {
        title: "Consumers: init",
        about: "Milliseconds from the start of the process until it asks Lambda for its first event, with its files in memory; \
                median, least and most. `otel` is a feature of the crate: its spans are there, and nothing asks for them, or a \
                collector is named."
            .to_owned(),
        header: vec!["who", "p50", "least", "most", "÷ Python", "binary MiB"],
        rows: rows.collect(),
        goals: goal.into_iter().collect(),
    }
}

pub(crate) fn runs(runs: &[Run], peer_limit: Option<Duration>) -> Section {
    let oncebox = |load: Load| runs.iter().find(|run| run.who == Who::Oncebox && run.load == load);
    let rows = runs.iter().map(|run| {
        let measured = &run.measured;
        let calls = measured
            .counts
            .calls
            .iter()
            .map(|(operation, calls)| format!("{operation} {:.3}", *calls as f64 / measured.settled as f64));
        let times = oncebox(run.load).filter(|_| run.who != Who::Oncebox);
        vec![
            describe(run.load),
            run.who.to_string(),
            thousands(measured.settled as f64),
            thousands(measured.rate()),
            times.map_or(String::new(), |oncebox| {
                format!("{:.1}", oncebox.measured.rate() / measured.rate())
            }),
            format!("{:.3}", measured.calls()),
            calls.collect::<Vec<_>>().join(", "),
            format!("{:.2}", measured.write_units()),
            format!("{:.1}", measured.batch_ms(50)),
            format!("{:.1}", measured.batch_ms(99)),
            format!("{:.0}", measured.peak_mib),
            measured.returned.to_string(),
        ]
    });
    let limit = peer_limit.map_or_else(String::new, |limit| {
        let secs = limit.as_secs();
        format!(" A run of Powertools ends after {secs} s; its figures are of the messages until then.")
    });
    Section {
        title: "Consumers",
        about: format!(
            "Each message adds a booking to an item of its own in DynamoDB, once per event, behind {} ms of latency; one \
             invocation after the other. Every run was checked: one effect for each event, no more.{limit}",
            LATENCY.as_millis()
        ),
        header: vec![
            "load",
            "who",
            "messages",
            "messages/s",
            "Oncebox ×",
            "calls each",
            "of them",
            "WCU each",
            "batch p50 ms",
            "batch p99 ms",
            "peak MiB",
            "given back",
        ],
        rows: rows.collect(),
        goals: runs.iter().flat_map(|run| goals(run, oncebox(run.load))).collect(),
    }
}

/// For Oncebox its calls, where each message is another event; for the others how much slower they are.
fn goals(run: &Run, oncebox: Option<&Run>) -> Vec<Goal> {
    let load = describe(run.load);
    if run.who != Who::Oncebox {
        let times = oncebox.map(|oncebox| oncebox.measured.rate() / run.measured.rate());
        let figure = format!("{load}: messages/s, Oncebox ÷ {}", run.who);
        return times
            .map(|times| Goal::times(figure, times, TIMES_AS_FAST))
            .into_iter()
            .collect();
    }
    let goal = MOST_CALLS.iter().filter(|(batch, _)| *batch == run.load.batch);
    let goal =
        goal.map(|(_, most)| Goal::at_most(format!("{load}: calls per message"), run.measured.calls(), *most, 3, ""));
    goal.collect()
}

fn describe(load: Load) -> String {
    let copies = match load.copies_percent {
        0 => String::new(),
        percent => format!(", {percent} % copies"),
    };
    format!("{}{copies}, by {}", thousands(load.messages as f64), load.batch)
}
