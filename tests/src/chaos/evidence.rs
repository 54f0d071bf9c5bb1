//! What is kept of a run in which a promise was broken.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::{
    binaries,
    chaos::{books::Books, gather::Found},
    ledger::{Outcome, Violation},
};

/// Writes the raw ledger and the processes' logs to a folder beside the binaries; returns which.
pub(super) fn keep(seed: u64, found: &Found, violations: &[Violation], books: &Books) -> Result<PathBuf> {
    let folder = binaries::folder()?
        .join("chaos-runs")
        .join(crate::unique(&format!("seed-{seed}")));
    fs::create_dir_all(folder.join("logs"))?;
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).with_context(|| format!("writing {name} to {}", folder.display()))
    };
    write(
        "violations.txt",
        violations.iter().fold(String::new(), |mut text, violation| {
            let _ = writeln!(text, "{violation}");
            text
        }),
    )?;
    write("history.jsonl", lines(found.history.attempts().map(|(id, attempt)| {
        let (outcome, sequence) = match attempt.outcome {
            Outcome::Committed { sequence } => ("committed", sequence),
            Outcome::RolledBack => ("rolled_back", None),
            Outcome::Unknown => ("unknown", None),
        };
        json!({
            "event": id, "key": attempt.key, "outcome": outcome, "sequence": sequence, "transaction": attempt.transaction,
            "payload": attempt.payload.to_string(), "begun_ns": found.begun_ns.get(&id),
        })
    })))?;
    let effects = found.effects.all().iter().zip(&found.at_ns).enumerate();
    write(
        "effects.jsonl",
        lines(effects.map(|(place, (effect, at_ns))| {
            json!({
                "place": place, "consumer": effect.consumer, "event": effect.event, "key": effect.key,
                "sequence": effect.sequence, "payload": effect.payload.to_string(), "at_ns": at_ns,
            })
        })),
    )?;
    write(
        "set-aside.jsonl",
        lines(found.set_aside.iter().map(
            |(consumer, event, place)| json!({ "consumer": consumer, "event": event, "place": format!("{place:?}") }),
        )),
    )?;
    write(
        "faults.jsonl",
        lines(
            books
                .faults()
                .into_iter()
                .map(|fault| json!({ "fault": fault.name, "at_ns": fault.at_ns })),
        ),
    )?;
    for (number, (name, log)) in found.logs.iter().enumerate() {
        write(&format!("logs/{number:04}-{name}.log"), log.join("\n"))?;
    }
    Ok(folder)
}

fn lines(values: impl Iterator<Item = Value>) -> String {
    values.fold(String::new(), |mut text, value| {
        let _ = writeln!(text, "{value}");
        text
    })
}
