"""Processes: started so that they die with their parent, and killed only if still the same."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def spawn(command: list[str], *, user_id: int | None = None, death_signal: int | None = signal.SIGKILL, **kwargs):
    """`subprocess.Popen`, with a signal when the calling process dies (Linux only).

    Call it from the main thread: the kernel watches the thread that forked. `user_id`
    drops root's rights.
    """
    parent = os.getpid()

    def in_child() -> None:
        if user_id is not None:
            os.setgroups([])
            os.setgid(user_id)
            os.setuid(user_id)
        if _libc is not None and death_signal is not None:  # after setuid, which clears it
            _libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return subprocess.Popen(command, preexec_fn=in_child, **kwargs)


def start_time(pid: int) -> str | None:
    """When the process started, in a form only good for comparing; None if there is none.

    Together with the process id it names one process: a recycled id has another start time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else f"{_boot_id()}:{fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip() or None


def is_same(pid: int, started: str) -> bool:
    """Whether that very process still runs."""
    return start_time(pid) == started


def end(pid: int, started: str, graceful: int, patience_secs: float) -> bool:
    """Asks with the signal `graceful`, waits, then kills. True when the process is gone."""
    for number, wait_secs in ((graceful, patience_secs), (signal.SIGKILL, 5.0)):
        if not is_same(pid, started):
            return True
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + wait_secs
        while is_same(pid, started) and time.monotonic() < deadline:
            reap(pid)
            time.sleep(0.02)
    return not is_same(pid, started)


def adopt_orphans() -> None:
    """Makes descendants whose parent dies children of this process (Linux only)."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_children(but: set[int]) -> None:
    """Kills and reaps this process's children, and theirs as they come to it (Linux only)."""
    while found := _children_of(os.getpid()) - but:
        for pid in found:
            os.kill(pid, signal.SIGKILL)  # ours until it is reaped, so the id is not recycled
        for pid in found:
            os.waitpid(pid, 0)


def _children_of(parent: int) -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.add(int(stat.parent.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def reap(pid: int) -> None:
    """Takes note of a child's end, so that it is no zombie. Nothing if it is no child of ours."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "boot"
