//! The functions that are compared, each a process as Lambda would start it.

use std::{
    fmt,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::Instant,
};

use super::emulator::{DEDUPE, IDEMPOTENCY, PAYMENTS};
use crate::process;

/// Whose function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Oncebox,
    /// The same, built with feature `otel`; nothing asks for traces.
    WithOtel,
    /// Traces are sent to a collector.
    Traced,
    Python,
    TypeScript,
}

impl Who {
    /// Those that are given messages.
    pub(crate) const WORKING: [Self; 3] = [Self::Oncebox, Self::Python, Self::TypeScript];
    /// Those that are started.
    pub(crate) const STARTED: [Self; 5] = [
        Self::Oncebox,
        Self::WithOtel,
        Self::Traced,
        Self::Python,
        Self::TypeScript,
    ];

    /// The size of its program in MiB, where it is one file.
    pub(crate) fn binary_mib(self) -> Option<f64> {
        let size = fs::metadata(self.binary()?.ok()?).ok()?.len();
        Some(size as f64 / f64::from(1 << 20))
    }

    /// The program that was built beside this one, where it is ours.
    fn binary(self) -> Option<Result<PathBuf>> {
        match self {
            Self::Oncebox => Some(built("take-payment")),
            Self::WithOtel | Self::Traced => Some(built("take-payment-otel")),
            Self::Python | Self::TypeScript => None,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oncebox => "Oncebox",
            Self::WithOtel => "Oncebox, with `otel`",
            Self::Traced => "Oncebox, traced",
            Self::Python => "Powertools, Python",
            Self::TypeScript => "Powertools, TypeScript",
        })
    }
}

/// Where the programs are that are not built here; `bench/peers/install.py` prints it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Parts {
    pub(crate) dynoxide: PathBuf,
    /// An interpreter with Powertools, and the folder with its function.
    python: PathBuf,
    python_folder: PathBuf,
    /// Node, and the folder with its function; none where there is no Node.
    node: Option<PathBuf>,
    node_folder: Option<PathBuf>,
    /// Versions, for the report.
    pub(crate) versions: Vec<(String, String)>,
}

/// A running function; killed with this value.
pub(crate) struct Function {
    child: Child,
    folder: TempDir,
    pub(crate) started: Instant,
}

impl Function {
    /// Starts a function; `None` when it cannot be had on this machine.
    pub(crate) fn start(
        who: Who,
        parts: &Parts,
        runtime_api: SocketAddr,
        database: SocketAddr,
    ) -> Result<Option<Self>> {
        let (program, arguments, root) = match who {
            Who::Oncebox | Who::WithOtel | Who::Traced => (who.binary().context("it is ours")??, vec![], None),
            Who::Python => {
                let arguments = vec!["-m", "awslambdaric", "function.handler"];
                (parts.python.clone(), arguments, Some(parts.python_folder.clone()))
            }
            Who::TypeScript => {
                let (Some(node), Some(folder)) = (&parts.node, &parts.node_folder) else {
                    return Ok(None);
                };
                (node.clone(), vec!["runtime.mjs"], Some(folder.clone()))
            }
        };
        let folder = TempDir::new()?;
        let root = root.unwrap_or_else(|| folder.path().to_owned());
        let log = File::create(folder.path().join("log"))?;
        let started = Instant::now();
        let child = Command::new(&program)
            .args(arguments)
            .current_dir(&root)
            .envs(environment(runtime_api, database))
            .env("LAMBDA_TASK_ROOT", &root)
            .envs((who == Who::Traced).then_some(("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Some(Self { child, folder, started }))
    }

    /// The most memory that it has had resident, in MiB.
    pub(crate) fn peak_rss_mib(&self) -> Result<f64> {
        process::peak_rss_mib(self.child.id().context("the function has ended")?)
    }

    /// The end of what it logged.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// Kills it, and waits until it is gone.
    pub(crate) async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// What Lambda sets, what points the SDKs at the proxy, and what the functions want to know.
fn environment(runtime_api: SocketAddr, database: SocketAddr) -> [(&'static str, String); 19] {
    let database = format!("http://{database}");
    let text = str::to_owned;
    [
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", text("on-demand")),
        ("AWS_LAMBDA_FUNCTION_NAME", text("bench")),
        ("AWS_LAMBDA_FUNCTION_VERSION", text("$LATEST")),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", text("1769")),
        ("AWS_LAMBDA_LOG_GROUP_NAME", text("/aws/lambda/bench")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", text("bench")),
        ("_HANDLER", text("function.handler")),
        ("AWS_REGION", text("us-east-1")),
        ("AWS_DEFAULT_REGION", text("us-east-1")),
        ("AWS_ACCESS_KEY_ID", text("test")),
        ("AWS_SECRET_ACCESS_KEY", text("test")),
        ("AWS_ENDPOINT_URL_DYNAMODB", database),
        ("AWS_EC2_METADATA_DISABLED", text("true")),
        ("POWERTOOLS_METRICS_DISABLED", text("true")),
        ("POWERTOOLS_TRACE_DISABLED", text("true")),
        ("PAYMENTS_TABLE", text(PAYMENTS)),
        ("DEDUPE_TABLE", text(DEDUPE)),
        ("IDEMPOTENCY_TABLE", text(IDEMPOTENCY)),
    ]
}

/// A program that was built beside this one.
fn built(name: &str) -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name(name);
    ensure!(
        binary.exists(),
        "{} is missing; `make bench-consumer` builds it",
        binary.display()
    );
    Ok(binary)
}
