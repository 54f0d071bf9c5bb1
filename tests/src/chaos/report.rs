//! What a run came to.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde_json::{Value, json};

use crate::{chaos::Recoveries, ledger::Summary};

/// The result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// What its faults were drawn from.
    pub seed: u64,
    /// How long writers wrote, in seconds.
    pub secs: u64,
    /// The sum.
    pub summary: Summary,
    /// All effects that were recorded.
    pub effects: usize,
    /// Events whose writer did not hear what became of its transaction.
    pub unknown: usize,
    /// The faults that happened, by their names.
    pub faults: BTreeMap<String, u64>,
    /// Relays that ended without having been asked to, or with an error.
    pub relay_failures: Vec<String>,
    /// How long it took until events arrived again.
    pub recoveries: Recoveries,
    /// What had not arrived within the bound.
    pub not_drained: Option<String>,
    /// The broken promises.
    pub violations: Vec<String>,
    /// Their kinds, in the same order.
    pub kinds: Vec<&'static str>,
    /// Where the raw ledger lies, if there is something to look for.
    pub folder: Option<PathBuf>,
}

impl Report {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.violations.is_empty()
            && self.not_drained.is_none()
            && self.relay_failures.is_empty()
            && self.summary.is_even()
    }

    /// For scripts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "seed": self.seed, "secs": self.secs, "well": self.is_well(),
            "events": self.summary.events, "rolled_back": self.summary.rolled_back, "unknown": self.unknown,
            "committed": self.summary.committed, "effected": self.summary.effected,
            "set_aside": self.summary.set_aside, "copies_set_aside": self.summary.copies,
            "effects": self.effects,
            "faults": self.faults, "recoveries": self.recoveries,
            "relay_failures": self.relay_failures, "not_drained": self.not_drained,
            "violations": self.violations, "folder": self.folder,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  seed             {}", self.seed)?;
        writeln!(f, "  written for      {} s", self.secs)?;
        writeln!(f, "  sum              {}", self.summary)?;
        writeln!(f, "  effects          {}", self.effects)?;
        writeln!(f, "  unknown commits  {} events", self.unknown)?;
        writeln!(f, "  recoveries       {}", self.recoveries)?;
        writeln!(f, "  faults           {}", self.faults.values().sum::<u64>())?;
        for (name, count) in &self.faults {
            let longest = self.recoveries.max_ms_by_fault.get(name);
            let longest = longest.map_or_else(String::new, |ms| format!("   longest recovery {ms} ms"));
            writeln!(f, "    {count:>5}  {name}{longest}")?;
        }
        for failure in &self.relay_failures {
            writeln!(f, "  RELAY            {failure}")?;
        }
        if let Some(problem) = &self.not_drained {
            writeln!(f, "  NOT DRAINED      {problem}")?;
        }
        writeln!(f, "  violations       {}", self.violations.len())?;
        for violation in self.violations.iter().take(20) {
            writeln!(f, "    {violation}")?;
        }
        if let Some(folder) = &self.folder {
            writeln!(f, "  look at          {}", folder.display())?;
        }
        Ok(())
    }
}
