//! `parked retry`, `parked hold` and `parked skip`.

use std::fmt::Write as _;

use serde::Serialize;
use sqlx::PgConnection;

use super::{Chosen, list, nothing_found, usage};
use crate::{
    command::{Failure, connection::Opened, output::note},
    parked::{
        change::{self, Changed, Outcome},
        filter::{Filter, State},
        listing::ParkedEvent,
    },
};

/// What to do with the selected events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Set(State),
    Skip,
}

/// The report as JSON.
#[derive(Debug, Serialize)]
struct Report {
    action: &'static str,
    dry_run: bool,
    /// How many events were changed.
    events: i64,
    /// How many of them were not selected, but belong to the key of one that was.
    added: i64,
    /// Selected, but in the other state, and left so.
    left: i64,
    /// After a skip: how many events of the same keys wait on.
    waiting: i64,
    /// The first of the changed events.
    shown: Vec<ParkedEvent>,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Set(State::Retry) => "retry",
            Self::Set(State::Parked) => "hold",
            Self::Skip => "skip",
        }
    }

    async fn perform(
        self,
        connection: &mut PgConnection,
        filter: &Filter,
        outcome: Outcome,
        limit: i64,
    ) -> Result<Changed, Failure> {
        let changed = match self {
            Self::Set(state) => change::set_state(connection, filter, state, outcome, limit).await,
            Self::Skip => change::skip(connection, filter, outcome, limit).await,
        };
        changed.map_err(Failure::of_database)
    }
}

pub(super) async fn run(chosen: Chosen, verb: Verb) -> Result<(), Failure> {
    let Chosen { listed, all, consent } = chosen;
    let filter = listed.selected.filter()?;
    if filter.is_everything() && !all {
        let problem = format!(
            "`parked {}` without a filter would touch every parked event of every sink; \
             pass a filter such as --sink or --key, or --all if that is meant",
            verb.word()
        );
        return Err(usage(problem));
    }
    consent.check()?;
    let Opened {
        mut connection,
        configured,
        place,
        ..
    } = listed.database.open().await?;
    listed
        .selected
        .check_sinks(&mut connection, configured.as_deref())
        .await?;
    let limit = listed.selected.limit();

    let mut changed = Changed::default();
    let mut acts = consent.is_given();
    if !acts {
        changed = verb.perform(&mut connection, &filter, Outcome::Undo, limit).await?;
    }
    if !acts && changed.events > 0 && !consent.is_dry_run() {
        note(list::table(&changed.shown).trim_end());
        for line in remarks(verb, &changed) {
            note(&line);
        }
        acts = consent.ask(&format!("{} {} events in {place}?", verb.word(), changed.events))?;
    }
    if acts {
        changed = verb.perform(&mut connection, &filter, Outcome::Keep, limit).await?;
    }
    let found_nothing = changed.events == 0;
    let report = Report {
        action: verb.word(),
        dry_run: !acts,
        events: changed.events,
        added: changed.added,
        left: changed.left,
        waiting: changed.waiting,
        shown: changed.shown.clone(),
    };
    listed
        .output
        .print(&report, |report| text(verb, report.dry_run, &changed))?;
    if found_nothing && listed.selected.names_events() {
        return Err(nothing_found());
    }
    Ok(())
}

fn text(verb: Verb, dry_run: bool, changed: &Changed) -> String {
    let mut text = String::new();
    if !changed.shown.is_empty() {
        text.push_str(&list::table(&changed.shown));
    }
    let would = if dry_run { "would be " } else { "" };
    let done = match verb {
        Verb::Set(State::Retry) => "sent again by the relay that holds their shards",
        Verb::Set(State::Parked) => "held: they wait for a person",
        Verb::Skip => "deleted for good",
    };
    let count = match changed.events {
        1 => "1 event".to_owned(),
        n => format!("{n} events"),
    };
    let tense = match (verb, dry_run) {
        (Verb::Set(State::Retry), false) => "will be ",
        (_, false) => "",
        (_, true) => would,
    };
    let _ = writeln!(text, "{count} {tense}{done}");
    let shown = i64::try_from(changed.shown.len()).unwrap_or(i64::MAX);
    if shown < changed.events {
        let _ = writeln!(text, "the first {shown} are shown; --limit shows more");
    }
    for line in remarks(verb, changed) {
        text.push_str(&line);
        text.push('\n');
    }
    if dry_run {
        text.push_str("dry run: nothing was changed\n");
    }
    text
}

/// What the person should know besides the number.
fn remarks(verb: Verb, changed: &Changed) -> Vec<String> {
    let mut remarks = Vec::new();
    if changed.added > 0 {
        remarks.push(format!(
            "{} of them were not selected: they are the rest of the same keys, whose order is kept",
            changed.added
        ));
    }
    if changed.left > 0 {
        remarks.push(match verb {
            Verb::Set(State::Retry) => format!("{} more are being sent again already", changed.left),
            Verb::Set(State::Parked) => format!("{} more wait for a person already", changed.left),
            Verb::Skip => format!(
                "{} more are left alone, because they are being sent again; take them back with `parked hold` first",
                changed.left
            ),
        });
    }
    if changed.waiting > 0 {
        remarks.push(format!(
            "{} events of the same keys stay parked; `parked retry --key …` sends them",
            changed.waiting
        ));
    }
    if matches!(verb, Verb::Set(State::Parked)) && changed.events > 0 {
        remarks.push(
            "what the relay has on its way at this moment may still arrive, and is then no longer parked".to_owned(),
        );
    }
    remarks
}
