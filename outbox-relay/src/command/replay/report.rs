//! What a replay says: while it runs, and at its end.

use std::{fmt::Write as _, time::Duration};

use serde::Serialize;

use crate::{
    command::{
        output::{age, lines, size, time},
        table::{Table, clean},
    },
    log::{
        Seq,
        replay::{Count, Fixed},
    },
    replay::{
        flow::{Ended, Standing},
        tally::RefusedEvent,
    },
};

/// The report as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    action: &'static str,
    pub(super) dry_run: bool,
    sink: String,
    target: String,
    /// The positions that were looked at.
    from_seq: Seq,
    to_seq: Seq,
    /// Events that were counted before; null where nobody asked.
    events: Option<i64>,
    types: Vec<OfType>,
    first_seq: Option<Seq>,
    last_seq: Option<Seq>,
    first_time: Option<String>,
    last_time: Option<String>,
    published: usize,
    not_accepted: usize,
    refused: usize,
    held_back: usize,
    unknown: usize,
    refusals: Vec<Refusal>,
    elapsed_secs: u64,
    /// Why it ended before its end.
    stopped: Option<String>,
    /// From where to go on then.
    resume_from_seq: Option<Seq>,
}

#[derive(Debug, Serialize)]
struct OfType {
    #[serde(rename = "type")]
    event_type: String,
    events: i64,
    bytes: i64,
}

#[derive(Debug, Serialize)]
struct Refusal {
    seq: Seq,
    id: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    code: String,
    reason: String,
    attempts: u32,
}

impl Report {
    /// Nothing has happened yet.
    pub(super) fn new(sink: &str, target: &str, fixed: &Fixed) -> Self {
        Self {
            action: "replay",
            dry_run: false,
            sink: sink.to_owned(),
            target: target.to_owned(),
            from_seq: fixed.after + 1,
            to_seq: fixed.up_to,
            events: None,
            types: Vec::new(),
            first_seq: None,
            last_seq: None,
            first_time: None,
            last_time: None,
            published: 0,
            not_accepted: 0,
            refused: 0,
            held_back: 0,
            unknown: 0,
            refusals: Vec::new(),
            elapsed_secs: 0,
            stopped: None,
            resume_from_seq: None,
        }
    }

    /// What there is to be published.
    pub(super) fn count(&mut self, count: &Count) {
        self.events = Some(count.events());
        let of_type = count.types.iter().map(|of_type| OfType {
            event_type: of_type.event_type.clone(),
            events: of_type.events,
            bytes: of_type.bytes,
        });
        self.types = of_type.collect();
        (self.first_seq, self.last_seq) = count.seqs.unzip();
        (self.first_time, self.last_time) = count.micros.map(|(first, last)| (time(first), time(last))).unzip();
    }

    /// What became of it.
    pub(super) fn ended(&mut self, ended: &Ended) {
        let tally = &ended.tally;
        self.published = tally.published;
        self.not_accepted = tally.not_accepted;
        self.refused = tally.refused;
        self.held_back = tally.held_back;
        self.unknown = tally.unknown;
        self.refusals = tally.told.iter().map(Refusal::of).collect();
        self.elapsed_secs = ended.elapsed.as_secs();
        self.stopped = ended.stop.as_ref().map(ToString::to_string);
        self.resume_from_seq = ended.stop.as_ref().map(|_| ended.next);
    }

    /// Why the command fails, if it does.
    pub(super) fn problem(&self) -> Option<String> {
        let mut problems = Vec::new();
        if let (Some(stopped), Some(next)) = (&self.stopped, self.resume_from_seq) {
            problems.push(format!(
                "{stopped}; go on with --from-seq {next} --to-seq {}",
                self.to_seq
            ));
        }
        if self.refused > 0 {
            problems.push(format!(
                "{} events were refused and {} behind them held back",
                self.refused, self.held_back
            ));
        }
        if self.unknown > 0 {
            problems.push(format!(
                "{} events may not have arrived, and the sink sends at most once",
                self.unknown
            ));
        }
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(events) = self.events {
            if events > 0 {
                let mut table = Table::new(&["TYPE", "#EVENTS", "#DATA"]);
                for of_type in &self.types {
                    table.row([
                        of_type.event_type.clone(),
                        of_type.events.to_string(),
                        size(of_type.bytes),
                    ]);
                }
                text.push_str(&lines(&table));
            }
            let _ = writeln!(text, "{events} events of sink {} for {}", self.sink, self.target);
            if let (Some(first), Some(last)) = (self.first_seq, self.last_seq) {
                let first_time = self.first_time.as_deref().unwrap_or_default();
                let last_time = self.last_time.as_deref().unwrap_or_default();
                let _ = writeln!(text, "positions {first} to {last}, times {first_time} to {last_time}");
            }
            if self.dry_run {
                text.push_str("dry run: nothing was sent\n");
                return text;
            }
        }
        if !self.refusals.is_empty() {
            let mut table = Table::new(&["#SEQ", "ID", "TYPE", "CODE", "REASON"]);
            for refusal in &self.refusals {
                let (id, event_type) = (refusal.id.clone(), refusal.event_type.clone());
                table.row([
                    refusal.seq.to_string(),
                    id.unwrap_or_default(),
                    event_type.unwrap_or_default(),
                    refusal.code.clone(),
                    refusal.reason.clone(),
                ]);
            }
            text.push_str(&lines(&table));
        }
        let _ = writeln!(
            text,
            "published {}, refused {}, held back {}, in {}",
            self.published,
            self.refused,
            self.held_back,
            age(i64::try_from(self.elapsed_secs).unwrap_or(i64::MAX))
        );
        text
    }
}

impl Refusal {
    fn of(refused: &RefusedEvent) -> Self {
        let (id, event_type) = refused.id_and_type.clone().unzip();
        Self {
            seq: refused.seq,
            id,
            event_type,
            code: clean(&refused.error.code, None),
            reason: refused.error.message.clone(),
            attempts: refused.attempts,
        }
    }
}

/// The line about a replay that runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    after: Seq,
    up_to: Seq,
}

impl Progress {
    pub(super) fn new(fixed: &Fixed) -> Self {
        Self {
            after: fixed.after,
            up_to: fixed.up_to,
        }
    }

    pub(super) fn line(self, standing: &Standing<'_>) -> String {
        let tally = standing.tally;
        let mut line = format!("published {}", tally.published);
        if let Some(rate) = per_sec(tally.published, standing.elapsed) {
            let _ = write!(line, " ({rate}/s)");
        }
        let _ = write!(
            line,
            ", not accepted {}, refused {}, held back {}; before position {} of {} all is settled",
            tally.not_accepted,
            tally.refused,
            tally.held_back,
            standing.next,
            self.up_to.saturating_add(1)
        );
        if let Some(left) = left(self.after, standing.next, self.up_to, standing.elapsed) {
            let _ = write!(line, ", about {} left", age(left));
        }
        line
    }
}

fn per_sec(events: usize, elapsed: Duration) -> Option<u128> {
    let millis = elapsed.as_millis();
    (millis > 0).then(|| u128::try_from(events).unwrap_or(u128::MAX).saturating_mul(1_000) / millis)
}

/// Seconds left, if the rest of the positions takes as long as those before.
fn left(after: Seq, next: Seq, up_to: Seq, elapsed: Duration) -> Option<i64> {
    let done = u128::try_from(next - after - 1).ok().filter(|done| *done > 0)?;
    let rest = u128::try_from(up_to - next + 1).ok().filter(|rest| *rest > 0)?;
    i64::try_from(elapsed.as_secs().max(1) as u128 * rest / done).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_by_the_positions_that_are_done() {
        assert_eq!(left(0, 1, 100, Duration::from_secs(5)), None, "nothing is done");
        assert_eq!(left(0, 26, 100, Duration::from_secs(5)), Some(15));
        assert_eq!(left(0, 101, 100, Duration::from_secs(5)), None, "nothing is left");
        assert_eq!(per_sec(300, Duration::from_millis(1_500)), Some(200));
        assert_eq!(per_sec(1, Duration::ZERO), None);
    }
}
