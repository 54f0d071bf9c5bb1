//! The runner: scenario after scenario, then the report.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use crate::{client::Endpoint, database::Database, machine, measure::Bench, report::Report, scenario::Scenario};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The scenarios to run; all when none is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Fewer events and rounds: says whether everything works, not how fast it is.
    #[arg(long)]
    quick: bool,
    /// How many relays run at once in scenario `relays`, each number in turn.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    relays: Vec<usize>,
    /// Where to write the results; nowhere when left out.
    #[arg(long)]
    results: Option<PathBuf>,
    /// The Postgres server, as a superuser; a database of the benchmark's own is made in it.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Runs the scenarios, prints and writes the report.
///
/// # Errors
/// A run broke, or lost events; what was found out before is printed all the same. A missed goal is
/// no error: machines differ.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    ensure!(
        !arguments.relays.contains(&0),
        "--relays: at least one relay has to run"
    );
    let database = Database::create(&arguments.database_url).await?;
    let mut report = Report {
        facts: machine::describe(&mut database.connect().await?).await?,
        ..Report::default()
    };
    let endpoint = Endpoint::start().await?;
    let mut bench = Bench::new(database, endpoint, arguments.quick, arguments.relays);
    let scenarios = match arguments.scenarios.as_slice() {
        [] => Scenario::ALL.to_vec(),
        named => named.to_vec(),
    };
    let mut outcome = Ok(());
    for scenario in scenarios {
        crate::say(&format!("==> {scenario}"));
        match scenario.run(&mut bench).await {
            Ok(section) => report.sections.push(section),
            Err(error) => {
                outcome = Err(error).with_context(|| format!("scenario {scenario}"));
                break;
            }
        }
    }
    report.print();
    bench.database.drop().await?;
    outcome?;
    if let Some(path) = arguments.results {
        report.write(&path, &command(arguments.quick))?;
    }
    Ok(())
}

fn command(is_quick: bool) -> String {
    format!("make bench{}", if is_quick { " QUICK=1" } else { "" })
}
