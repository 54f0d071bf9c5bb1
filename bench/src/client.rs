//! The runner's side of the endpoint: starts it, sets it, asks what came.

use std::{collections::HashMap, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::endpoint::{ARRIVAL_BYTES, Settings, Stats};

/// How often the runner asks; it shares the machine with what it measures.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Longest without any event coming, after which a run counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// A running endpoint; killed with this value.
#[derive(Debug)]
pub(crate) struct Endpoint {
    child: Child,
    /// `http://127.0.0.1:port`
    pub(crate) url: String,
}

impl Endpoint {
    /// Starts this program as an endpoint on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("endpoint")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the endpoint")?;
        let mut line = String::new();
        let output = child.stdout.take().context("piped")?;
        BufReader::new(output).read_line(&mut line).await?;
        let url = line.trim().to_owned();
        ensure!(url.starts_with("http://"), "the endpoint did not start");
        Ok(Self { child, url })
    }

    /// The endpoint's process id.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("the endpoint has ended")
    }

    /// Forgets what came and behaves by `settings` from now on.
    pub(crate) async fn reset(&self, settings: Settings) -> Result<()> {
        self.ask("POST", &format!("/reset?{}", settings.to_query())).await?;
        Ok(())
    }

    /// What came since the last reset.
    pub(crate) async fn stats(&self) -> Result<Stats> {
        Ok(serde_json::from_slice(&self.ask("GET", "/stats").await?)?)
    }

    /// When each event first came, by its id, in nanoseconds of the monotonic clock.
    pub(crate) async fn arrivals(&self) -> Result<HashMap<u128, u64>> {
        let bytes = self.ask("GET", "/arrivals").await?;
        let arrival = |bytes: &[u8]| {
            let (id, ns) = bytes.split_first_chunk::<16>()?;
            Some((u128::from_be_bytes(*id), u64::from_be_bytes(*ns.first_chunk()?)))
        };
        bytes
            .chunks_exact(ARRIVAL_BYTES)
            .map(|bytes| arrival(bytes).context("a short arrival"))
            .collect()
    }

    /// Waits until `events` different events have come.
    pub(crate) async fn wait_for(&self, events: u64) -> Result<Stats> {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let stats = self.stats().await?;
            if stats.events >= events && stats.last_ns > 0 {
                return Ok(stats);
            }
            if stats.events > seen {
                (seen, since) = (stats.events, Instant::now());
            } else if since.elapsed() > STUCK_AFTER {
                bail!(
                    "{} of {events} events came, and no more for {STUCK_AFTER:?}",
                    stats.events
                );
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn ask(&self, method: &str, path: &str) -> Result<Vec<u8>> {
        let address = self.url.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut reader = BufReader::new(socket);
        let (mut line, mut length, mut is_ok) = (String::new(), 0, false);
        while reader.read_line(&mut line).await? > 2 {
            is_ok |= line.starts_with("HTTP/1.1 200");
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        ensure!(is_ok, "the endpoint refuses {method} {path}");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await?;
        Ok(body)
    }
}
