//! `oncebox-consumer outbox`: what was emitted and not sent yet, and sending it.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use oncebox_command::Consent;
use oncebox_consumer::{
    SweepReport,
    operator::{OutboxOperator, OutboxStanding},
};
use serde::Serialize;

use crate::{
    failure::Failure,
    output::{Output, clean},
    tables::client,
};

/// `oncebox-consumer outbox …`
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what the consumer's handlers have emitted and nobody has sent yet.
    ///
    /// What is younger than a few seconds is on its way. What is older was left by a crash, or by a target that does not
    /// take it: the function's log says which.
    List {
        #[command(flatten)]
        named: Named,
        /// How many parcels are shown; the sums are of all.
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: usize,
    },
    /// Send what is left, in the order of each key, and take out what has arrived.
    ///
    /// Functions may work meanwhile. What was stored in the last ten seconds is left to who is about to send it.
    ///
    /// Exit codes: 0 all was sent but what is on its way anyway, or told by a dry run; 1 something could not be sent, and
    /// stays in the outbox, or nobody confirmed; 2 wrong usage; 3 the table cannot be reached or read.
    #[command(verbatim_doc_comment)]
    Sweep {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Args)]
struct Named {
    /// The consumer's name, as its function was built with.
    #[arg(long, short, value_name = "NAME")]
    consumer: String,
    /// The table of what it emits.
    #[arg(long, short, env = "OUTBOX_TABLE", value_name = "TABLE")]
    table: String,
    #[command(flatten)]
    output: Output,
}

/// `outbox list` as JSON.
#[derive(Debug, Serialize)]
struct List<'a> {
    action: &'static str,
    consumer: &'a str,
    parcels: usize,
    events: usize,
    young: usize,
    unreadable: usize,
    /// RFC 3339; `null` where there is none.
    oldest: Option<String>,
    shown: Vec<Parcel>,
}

#[derive(Debug, Serialize)]
struct Parcel {
    parcel: String,
    ordered: bool,
    young: bool,
    added: Option<String>,
    events: Vec<Event>,
}

#[derive(Debug, Serialize)]
struct Event {
    event_id: String,
    #[serde(rename = "type")]
    event_type: String,
    target: String,
    emitted: String,
}

/// `outbox sweep` as JSON.
#[derive(Debug, Serialize)]
struct Sweep<'a> {
    action: &'static str,
    dry_run: bool,
    consumer: &'a str,
    /// What lay there before.
    parcels: usize,
    events: usize,
    /// Events that were sent; 0 in a dry run.
    sent: usize,
    /// Parcels that could not be sent.
    left: usize,
    /// Parcels that were left to who is about to send them.
    young: usize,
    unreadable: usize,
    error: Option<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.action {
        Action::List { named, limit } => {
            let standing = named.open().await.list(limit).await?;
            named.output.print(&List::of(&named, standing), list_text)
        }
        Action::Sweep { named, consent } => sweep(&named, consent).await,
    }
}

async fn sweep(named: &Named, consent: Consent) -> Result<(), Failure> {
    consent.check()?;
    let operator = named.open().await;
    let before = operator.list(0).await?;
    let plan = Sweep {
        action: "sweep",
        dry_run: true,
        consumer: &named.consumer,
        parcels: before.parcels,
        events: before.events,
        sent: 0,
        left: before.parcels - before.young - before.unreadable,
        young: before.young,
        unreadable: before.unreadable,
        error: None,
    };
    if !consent.ask(&format!("{}\nsend it?", sweep_text(&plan)))? {
        return named.output.print(&plan, sweep_text);
    }
    let swept = operator.sweep().await;
    let report = Sweep {
        dry_run: false,
        sent: swept.sent,
        left: swept.left,
        young: swept.young,
        unreadable: swept.unreadable,
        error: swept.error.clone(),
        ..plan
    };
    named.output.print(&report, sweep_text)?;
    match unsent(&swept) {
        None => Ok(()),
        Some(problem) => Err(Failure::refused(problem)),
    }
}

/// What a person has to look after.
fn unsent(swept: &SweepReport) -> Option<String> {
    if let Some(error) = &swept.error {
        return Some(format!(
            "not everything was sent; the rest stays in the outbox: {error}"
        ));
    }
    if swept.unreadable > 0 {
        let problem = "parcels were written by another version, which can send them; nothing was done to them";
        return Some(problem.to_owned());
    }
    (swept.left > 0 || !swept.is_complete)
        .then(|| "not everything was sent; the rest stays in the outbox, sweep again".to_owned())
}

impl Named {
    async fn open(&self) -> OutboxOperator {
        OutboxOperator::new(client().await, &self.consumer, &self.table)
    }
}

impl<'a> List<'a> {
    fn of(named: &'a Named, standing: OutboxStanding) -> Self {
        let shown = standing.shown.into_iter().map(|parcel| Parcel {
            parcel: parcel.parcel,
            ordered: parcel.is_ordered,
            young: parcel.is_young,
            added: parcel.added.map(|added| added.to_string()),
            events: parcel
                .events
                .into_iter()
                .map(|event| Event {
                    event_id: event.id.to_string(),
                    event_type: event.event_type,
                    target: event.target,
                    emitted: event.time.to_string(),
                })
                .collect(),
        });
        Self {
            action: "list",
            consumer: &named.consumer,
            parcels: standing.parcels,
            events: standing.events,
            young: standing.young,
            unreadable: standing.unreadable,
            oldest: standing.oldest.map(|oldest| oldest.to_string()),
            shown: shown.collect(),
        }
    }
}

fn list_text(list: &List<'_>) -> String {
    let mut text = format!(
        "consumer {}: {} events in {} parcels wait to be sent\n",
        clean(list.consumer),
        list.events,
        list.parcels
    );
    if let Some(oldest) = &list.oldest {
        let _ = writeln!(text, "the oldest was emitted at {oldest}");
    }
    if list.unreadable > 0 {
        let _ = writeln!(
            text,
            "{} parcels are not ones that this version can read",
            list.unreadable
        );
    }
    for parcel in &list.shown {
        let order = if parcel.ordered {
            "one after the other"
        } else {
            "in any order"
        };
        let young = if parcel.young { ", on its way" } else { "" };
        let _ = writeln!(text, "{} ({order}{young})", clean(&parcel.parcel));
        for event in &parcel.events {
            let _ = writeln!(
                text,
                "  {}  {}  {}  {}",
                event.emitted,
                event.event_id,
                clean(&event.event_type),
                clean(&event.target)
            );
        }
    }
    let hidden = list.parcels - list.unreadable - list.shown.len();
    if hidden > 0 {
        let _ = writeln!(text, "… and {hidden} parcels more (--limit)");
    }
    text
}

fn sweep_text(sweep: &Sweep<'_>) -> String {
    let mut text = format!(
        "consumer {}: {} events in {} parcels lie in the outbox\n",
        clean(sweep.consumer),
        sweep.events,
        sweep.parcels
    );
    let _ = match sweep.dry_run {
        true => writeln!(text, "{} parcels are to be sent", sweep.left),
        false => writeln!(text, "{} events were sent, {} parcels are left", sweep.sent, sweep.left),
    };
    if sweep.young > 0 {
        let _ = writeln!(
            text,
            "{} parcels are so young that their function may be sending them",
            sweep.young
        );
    }
    if sweep.unreadable > 0 {
        let _ = writeln!(
            text,
            "{} parcels are not ones that this version can read",
            sweep.unreadable
        );
    }
    if sweep.dry_run {
        text.push_str("nothing was sent yet\n");
    }
    text
}
