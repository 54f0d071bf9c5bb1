"""Where things lie: the cache of downloads, and each stack's own folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PLUGIN = HERE / "plugin"


def cache_dir() -> Path:
    """Downloads, kept between runs: `$ONCEBOX_CACHE`, or `oncebox` in the user's cache folder."""
    if chosen := os.environ.get("ONCEBOX_CACHE"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "oncebox"


def default_stack_dir() -> Path:
    """The one stack of `up`, `down`, `status`, `logs` and `env` when no `--dir` is given."""
    return Path(tempfile.gettempdir()) / f"oncebox-stack-{os.getuid()}"


def new_scratch_dir() -> Path:
    """A folder for one `run`."""
    return Path(tempfile.mkdtemp(prefix="oncebox-"))


def world_readable_temp_dir() -> Path:
    """A temporary folder that another user can enter: TMPDIR may lie in a private home."""
    for candidate in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        folder = candidate.resolve()
        if folder.is_dir() and all(step.stat().st_mode & 0o001 for step in (folder, *folder.parents)):
            return folder
    return Path("/tmp")
