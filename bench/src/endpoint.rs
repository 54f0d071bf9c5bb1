//! A target on this machine that takes what SQS, SNS and EventBridge take, as fast as it can.
//!
//! It speaks the services' protocols and nothing else: no queue, no signature check, no storage. It
//! notes which events came, when, how often and in which order, answers after a settable time and
//! fails a settable share. It reads as little of a request as that needs, in one thread: it shares
//! the machine with what is measured.
//!
//! # Reading order
//! [`connection`] (HTTP), [`request`] (which service and action), [`scan`] (entries and envelopes in
//! a body), [`ledger`] (what came), [`answer`] (what is said).

mod answer;
mod connection;
mod ledger;
mod request;
mod scan;
mod settings;

use std::{cell::RefCell, net::SocketAddr, rc::Rc};

use anyhow::{Context as _, Result};
use tokio::{net::TcpListener, task::LocalSet};

pub(crate) use ledger::{ARRIVAL_BYTES, Stats};
pub(crate) use settings::Settings;

use self::{ledger::Ledger, scan::Scanners};

/// What all connections share.
struct Shared {
    settings: RefCell<Settings>,
    ledger: RefCell<Ledger>,
    scanners: Scanners,
}

/// Serves until the process is killed; prints its address as the first line.
pub(crate) fn serve(listen: SocketAddr, settings: Settings) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        crate::say(&format!("http://{}", listener.local_addr()?));
        let shared = Rc::new(Shared {
            settings: RefCell::new(settings),
            ledger: RefCell::new(Ledger::default()),
            scanners: Scanners::new(),
        });
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let shared = Rc::clone(&shared);
            // A connection that breaks is the client's affair.
            tokio::task::spawn_local(async move { drop(connection::run(socket, shared).await) });
        }
    })
}
