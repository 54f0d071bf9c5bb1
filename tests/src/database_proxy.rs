//! A way to Postgres on which answers can be held back, and which can be cut.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use url::Url;

const FREE: usize = usize::MAX;

/// A proxy in front of a database. Statements always reach the server; while answers are held, the
/// client hears nothing, as when the way back is lost.
#[derive(Debug)]
pub struct DatabaseProxy {
    /// Where clients find the database.
    pub url: Url,
    /// How many more pieces of answers may pass.
    passing: Arc<watch::Sender<usize>>,
    /// Raised by each cut.
    cuts: Arc<watch::Sender<u64>>,
    accepting: JoinHandle<()>,
}

impl DatabaseProxy {
    /// Starts a proxy in front of `server`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(server: &Url) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut url = server.clone();
        let port = listener.local_addr()?.port();
        url.set_port(Some(port)).ok().context("the URL takes a port")?;
        let behind = (
            server.host_str().context("a host")?.to_owned(),
            server.port().context("a port")?,
        );
        let passing = Arc::new(watch::Sender::new(FREE));
        let cuts = Arc::new(watch::Sender::new(0));
        let accepting = tokio::spawn({
            let (passing, cuts) = (Arc::clone(&passing), Arc::clone(&cuts));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (behind, passing) = (behind.clone(), Arc::clone(&passing));
                    let mut cut = cuts.subscribe();
                    tokio::spawn(async move {
                        let Ok(server) = TcpStream::connect(behind).await else {
                            return;
                        };
                        let (from_client, to_client) = client.into_split();
                        let (from_server, to_server) = server.into_split();
                        let always = Arc::new(watch::Sender::new(FREE));
                        // Whoever hangs up ends both directions.
                        tokio::select! {
                            _ = carry(from_client, to_server, &always) => {}
                            _ = carry(from_server, to_client, &passing) => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Ok(Self {
            url,
            passing,
            cuts,
            accepting,
        })
    }

    /// Holds all answers back from now on, those to new connections too.
    pub fn hold(&self) {
        self.passing.send_replace(0);
    }

    /// Lets one answer pass (a short one, which is one piece) and holds those after it.
    pub fn let_one_pass(&self) {
        self.passing.send_replace(1);
    }

    /// Cuts all connections that there are, with the answers that are held on them.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Lets all answers pass.
    pub fn let_go(&self) {
        self.passing.send_replace(FREE);
    }
}

impl Drop for DatabaseProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passing: &watch::Sender<usize>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut waiting = passing.subscribe();
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let take = |left: &mut usize| {
            let is_free = *left > 0;
            if is_free && *left != FREE {
                *left -= 1;
            }
            is_free
        };
        let mut passes = false;
        while !passes {
            waiting.wait_for(|left| *left > 0).await?;
            // Another connection's answer may have been quicker.
            passing.send_if_modified(|left| {
                passes = take(left);
                passes && *left != FREE
            });
        }
        to.write_all(&buffer[..length]).await?;
    }
}
