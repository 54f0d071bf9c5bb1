"""The stack on a machine without Docker: Postgres and LocalStack as child processes."""

from __future__ import annotations

import shutil
from pathlib import Path

from stack import process
from stack.localstack import ACCOUNT, LocalStack
from stack.plan import Plan
from stack.postgres import Postgres
from stack.report import StackError, say
from stack.state import State
from stack.venv import python

HOLD_POSTGRES = "postgres.hold"


class HostStack:
    """`start`, then `tend` every now and then, then `stop`."""

    def __init__(self, folder: Path, venv: Path, plan: Plan, state: State) -> None:
        self._folder = folder
        self._venv = venv
        self._state = state
        self._postgres = Postgres(plan.postgres, folder)
        self._localstack = None if plan.only_postgres else LocalStack(venv, folder)

    def start(self) -> None:
        """Returns when all answer."""
        process.adopt_orphans()
        if self._localstack:
            say("starting LocalStack (about 10 s)")
            self._localstack.start()
            self._note("localstack", self._localstack.pid)
        say(f"starting Postgres {self._postgres.version}")
        self._postgres.prepare()
        if self._postgres.outside:
            self._state.outside = [str(self._postgres.outside)]
            self._state.save(self._folder)
        self._postgres.start()
        self._note("postgres", self._postgres.pid)
        self._postgres.create_database()
        if self._localstack:
            self._localstack.wait()

    def env(self) -> dict[str, str]:
        """What a program needs to use the stack."""
        aws = {"AWS_ENDPOINT_URL": self._localstack.url} | ACCOUNT if self._localstack else {}
        return aws | {
            "DATABASE_URL": self._postgres.url,
            "ONCEBOX_FUNCTION_DATABASE_URL": self._postgres.url,
            "ONCEBOX_STACK": "host",
            "ONCEBOX_STACK_DIR": str(self._folder),
            "ONCEBOX_POSTGRES_BIN": str(self._postgres.bin),
            "ONCEBOX_PYTHON": str(python(self._venv)),
        }

    def tend(self) -> None:
        """Brings Postgres back when a test killed it, keeps it away while a test asks for that."""
        held = (self._folder / HOLD_POSTGRES).exists()
        if held and self._postgres.running():
            self._postgres.end()
        elif not held and not self._postgres.running():
            say("Postgres ended: starting it again on the same port")
            self._postgres.start()
            self._note("postgres", self._postgres.pid)
        if self._localstack and not self._localstack.running():
            raise StackError(f"LocalStack died; {self._folder}/logs/localstack.log says why")

    def stop(self, hard: bool) -> None:
        """Ends all and removes what lies outside the stack's folder."""
        if self._localstack:
            self._localstack.end(hard)
        # What functions had started themselves is now this process's.
        process.kill_children(but={self._postgres.pid} if self._postgres.running() else set())
        self._postgres.end(hard)
        if self._postgres.outside:
            shutil.rmtree(self._postgres.outside, ignore_errors=True)

    def _note(self, name: str, pid: int) -> None:
        self._state.note_process(name, pid)
        self._state.save(self._folder)
