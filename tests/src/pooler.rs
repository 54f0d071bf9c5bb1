//! A connection pooler in transaction mode, as strict as one can be.
//!
//! Every transaction of a client gets the server connection that has waited longest, so two in a row
//! never get the same one; nothing is reset in between. A startup parameter that a pooler cannot
//! carry from one server connection to another is refused, as PgBouncer does. A client whose server
//! connection is lost within a transaction is cut; between transactions it notices nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};
use url::Url;

const PROTOCOL_3: i32 = 196_608;
const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
/// What PgBouncer carries along by itself, and the login.
const CARRIED: [&str; 7] = [
    "user",
    "database",
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "application_name",
];
const SERVER_CONNECTIONS: usize = 4;

/// A pooler in front of a server.
#[derive(Debug)]
pub struct Pooler {
    /// Where clients find the database.
    pub url: Url,
    pool: Arc<Pool>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Pool {
    server: Url,
    idle: Mutex<VecDeque<Wire>>,
    transactions: AtomicUsize,
    lost: AtomicUsize,
}

/// A connection, and what was read of it and is no whole message yet.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Pooler {
    /// Starts a pooler in front of `server`, whose role needs no password.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn start(server: &Url) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut url = server.clone();
        let port = listener.local_addr()?.port();
        url.set_port(Some(port)).ok().context("the URL takes a port")?;
        let pool = Arc::new(Pool {
            server: server.clone(),
            idle: Mutex::default(),
            transactions: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
        });
        for _ in 0..SERVER_CONNECTIONS {
            let wire = pool.connect().await?;
            pool.give_back(wire);
        }
        let accepting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let pool = Arc::clone(&pool);
                    tokio::spawn(async move {
                        if let Err(error) = pool.serve(Wire::new(client)).await {
                            eprintln!("pooler: a client was cut: {error:#}");
                        }
                    });
                }
            }
        });
        Ok(Self { url, pool, accepting })
    }

    /// How many transactions it has carried.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.pool.transactions.load(Ordering::SeqCst)
    }

    /// How many server connections were lost and replaced while no client noticed.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.pool.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Pool {
    async fn serve(&self, mut client: Wire) -> Result<()> {
        let Some(parameters) = client.startup().await? else {
            return Ok(());
        };
        if let Some(foreign) = parameters.iter().find(|name| !CARRIED.contains(&name.as_str())) {
            let said = format!("SFATAL\0C08P01\0Munsupported startup parameter: {foreign}\0\0");
            client.send(b'E', said.as_bytes()).await?;
            bail!("unsupported startup parameter {foreign}");
        }
        client.send(b'R', &0_i32.to_be_bytes()).await?;
        client.send(b'S', b"client_encoding\0UTF8\0").await?;
        client.send(b'S', b"server_version\x0015.0\0").await?;
        client.send(b'K', &[0; 8]).await?;
        client.send(b'Z', b"I").await?;
        while let Some(first) = client.next().await? {
            if first[0] == b'X' {
                break;
            }
            let server = self.take().await?;
            let server = carry(&mut client, server, first).await?;
            self.transactions.fetch_add(1, Ordering::SeqCst);
            self.give_back(server);
        }
        Ok(())
    }

    /// The server connection that has waited longest and lives.
    async fn take(&self) -> Result<Wire> {
        for _ in 0..600 {
            let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match waiting {
                Some(wire) if wire.is_silent() => return Ok(wire),
                Some(_) => {
                    self.lost.fetch_add(1, Ordering::SeqCst);
                }
                None => {
                    if let Ok(wire) = self.connect().await {
                        return Ok(wire);
                    }
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        bail!("no server for 30 s")
    }

    fn give_back(&self, wire: Wire) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push_back(wire);
    }

    async fn connect(&self) -> Result<Wire> {
        let (host, port) = (self.server.host_str().unwrap_or_default(), self.server.port());
        let stream = TcpStream::connect((host, port.context("a port")?)).await?;
        let mut wire = Wire::new(stream);
        let database = self.server.path().trim_start_matches('/');
        let user = self.server.username();
        let body = format!("user\0{user}\0database\0{database}\0application_name\0pooler\0\0");
        let mut startup = BytesMut::new();
        startup.put_i32(i32::try_from(body.len() + 8)?);
        startup.put_i32(PROTOCOL_3);
        startup.put_slice(body.as_bytes());
        wire.stream.write_all(&startup).await?;
        loop {
            let message = wire.next().await?.context("the server hung up")?;
            match message[0] {
                b'Z' => return Ok(wire),
                b'E' => bail!("{}", String::from_utf8_lossy(&message[5..])),
                _ => {}
            }
        }
    }
}

/// Carries one transaction, whose first message is `first`.
async fn carry(client: &mut Wire, mut server: Wire, first: Bytes) -> Result<Wire> {
    let mut unanswered = 0;
    let mut next = Some(first);
    loop {
        if let Some(message) = next.take() {
            // Simple query, or the end of an extended one: answered by one ReadyForQuery each.
            unanswered += usize::from(matches!(message[0], b'Q' | b'S'));
            server.stream.write_all(&message).await?;
        }
        tokio::select! {
            message = client.next() => next = Some(message?.context("the client went away in a transaction")?),
            message = server.next() => {
                let message = message?.context("the server went away in a transaction")?;
                client.stream.write_all(&message).await?;
                if message[0] == b'Z' {
                    unanswered -= 1;
                    if unanswered == 0 && message[5] == b'I' {
                        return Ok(server);
                    }
                }
            }
        }
    }
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next whole message, its type and length included; `None` at the end. Cancel safe.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.buffer.get(1..5) {
                let length = usize::try_from(i32::from_be_bytes(length.try_into()?))? + 1;
                if self.buffer.len() >= length {
                    return Ok(Some(self.buffer.split_to(length).freeze()));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The names of the startup message's parameters; `None` for a client that asks for no session.
    async fn startup(&mut self) -> Result<Option<Vec<String>>> {
        loop {
            let length = usize::try_from(self.stream.read_i32().await?)?;
            ensure!((8..10_000).contains(&length), "a startup message of {length} bytes");
            let mut body = vec![0; length - 4];
            self.stream.read_exact(&mut body).await?;
            let mut body = body.as_slice();
            match body.get_i32() {
                SSL_REQUEST | GSS_REQUEST => self.stream.write_all(b"N").await?,
                PROTOCOL_3 => {
                    let words: Vec<&[u8]> = body.split(|byte| *byte == 0).collect();
                    let names = words
                        .chunks(2)
                        .map(|pair| String::from_utf8_lossy(pair[0]).into_owned());
                    return Ok(Some(names.filter(|name| !name.is_empty()).collect()));
                }
                _ => return Ok(None),
            }
        }
    }

    async fn send(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let mut message = BytesMut::new();
        message.put_u8(kind);
        message.put_i32(i32::try_from(body.len() + 4)?);
        message.put_slice(body);
        Ok(self.stream.write_all(&message).await?)
    }

    /// Whether nothing has come, not even the end.
    fn is_silent(&self) -> bool {
        let would_block = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        self.buffer.is_empty() && self.stream.try_read(&mut [0]).is_err_and(|error| would_block(&error))
    }
}
