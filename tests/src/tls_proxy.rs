//! TLS in front of a Postgres that has none: answers `SSLRequest` with yes and hands on what it
//! decrypts (Postgres documentation, "Message Flow", SSL Session Encryption).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use url::Url;

/// Length and code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A server that takes encrypted connections only.
#[derive(Debug)]
pub struct TlsProxy {
    /// Where it listens, with the database that it stands before.
    pub url: Url,
    sessions: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl TlsProxy {
    /// Listens with this certificate and key (PEM).
    ///
    /// # Errors
    /// The certificate and the key are no pair.
    pub async fn start(server: &Url, certificate: &str, key: &str) -> Result<Self> {
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut url = server.clone();
        let port = listener.local_addr()?.port();
        url.set_port(Some(port)).ok().context("the URL takes a port")?;
        let behind = (
            server.host_str().context("a host")?.to_owned(),
            server.port().context("a port")?,
        );
        let sessions = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn({
            let sessions = Arc::clone(&sessions);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (acceptor, behind, sessions) = (acceptor.clone(), behind.clone(), Arc::clone(&sessions));
                    tokio::spawn(async move {
                        if let Err(error) = serve(client, &acceptor, behind, &sessions).await {
                            eprintln!("tls proxy: a client was refused: {error:#}");
                        }
                    });
                }
            }
        });
        Ok(Self {
            url,
            sessions,
            accepting,
        })
    }

    /// How many encrypted connections there have been.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::SeqCst)
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    acceptor: &TlsAcceptor,
    behind: (String, u16),
    sessions: &AtomicUsize,
) -> Result<()> {
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    ensure!(request == SSL_REQUEST, "it did not ask for TLS");
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    sessions.fetch_add(1, Ordering::SeqCst);
    let mut server = TcpStream::connect(behind).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
