"""One run of a function's `bootstrap`, and the Runtime API that it speaks to.

Each process gets a Runtime API of its own, on a port of its own, which ends with it. So a
reply can only ever come from the process that was handed the invocation, even when the
service retries an invocation under the same request id.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from oncebox_localstack.function_log import FunctionLog
from oncebox_localstack.process import Spawner, kill_group, wait_and_kill_group
from oncebox_localstack.runtime_api import RuntimeApi

KILL_PATIENCE_SECS = 5.0


class State(Enum):
    """Where the process is: `STARTING → IDLE ⇄ BUSY → DEAD`, and dead from anywhere."""

    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    DEAD = auto()


@dataclass(frozen=True)
class Invocation:
    """One event for the function. `deadline` is a time of the wall clock, in seconds."""

    request_id: str
    payload: bytes
    function_arn: str
    trace_id: str | None
    deadline: float


@dataclass(frozen=True)
class Outcome:
    """What the service reports: the function's answer, or an error document."""

    payload: bytes
    is_error: bool


class InitFailure(Exception):
    """The process never asked for its first invocation; `outcome` says why, as Lambda does."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.payload.decode(errors="replace"))
        self.outcome = outcome


class Runtime:
    """A live `bootstrap`. All state changes happen under one condition variable."""

    def __init__(self, spawner: Spawner, code: Path, env: dict[str, str], log: FunctionLog) -> None:
        self._changed = threading.Condition()
        self._state = State.STARTING
        self._current: Invocation | None = None
        self._handed_over = False
        self._outcome: Outcome | None = None
        self._init_error: bytes | None = None
        self._end: str | None = None
        self._api = RuntimeApi(self)
        env = env | {"AWS_LAMBDA_RUNTIME_API": self._api.address}
        output = log.open_pipe()
        try:
            self._process = spawner.spawn(
                [str(code / "bootstrap")], cwd=code, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            self._api.close()
            problem = "couldn't find valid bootstrap" if isinstance(error, FileNotFoundError) else error.strerror
            raise InitFailure(error_outcome("Runtime.InvalidEntrypoint", f"Error: {problem}")) from error
        finally:
            os.close(output)
        threading.Thread(target=self._watch, name="function-watch", daemon=True).start()

    @property
    def api_address(self) -> str:
        """Where the process finds its Runtime API, as host:port."""
        return self._api.address

    @property
    def alive(self) -> bool:
        """False once the process has ended or was killed."""
        with self._changed:
            return self._state is not State.DEAD

    def wait_until_ready(self, until: float) -> None:
        """Returns when the process asks for its first invocation; raises `InitFailure` otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: self._state is not State.STARTING or self._init_error, until - time.time())
            if self._state is State.IDLE:
                return
            reason = self._init_error
            ended = self._state is State.DEAD
        self.kill()
        if reason is not None:
            raise InitFailure(Outcome(reason, is_error=True))
        if ended:
            raise InitFailure(error_outcome("Runtime.ExitError", f"Error: Runtime exited {self._end}"))
        raise InitFailure(error_outcome("Sandbox.Timedout", "Error: Task timed out while it was initialising"))

    def invoke(self, invocation: Invocation) -> Outcome:
        """Runs one invocation to its answer, its crash or its deadline, whichever is first."""
        with self._changed:
            # The process asks for the next invocation a moment after it has answered the last.
            self._changed.wait_for(lambda: self._state is not State.BUSY, invocation.deadline - time.time())
            if self._state is State.IDLE:
                self._state, self._current, self._handed_over, self._outcome = State.BUSY, invocation, False, None
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._outcome or self._state is State.DEAD, invocation.deadline - time.time()
                )
            outcome, ended = self._outcome, self._state is State.DEAD
            self._current, self._outcome = None, None
        if outcome is not None:
            return outcome
        if ended:
            return request_error("Runtime.ExitError", invocation, f"Runtime exited {self._end}")
        self.kill()
        return request_error("Sandbox.Timedout", invocation, "Task timed out")

    def kill(self) -> None:
        """Ends the process and everything it started. Safe to call twice."""
        kill_group(self._process)
        with self._changed:
            self._changed.wait_for(lambda: self._state is State.DEAD, KILL_PATIENCE_SECS)

    # What the Runtime API calls, each from a connection's own thread.

    def next_invocation(self) -> Invocation | None:
        """Blocks until there is one; None when the process is gone or broke the protocol."""
        with self._changed:
            if self._state is State.BUSY and self._current is not None:
                return None
            if self._state is not State.DEAD:
                self._state = State.IDLE
                self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._state is State.DEAD or (self._current is not None and not self._handed_over)
            )
            self._handed_over = True
            return self._current if self._state is State.BUSY else None

    def finish(self, request_id: str, payload: bytes, is_error: bool) -> bool:
        """Takes an answer; false when that invocation is not (or no longer) this process's."""
        with self._changed:
            if self._current is None or self._current.request_id != request_id:
                return False
            self._outcome = Outcome(payload, is_error)
            self._current = None
            self._changed.notify_all()
            return True

    def fail_init(self, payload: bytes) -> None:
        """Takes the reason why the process cannot start."""
        with self._changed:
            self._init_error = payload
            self._changed.notify_all()

    def _watch(self) -> None:
        code = wait_and_kill_group(self._process)
        with self._changed:
            self._end = f"with error: exit status {code}" if code >= 0 else f"with error: signal: {-code}"
            self._state = State.DEAD
            self._changed.notify_all()
        self._api.close()


def request_error(kind: str, invocation: Invocation, message: str) -> Outcome:
    """An error of one invocation in the platform's words."""
    return error_outcome(kind, f"RequestId: {invocation.request_id} Error: {message}")


def error_outcome(kind: str, message: str) -> Outcome:
    """An error document as Lambda writes it."""
    return Outcome(json.dumps({"errorType": kind, "errorMessage": message}).encode(), is_error=True)
