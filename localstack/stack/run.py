"""`stack.py run`: a stack around one command."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from stack import process
from stack.paths import new_scratch_dir
from stack.plan import Plan
from stack.report import StackError, say
from stack.state import load
from stack.supervisor import launch, make_folder, shut_down
from stack.venv import stack_venv

COULD_NOT_START = 125
COMMAND_NOT_FOUND = 127


class Interrupted(Exception):
    """A signal came while there was no command to hand it to."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Signals:
    """SIGINT and SIGTERM: to the command while it runs, else an `Interrupted` here.

    A second Ctrl-C kills the command; during the tear-down it kills the servers.
    """

    def __init__(self) -> None:
        self.command: subprocess.Popen | None = None
        self.folder: Path | None = None
        self.tearing_down = False
        self._count = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._count += 1
        if self.tearing_down:
            self._hurry()
        elif self.command is None:
            raise Interrupted(number)
        elif self._count > 1:
            self.command.kill()
        elif number == signal.SIGTERM or not _terminal_told_the_command_too():
            self.command.send_signal(number)

    def _hurry(self) -> None:
        state = load(self.folder) if self.folder else None
        if state and state.alive("supervisor"):
            os.kill(state.processes["supervisor"]["pid"], signal.SIGTERM)


def run(command: list[str], folder: Path | None, plan: Plan, keep: bool) -> int:
    """Returns the command's exit code, 128 + n if signal n ended it, 125 if there was no stack."""
    signals = Signals()
    own_folder = folder is None
    try:
        stack_venv()
        folder = new_scratch_dir() if own_folder else make_folder(folder.absolute())
        signals.folder = folder
        state = launch(folder, plan, tied_to_us=not keep, scratch=own_folder and not keep)
        say(f"ready in {folder}; running: {' '.join(command)}")
        code = _run_command(command, os.environ | state.env, signals)
        if (state := load(folder)) and state.problem:
            say(f"while the command ran, the stack failed: {state.problem}")
            own_folder = False
    except Interrupted as interrupted:
        say(f"interrupted by {interrupted}")
        code, keep = interrupted.exit_code, False
    except StackError as error:
        say(str(error))
        code, keep = COULD_NOT_START, False
        own_folder = False  # its logs are what a person now needs
    signals.tearing_down = True
    if keep:
        _tell_how_to_go_on(folder)
    elif folder is not None:
        shut_down(folder)
        if own_folder:
            shutil.rmtree(folder, ignore_errors=True)
    return code


def _run_command(command: list[str], env: dict[str, str], signals: Signals) -> int:
    try:
        child = process.spawn(command, env=env, death_signal=signal.SIGTERM)
    except OSError as error:
        say(f"cannot run {command[0]}: {error.strerror}")
        return COMMAND_NOT_FOUND
    signals.command = child
    code = child.wait()
    signals.command = None
    return code if code >= 0 else 128 - code


def _terminal_told_the_command_too() -> bool:
    # Ctrl-C goes to the terminal's whole foreground group, which the command is part of.
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _tell_how_to_go_on(folder: Path) -> None:
    here = f"python3 {sys.argv[0]}"
    say(f"kept in {folder}")
    for what, command in (("environment", "env"), ("logs", "logs"), ("state", "status"), ("stop", "down")):
        say(f"  {what + ':':13}{here} {command} --dir {folder}")
