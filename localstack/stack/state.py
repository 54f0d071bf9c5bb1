"""`DIR/state.json`: what runs in a stack's folder, for every other command and for tests."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stack.process import is_same, start_time

FILE = "state.json"


@dataclass
class State:
    """One stack. `phase` goes `starting → ready → stopping`; `failed` has its reason in `problem`."""

    mode: str
    phase: str = "starting"
    problem: str = ""
    env: dict[str, str] = field(default_factory=dict)
    processes: dict[str, dict] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)

    def note_process(self, name: str, pid: int) -> None:
        """Adds or replaces a process: its id with its start time."""
        self.processes[name] = {"pid": pid, "started": start_time(pid) or ""}

    def alive(self, name: str) -> bool:
        """Whether the noted process still runs."""
        noted = self.processes.get(name)
        return bool(noted) and is_same(noted["pid"], noted["started"])

    def save(self, folder: Path) -> None:
        """Replaces the file in one step: a reader sees the old or the new one."""
        draft = folder / f"{FILE}.new"
        draft.write_text(json.dumps(asdict(self), indent=2) + "\n")
        os.replace(draft, folder / FILE)


def load(folder: Path) -> State | None:
    """The state in `folder`, or None when nothing was ever started there."""
    try:
        return State(**json.loads((folder / FILE).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def free_port() -> int:
    """A free TCP port of 127.0.0.1, below the range that outgoing connections take theirs from."""
    import random

    for _ in range(200):
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 32000")
