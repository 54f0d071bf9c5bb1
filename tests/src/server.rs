//! A Postgres server of a test's own: to be stopped, crashed and filled up.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;
use tokio::process::Child;
use url::Url;

use crate::until;

const ROLE: &str = "oncebox";

/// A server; killed and removed with this value.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
    child: Option<Child>,
    /// Postgres refuses to run as root.
    user: Option<u32>,
}

impl Server {
    /// Makes a server's data and starts it.
    ///
    /// # Errors
    /// No binaries of Postgres, or it does not start.
    pub async fn start() -> Result<Self> {
        let bin = env::var_os("ONCEBOX_POSTGRES_BIN").map(PathBuf::from).context(
            "a server of a test's own needs Postgres' binaries: use the host-mode stack (ONCEBOX_STACK=host), \
             or set ONCEBOX_POSTGRES_BIN to the folder of initdb and postgres",
        )?;
        let user = getuid().is_root().then(nobody).transpose()?;
        let folder = tempfile::Builder::new().prefix("oncebox-server-").tempdir_in("/tmp")?;
        let mut server = Self {
            port: free_port()?,
            folder,
            bin,
            child: None,
            user,
        };
        if let Some(user) = user {
            std::os::unix::fs::chown(server.folder.path(), Some(user), Some(user))?;
        }
        server.run(
            "initdb",
            [
                "-D",
                "data",
                "-U",
                ROLE,
                "--auth=trust",
                "--no-sync",
                "-E",
                "UTF8",
                "--locale=C",
            ],
        )?;
        server.add_settings(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nshared_buffers = 16MB\n\
             dynamic_shared_memory_type = mmap\nlog_line_prefix = '%m [%p] %a '\n",
        )?;
        server.launch(None).await?;
        Ok(server)
    }

    /// Its URL, for the superuser, with this database.
    ///
    /// # Panics
    /// Never: the URL is made of parts that are valid.
    #[must_use]
    pub fn url(&self, database: &str) -> Url {
        let url = format!("postgres://{ROLE}@127.0.0.1:{}/{database}", self.port);
        #[expect(clippy::expect_used, reason = "see above")]
        url.parse().expect("a URL")
    }

    /// Starts it after [`Server::stop`] or [`Server::crash`]. `max_file_bytes` makes every write beyond
    /// that place in a file fail, as on a full disk.
    ///
    /// # Errors
    /// It does not start.
    pub async fn launch(&mut self, max_file_bytes: Option<u64>) -> Result<()> {
        ensure!(self.child.is_none(), "it runs already");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))?;
        let postgres = self.bin.join("postgres");
        // `ulimit` counts blocks of 512 bytes in POSIX and of 1,024 in bash: sh is not to be relied on.
        let mut command = match max_file_bytes {
            None => Command::new(postgres),
            Some(bytes) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--fsize={bytes}:unlimited")).arg(postgres);
                command
            }
        };
        command
            .args(["-D", "data", "-p", &self.port.to_string()])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.as_user(&mut command);
        let mut command = tokio::process::Command::from(command);
        self.child = Some(command.kill_on_drop(true).spawn().context("starting postgres")?);
        until("the server to answer", async || {
            let args = ["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()];
            self.run("pg_isready", args)
        })
        .await
        .with_context(|| self.log())
    }

    /// Cuts all connections and stops it (a fast shutdown).
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(Signal::INT).await
    }

    /// Kills it and all its processes as if the machine had stopped; the next start recovers.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub async fn crash(&mut self) -> Result<()> {
        // Immediate shutdown: no checkpoint, nothing is written that was not.
        self.end(Signal::QUIT).await
    }

    /// Kills one server process, upon which the server ends all others and recovers by itself, in
    /// the same second and under the same postmaster.
    ///
    /// # Errors
    /// The process is gone.
    pub fn kill_backend(&self, pid: i32) -> Result<()> {
        kill_process(Pid::from_raw(pid).context("a process id is not zero")?, Signal::KILL).context("killing a backend")
    }

    fn add_settings(&self, settings: &str) -> Result<()> {
        let file = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&file)?;
        writeln!(text, "\n{settings}")?;
        self.write(&file, &text)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        let id = child.id().context("it has ended already")?;
        let id = Pid::from_raw(i32::try_from(id)?).context("a process id is not zero")?;
        kill_process(id, signal).context("signalling postgres")?;
        child.wait().await?;
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        fs::write(file, text)?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = self.user {
            std::os::unix::fs::chown(file, Some(user), Some(user))?;
        }
        Ok(())
    }

    fn run(&self, program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<()> {
        let mut command = Command::new(self.bin.join(program));
        command.args(args).current_dir(self.folder.path());
        self.as_user(&mut command);
        let done = command.output().with_context(|| format!("running {program}"))?;
        if !done.status.success() {
            bail!("{program}: {}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(())
    }

    fn as_user(&self, command: &mut Command) {
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(id) = self.child.as_ref().and_then(Child::id)
            && let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw)
        {
            // The postmaster takes its children with it.
            let _ = kill_process(id, Signal::QUIT);
            let data = self.data().join("postmaster.pid");
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while data.exists() && std::time::Instant::now() < deadline {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn nobody() -> Result<u32> {
    let users = fs::read_to_string("/etc/passwd")?;
    let line = users
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .context("Postgres refuses to run as root, and there is no user `nobody`")?;
    line.split(':')
        .nth(2)
        .and_then(|id| id.parse().ok())
        .context("/etc/passwd: nobody has no id")
}
