"""One process owns one stack: it starts it, looks after it, and takes it down when told to.

The commands only start this process (`launch`) and signal it (`shut_down`). Everything the
stack consists of is its child and dies with it. A first SIGTERM or SIGINT takes the stack
down in order, a second one kills.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from stack import process
from stack.paths import HERE
from stack.plan import Plan
from stack.report import StackError, say
from stack.state import State, load

TEND_EVERY_SECS = 0.1
SHUTDOWN_SECS = 40.0


class StopRequested(Exception):
    """Raised wherever the supervisor is when the first signal comes."""


def launch(folder: Path, plan: Plan, tied_to_us: bool, scratch: bool = False) -> State:
    """Starts a supervisor and returns when its stack is ready; relays what it says meanwhile.

    With `tied_to_us` it takes the stack down when this process dies, however it dies, and
    removes a `scratch` folder that this process then cannot remove any more.
    """
    (folder / "logs" / "functions").mkdir(parents=True, exist_ok=True)
    log = folder / "logs" / "stack.log"
    with log.open("ab") as output:
        child = process.spawn(
            [sys.executable, str(HERE / "stack.py"), "supervise", str(folder), plan.mode, str(plan.postgres)]
            + (["--only-postgres"] if plan.only_postgres else []) + (["--scratch"] if scratch else []),
            death_signal=signal.SIGTERM if tied_to_us else None,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )
    with log.open() as said:
        while True:
            ended = child.poll() is not None
            sys.stderr.write(said.read())
            state = load(folder)
            if state and state.phase == "ready" and state.processes["supervisor"]["pid"] == child.pid:
                child.returncode = 0  # it goes on without us; no warning that it was left running
                return state
            if ended:
                problem = state.problem if state else ""
                raise StackError(problem or f"the stack did not start; {log} says why")
            time.sleep(0.05)


def shut_down(folder: Path) -> bool:
    """Takes down the stack in `folder`; false when there was none. Safe to call twice."""
    state = load(folder)
    if state is None:
        return False
    was_running = any(state.alive(name) for name in state.processes)
    supervisor = state.processes.get("supervisor")
    if supervisor:
        process.end(supervisor["pid"], supervisor["started"], signal.SIGTERM, SHUTDOWN_SECS)
    state = load(folder) or state
    _sweep(state)
    if folder.exists():
        state.phase, state.outside = "stopped", []
        state.save(folder)
    return was_running


def make_folder(folder: Path) -> Path:
    """Empties a stack's old folder, or makes a new one. Never empties anything else."""
    state = load(folder)
    if state and state.alive("supervisor"):
        raise StackError(f"a stack already runs in {folder}", f"stack.py down --dir {folder}")
    if state:
        shut_down(folder)
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise StackError(f"{folder} is not empty and is no stack's folder", "name another one")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def supervise(folder: Path, plan: Plan, scratch: bool) -> int:
    """The supervisor's whole life. Its exit code is 0 after an orderly end."""
    launcher = os.getppid()
    teardown = threading.Event()
    hard = threading.Event()

    def on_signal(*_: object) -> None:
        if teardown.is_set():
            hard.set()
            return
        teardown.set()
        raise StopRequested

    state = State(plan.mode)
    state.note_process("supervisor", os.getpid())
    state.save(folder)
    stack = None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        stack = _make(folder, plan, state)
        stack.start()
        state.env = stack.env()
        state.phase = "ready"
        state.save(folder)
        while True:
            stack.tend()
            time.sleep(TEND_EVERY_SECS)
    except StopRequested:
        state.phase = "stopping"
    except StackError as error:
        state.phase, state.problem = "failed", str(error)
    except Exception as error:  # a defect of ours: it must not leave servers behind
        traceback.print_exc()
        state.phase, state.problem = "failed", f"{type(error).__name__}: {error}"
    finally:
        teardown.set()
        state.save(folder)
        if stack is not None:
            stack.stop(hard.is_set())
    state.phase = "failed" if state.problem else "stopped"
    state.save(folder)
    if scratch and os.getppid() != launcher:
        shutil.rmtree(folder, ignore_errors=True)
    if state.problem and state.env:  # before it was ready, the launcher tells
        say(f"failed: {state.problem}")
    return 1 if state.problem else 0


def _make(folder: Path, plan: Plan, state: State):
    from stack import docker, host, venv

    kind = docker.DockerStack if plan.mode == "docker" else host.HostStack
    return kind(folder, venv.stack_venv(), plan, state)


def _sweep(state: State) -> None:
    """Ends what a supervisor that was killed has left. Never a process with a recycled id."""
    for name, noted in state.processes.items():
        if process.is_same(noted["pid"], noted["started"]):
            say(f"ending {name}, left by a supervisor that was killed")
            process.end(noted["pid"], noted["started"], signal.SIGTERM, 5.0)
    for folder in state.outside:
        shutil.rmtree(folder, ignore_errors=True)
