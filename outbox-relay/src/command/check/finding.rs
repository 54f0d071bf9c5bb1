//! What a check has found.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use crate::{
    command::table::clean,
    publish::inspect::{Remark, Weight},
};

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Area {
    Configuration,
    Database,
    /// The log and its cursors.
    Log,
    /// A sink's cursors.
    Cursor(String),
    /// A sink's target.
    Target(String),
}

impl Area {
    fn is_database(&self) -> bool {
        match self {
            Self::Database | Self::Log | Self::Cursor(_) => true,
            Self::Configuration | Self::Target(_) => false,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Configuration => "configuration".to_owned(),
            Self::Database => "database".to_owned(),
            Self::Log => "log".to_owned(),
            Self::Cursor(sink) => format!("cursors of {sink}"),
            Self::Target(sink) => format!("target of {sink}"),
        }
    }
}

impl Serialize for Area {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// One line. The JSON's field names are these.
#[derive(Debug, Serialize)]
struct Finding {
    level: &'static str,
    about: Area,
    text: String,
    #[serde(skip)]
    weight: Weight,
}

/// All lines. The JSON's field names are these.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    faults: usize,
    warnings: usize,
    checks: Vec<Finding>,
}

impl Findings {
    pub(super) fn new() -> Self {
        Self {
            faults: 0,
            warnings: 0,
            checks: Vec::new(),
        }
    }

    pub(super) fn faults(&self) -> usize {
        self.faults
    }

    pub(super) fn warnings(&self) -> usize {
        self.warnings
    }

    pub(super) fn has_fault_of_database(&self) -> bool {
        let mut faults = self.checks.iter().filter(|check| check.weight == Weight::Fault);
        faults.any(|check| check.about.is_database())
    }

    pub(super) fn ok(&mut self, about: Area, text: impl Into<String>) {
        self.add(about, Weight::Ok, text.into());
    }

    pub(super) fn warning(&mut self, about: Area, text: impl Into<String>) {
        self.add(about, Weight::Warning, text.into());
    }

    pub(super) fn fault(&mut self, about: Area, text: impl Into<String>) {
        self.add(about, Weight::Fault, text.into());
    }

    pub(super) fn remark(&mut self, about: Area, remark: Remark) {
        self.add(about, remark.weight, remark.text);
    }

    fn add(&mut self, about: Area, weight: Weight, text: String) {
        let level = match weight {
            Weight::Ok => "ok",
            Weight::Warning => "warning",
            Weight::Fault => "fault",
        };
        self.warnings += usize::from(weight == Weight::Warning);
        self.faults += usize::from(weight == Weight::Fault);
        self.checks.push(Finding {
            level,
            about,
            text,
            weight,
        });
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let said = clean(&check.text, None);
            let _ = writeln!(text, "{:<8} {}: {said}", check.level, check.about.name());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_database_is_told_from_others() {
        let mut findings = Findings::new();
        findings.warning(Area::Database, "slow");
        findings.fault(Area::Target("a".to_owned()), "gone");
        assert!(!findings.has_fault_of_database());
        findings.fault(Area::Cursor("a".to_owned()), "foreign\nand more");
        assert!(findings.has_fault_of_database());
        assert_eq!((findings.faults(), findings.warnings()), (2, 1));
        assert_eq!(findings.text().lines().count(), 3, "one line each");
    }
}
