//! What was measured on what.

use std::fs;

use anyhow::Result;
use jiff::Zoned;
use sqlx::PgConnection;

/// The machine and the server, as a line each.
pub(crate) async fn describe(connection: &mut PgConnection) -> Result<Vec<(String, String)>> {
    let postgres: String = sqlx::query_scalar(
        "select 'Postgres ' || current_setting('server_version') || ', shared_buffers ' || current_setting('shared_buffers')
             || ', fsync ' || current_setting('fsync') || ', full_page_writes ' || current_setting('full_page_writes')",
    )
    .fetch_one(connection)
    .await?;
    let mut facts = facts();
    facts.insert(3, ("database".to_owned(), postgres));
    Ok(facts)
}

/// The machine, as a line each: processor, memory, kernel, then the moment.
pub(crate) fn facts() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned());
        value.unwrap_or_else(|| "unknown".to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let gib = memory
        .split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1_048_576.0;
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        (
            "processor",
            format!("{cores} × {}", field(&read("/proc/cpuinfo"), "model name")),
        ),
        ("memory", format!("{gib:.0} GiB")),
        ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
        ("date", Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string()),
        (
            "load before",
            read("/proc/loadavg")
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        ),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}
