"""`stack.py logs`: the files below `DIR/logs`, together or one alone."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from stack.report import StackError

TAIL_LINES = 200


def show(folder: Path, name: str | None, follow: bool) -> bool:
    """Prints the logs' ends, then what comes. False when there is nothing to show."""
    found = _find(folder, name)
    if not found and not follow:
        return False
    width = max((len(path.stem) for path in found), default=10)
    places: dict[Path, int] = {}
    for path in found:
        text = path.read_text(errors="replace")
        _print(path, text.splitlines()[-TAIL_LINES:], width, alone=name is not None)
        places[path] = path.stat().st_size
    while follow:
        time.sleep(0.2)
        for path in _find(folder, name):
            with path.open(errors="replace") as log:
                log.seek(places.get(path, 0))
                _print(path, log.read().splitlines(), width, alone=name is not None)
                places[path] = log.tell()
    return True


def _find(folder: Path, name: str | None) -> list[Path]:
    found = sorted((folder / "logs").glob("**/*.log"))
    if name is None:
        return found
    chosen = [path for path in found if path.stem == name]
    if found and not chosen:
        known = ", ".join(path.stem for path in found)
        raise StackError(f"no log named {name}", f"name one of these: {known}")
    return chosen


def _print(path: Path, lines: list[str], width: int, alone: bool) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n" if alone else f"{path.stem:{width}} | {line}\n")
    sys.stdout.flush()
