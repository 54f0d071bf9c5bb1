//! A proxy before Postgres that loses the answer to a commit.

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, spawn},
};

/// What becomes of the connections after the first one, whose commit is applied and never answered.
#[derive(Clone, Copy)]
pub(crate) enum Later {
    /// They work.
    Work,
    /// They are closed at once.
    Closed,
}

pub(crate) struct CommitCutter {
    port: u16,
    proxy: AbortHandle,
}

impl Drop for CommitCutter {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

impl CommitCutter {
    pub(crate) async fn new(server: &PgConnectOptions, later: Later) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = (server.get_host().to_owned(), server.get_port());
        let proxy = spawn(async move {
            let (client, _) = listener.accept().await.unwrap();
            cut_after_commit(client, TcpStream::connect(server.clone()).await.unwrap()).await;
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if matches!(later, Later::Work) {
                    let mut server = TcpStream::connect(server.clone()).await.unwrap();
                    spawn(async move { copy_bidirectional(&mut client, &mut server).await });
                }
            }
        });
        Self {
            port,
            proxy: proxy.abort_handle(),
        }
    }

    /// Connections of `options`, through the proxy.
    pub(crate) fn pool(&self, options: &PgConnectOptions) -> PgPool {
        let through = options.clone().host("127.0.0.1").port(self.port);
        let through = through.ssl_mode(PgSslMode::Disable);
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = pool.acquire_timeout(std::time::Duration::from_secs(2));
        pool.connect_lazy_with(through)
    }
}

/// Ends the connection when the answer to a commit has come, which nobody gets.
async fn cut_after_commit(mut client: TcpStream, mut server: TcpStream) {
    let (mut said, mut replied) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            _ = client.read_buf(&mut said) => {
                server.write_all(&said).await.unwrap();
                if said.windows(6).any(|word| word == b"COMMIT") {
                    server.read_buf(&mut replied).await.unwrap();
                    return;
                }
                said.clear();
            }
            _ = server.read_buf(&mut replied) => {
                client.write_all(&replied).await.unwrap();
                replied.clear();
            }
        }
    }
}
