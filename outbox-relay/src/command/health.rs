//! `outbox-relay health`: asks the relay of this configuration how it is, for machines that can only
//! run a program in its container.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Failure, FailureKind};
use crate::config::Config;

/// Longest that an answer is waited for; container platforms give a health check five seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks `/healthz`, or `/readyz` where `ready` is asked for, at the configured address.
///
/// # Errors
/// The relay does not answer, or not with 200 (exit code 1); the configuration cannot be read or
/// names no address to ask (2).
pub async fn ask(config: &Path, ready: bool) -> Result<(), Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    let usage = |error: anyhow::Error| Failure::new(FailureKind::Usage, error);
    let config = Config::load(config, environment).map_err(|error| usage(error.into()))?;
    let address = address(config.listen).map_err(usage)?;
    let path = if ready { "/readyz" } else { "/healthz" };
    let asked = timeout(PATIENCE, get(address, path)).await;
    let outcome = asked.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
    outcome
        .with_context(|| format!("http://{address}{path}"))
        .map_err(|error| Failure::new(FailureKind::Runtime, error))
}

/// Where to ask: what listens on every address answers on this machine's own.
fn address(listen: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    let mut address = listen.context("http.listen: is not set, so nobody answers; set it")?;
    ensure!(
        address.port() != 0,
        "http.listen: port 0 is another one at each start; write a fixed one"
    );
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(address)
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, said) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("status {status}: {}", said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn what_listens_everywhere_is_asked_at_home() {
        let asked = |listen: &str| address(Some(listen.parse().expect("an address"))).map(|at| at.to_string());
        assert_eq!(asked("0.0.0.0:9464").ok().as_deref(), Some("127.0.0.1:9464"));
        assert_eq!(asked("[::]:9464").ok().as_deref(), Some("[::1]:9464"));
        assert_eq!(asked("10.0.0.7:9464").ok().as_deref(), Some("10.0.0.7:9464"));
        for nobody in [asked("0.0.0.0:0"), address(None).map(|at| at.to_string())] {
            assert!(
                nobody
                    .expect_err("nobody to ask")
                    .to_string()
                    .starts_with("http.listen: ")
            );
        }
    }
}
