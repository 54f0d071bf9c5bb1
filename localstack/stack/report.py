"""What a person sees: progress on stderr, and errors that name their fix."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_started = time.monotonic()
PROGRESS_EVERY_SECS = 5.0


class StackError(Exception):
    """Something a person must know. `fix` says what they can do about it."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}\n  Fix: {self.fix}" if self.fix else message


def say(message: str) -> None:
    """One progress line with the seconds since the start."""
    print(f"stack: {time.monotonic() - _started:6.1f} s  {message}", file=sys.stderr, flush=True)


def wait_until(what: str, condition: Callable[[], bool], timeout_secs: float, every_secs: float = 0.05) -> None:
    """Polls `condition`, telling every few seconds that it still waits. `StackError` at the deadline."""
    started = told = time.monotonic()
    while not condition():
        now = time.monotonic()
        if now - started > timeout_secs:
            raise StackError(f"{what}: not within {timeout_secs:.0f} s")
        if now - told > PROGRESS_EVERY_SECS:
            told = now
            say(f"still waiting: {what}")
        time.sleep(every_secs)
