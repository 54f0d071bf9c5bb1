"""What a function prints: to a readable file at once, and to the invocation it belongs to."""

from __future__ import annotations

import os
import select
import threading
import time
from pathlib import Path

MAX_INVOCATION_BYTES = 256 * 1024
CUT_OFF = b"\n[cut off: more than 256 KiB in one invocation; the log file has all of it]\n"


class FunctionLog:
    """One execution environment's log, across the processes it runs one after the other.

    `take()` first reads all that is in the pipe, so a line printed before the response was
    sent is always in that invocation's log and never in the next one's.
    """

    def __init__(self, path: Path, label: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # O_APPEND and one write a line: lines of several environments never mix.
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._label = label
        self._lock = threading.Lock()
        self._untaken = bytearray()
        self._pipe: int | None = None
        self._partial_line = b""

    def open_pipe(self) -> int:
        """A new process's output: the writing end, which the caller closes once it is handed on."""
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        with self._lock:
            self._pipe = read_end
        pump = threading.Thread(target=self._pump, args=(read_end,), name="function-log", daemon=True)
        pump.start()
        return write_end

    def note(self, line: str) -> None:
        """Adds a line of the platform's own (START, END, REPORT …)."""
        with self._lock:
            self._drain(self._pipe)
            self._keep(line.encode() + b"\n")
            self._write(line.encode())

    def take(self) -> str:
        """All output since the last call."""
        with self._lock:
            self._drain(self._pipe)
            taken = bytes(self._untaken)
            self._untaken.clear()
        return taken.decode(errors="replace")

    def close(self) -> None:
        """Ends the file. What a pipe still brings is dropped."""
        with self._lock:
            self._drain(self._pipe)
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _pump(self, pipe: int) -> None:
        # Only this thread closes the pipe: a number closed elsewhere could be somebody else's by now.
        poller = select.poll()
        poller.register(pipe, select.POLLIN)
        try:
            ended = False
            while not ended:
                poller.poll()
                with self._lock:
                    ended = self._drain(pipe)
                    if ended and self._pipe == pipe:
                        self._pipe = None
        finally:
            os.close(pipe)

    def _drain(self, pipe: int | None) -> bool:
        """Reads what is there now; true at the end of the pipe."""
        while pipe is not None:
            try:
                chunk = os.read(pipe, 65536)
            except BlockingIOError:
                return False
            if not chunk:
                if self._partial_line:
                    self._write(self._partial_line)
                    self._partial_line = b""
                return True
            self._keep(chunk)
            *lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
            for line in lines:
                self._write(line)
        return False

    def _keep(self, chunk: bytes) -> None:
        if len(self._untaken) < MAX_INVOCATION_BYTES:
            self._untaken += chunk
            if len(self._untaken) >= MAX_INVOCATION_BYTES:
                self._untaken += CUT_OFF

    def _write(self, line: bytes) -> None:
        if self._file >= 0:
            now = time.time()
            stamp = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
            os.write(self._file, f"{stamp} {self._label} ".encode() + line + b"\n")
