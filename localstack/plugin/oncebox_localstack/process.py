"""Starts and kills a function's process group."""

from __future__ import annotations

import ctypes
import errno
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

PR_SET_PDEATHSIG = 1
BUSY_FILE_PATIENCE_SECS = 2.0
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Spawner:
    """Forks every function process from one thread that lives as long as LocalStack.

    The kernel sends a parent-death signal when the *thread* that forked ends, not when its
    process does. LocalStack's worker threads come and go, so a process forked from one of
    them would be killed in the middle of its work.
    """

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="function-spawner", daemon=True).start()

    def spawn(self, *args, **kwargs) -> subprocess.Popen:
        """`subprocess.Popen(…)`, with its exceptions, in a session of its own."""
        started: Future = Future()
        self._requests.put((started, args, kwargs))
        return started.result()

    def _serve(self) -> None:
        while True:
            started, args, kwargs = self._requests.get()
            try:
                started.set_result(_popen(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
                started.set_exception(error)


def wait_and_kill_group(process: subprocess.Popen) -> int:
    """Waits for the leader's end, kills what it left in its group, returns its exit code.

    The leader is reaped last: until then its process id, which names the group, cannot be
    given to a stranger.
    """
    if hasattr(os, "waitid") and hasattr(os, "WNOWAIT"):
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass
        kill_group(process)
    return process.wait()


def kill_group(process: subprocess.Popen) -> None:
    """Kills the process and all it started. Does nothing once the process was reaped."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def _popen(*args, **kwargs) -> subprocess.Popen:
    # A file that was just unpacked is "busy" while any other thread's half-forked child
    # still holds it open for writing; that clears by itself within microseconds.
    parent = os.getpid()
    give_up_at = time.monotonic() + BUSY_FILE_PATIENCE_SECS
    while True:
        try:
            return subprocess.Popen(
                *args, start_new_session=True, preexec_fn=lambda: _die_with(parent), **kwargs
            )
        except OSError as error:
            if error.errno != errno.ETXTBSY or time.monotonic() > give_up_at:
                raise
            time.sleep(0.005)


def _die_with(parent: int) -> None:
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the signal was armed
            os._exit(1)
