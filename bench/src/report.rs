//! The result: goals and tables, on the screen and in `RESULTS.md`.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

/// Where the consumers' half of the results begins.
const CONSUMERS: &str = "<!-- consumers -->";

/// Everything that a run found out.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) facts: Vec<(String, String)>,
    pub(crate) sections: Vec<Section>,
}

/// A scenario's result.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What the figures mean, in a sentence or two.
    pub(crate) about: String,
    pub(crate) header: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) goals: Vec<Goal>,
}

/// A figure with what it should be.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) figure: String,
    pub(crate) measured: String,
    pub(crate) wanted: String,
    pub(crate) is_met: bool,
}

impl Goal {
    /// A share that should be at least `percent`.
    pub(crate) fn at_least(figure: impl Into<String>, share: f64, percent: f64) -> Self {
        Self {
            figure: figure.into(),
            measured: format!("{:.0} %", share * 100.0),
            wanted: format!("≥ {percent:.0} %"),
            is_met: share * 100.0 >= percent,
        }
    }

    /// A ratio that should be at least `least`.
    pub(crate) fn times(figure: impl Into<String>, ratio: f64, least: f64) -> Self {
        Self {
            figure: figure.into(),
            measured: format!("{ratio:.1} ×"),
            wanted: format!("≥ {least} ×"),
            is_met: ratio >= least,
        }
    }

    /// A figure that should be at most `most`, shown with `decimals` and a unit.
    pub(crate) fn at_most(figure: impl Into<String>, value: f64, most: f64, decimals: usize, unit: &str) -> Self {
        Self {
            figure: figure.into(),
            measured: format!("{value:.decimals$} {unit}").trim_end().to_owned(),
            wanted: format!("≤ {most} {unit}").trim_end().to_owned(),
            is_met: value <= most,
        }
    }
}

impl Report {
    /// Prints all tables.
    pub(crate) fn print(&self) {
        crate::say(&self.markdown());
    }

    /// Writes the relay's report as Markdown; what stands there of the consumers stays.
    pub(crate) fn write(&self, path: &Path, command: &str) -> Result<()> {
        let text = format!(
            "# Results\n\nWritten by `{command}`; [README.md](README.md) says what each figure means. Ratios of one\n\
             run on one machine count, absolute figures are that machine's.\n\n{}",
            self.markdown()
        );
        let (_, consumers) = halves(&fs::read_to_string(path).unwrap_or_default());
        fs::write(path, text + &consumers).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Writes the consumers' report below that of the relay, which stays.
    pub(crate) fn write_consumers(&self, path: &Path, command: &str) -> Result<()> {
        let text = format!(
            "{CONSUMERS}\n\n# Results of the consumers\n\nWritten by `{command}`, at another time than the above.\n\n{}",
            self.markdown()
        );
        let (relay, _) = halves(&fs::read_to_string(path).unwrap_or_default());
        fs::write(path, format!("{}\n\n{text}", relay.trim_end()))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn markdown(&self) -> String {
        let facts = self.facts.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
        let mut text = table(&["what", "on"], &facts.collect::<Vec<_>>());
        let goal = |goal: &Goal| {
            let verdict = if goal.is_met { "met" } else { "**missed**" };
            vec![
                goal.figure.clone(),
                goal.measured.clone(),
                goal.wanted.clone(),
                verdict.to_owned(),
            ]
        };
        let goals: Vec<_> = self
            .sections
            .iter()
            .flat_map(|section| &section.goals)
            .map(goal)
            .collect();
        let _ = write!(
            text,
            "\n## Goals\n\n{}",
            table(&["figure", "measured", "goal", ""], &goals)
        );
        for section in &self.sections {
            let rows = table(&section.header, &section.rows);
            let _ = write!(text, "\n## {}\n\n{}\n\n{rows}", section.title, section.about);
        }
        text
    }
}

/// What a file of results says of the relay, and of the consumers.
fn halves(text: &str) -> (String, String) {
    match text.find(CONSUMERS) {
        Some(at) => (text[..at].to_owned(), format!("\n{}", &text[at..])),
        None => (text.to_owned(), String::new()),
    }
}

/// A Markdown table whose columns are as wide as their widest cell, so that it reads well as text.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([header[column].chars().count(), 3]).max().unwrap_or(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: Vec<&str>| {
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    };
    line(header.to_vec());
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(rules.iter().map(String::as_str).collect());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    text
}

/// A number of events with thousands apart.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_half_of_the_results_is_written_and_the_other_stays() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("RESULTS.md");
        let report = |name: &str| Report {
            facts: vec![("what".to_owned(), name.to_owned())],
            ..Report::default()
        };
        report("relay 1").write(&path, "a").unwrap();
        report("consumers 1").write_consumers(&path, "b").unwrap();
        report("relay 2").write(&path, "a").unwrap();
        report("consumers 2").write_consumers(&path, "b").unwrap();
        let both = fs::read_to_string(&path).unwrap();
        report("relay 2").write(&path, "a").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), both);
        let count = |what: &str| both.matches(what).count();
        let found = ["relay 1", "consumers 1", "relay 2", "consumers 2"].map(count);
        assert_eq!(found, [0, 0, 1, 1], "{both}");
    }

    #[test]
    fn a_table_is_aligned_and_thousands_are_apart() {
        let rows = [vec!["relay".to_owned(), thousands(1_234_567.4)]];
        let expected = "| who   | events    |\n| ----- | --------- |\n| relay | 1,234,567 |\n";
        assert_eq!(table(&["who", "events"], &rows), expected);
        assert_eq!(
            (thousands(999.0), thousands(1_000.0)),
            ("999".to_owned(), "1,000".to_owned())
        );
    }
}
