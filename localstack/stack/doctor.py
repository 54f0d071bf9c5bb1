"""`stack.py doctor`: what this machine has, what it lacks, and the fix for each lack."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

from stack import venv
from stack.docker import engine_answers
from stack.paths import cache_dir, world_readable_temp_dir

NEEDED_BYTES = 2 * 1024**3


def examine(quiet: bool = False) -> int:
    """Prints a line for each finding (quiet: for each fault); 1 when something must be mended first."""
    faults = [not _tell(good, what, fix) for good, what, fix in _findings() if not (quiet and good)]
    return 1 if any(faults) else 0


def _findings():
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield sys.version_info < (3, 14), f"Python {version} (3.11 to 3.13 are tried)", "use python3.11, 3.12 or 3.13"
    has_venv = importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")
    yield bool(has_venv), "Python's venv and ensurepip modules", "apt-get install python3-venv"
    compiler = shutil.which(os.environ.get("CC", "cc")) is not None
    yield compiler, "a C compiler (Rust links with it)", "apt-get install build-essential"
    cache = cache_dir()
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    yield os.access(place, os.W_OK), f"the cache folder {cache} can be written", "set ONCEBOX_CACHE to another folder"
    free = shutil.disk_usage(place).free
    yield free > NEEDED_BYTES, f"{free // 1024**3} GB free there (2 needed)", "make room, or set ONCEBOX_CACHE"
    for name in ("stack", "tools", "postgres15"):
        ready = venv.is_complete(venv.location(name))
        yield True, f"downloads for '{name}': {'there' if ready else 'not yet, the first use gets them'}", ""
    needs_docker = os.environ.get("ONCEBOX_STACK") == "docker" or sys.platform != "linux"
    if needs_docker:
        yield engine_answers(), "Docker engine with the compose plugin", "start Docker, or set ONCEBOX_STACK=host"
    if os.getuid() == 0:
        yield True, f"root: Postgres will run as nobody, below {world_readable_temp_dir()}", ""


def _tell(good: bool, what: str, fix: str) -> bool:
    print(f"{'ok     ' if good else 'MISSING'}  {what}" + ("" if good else f"\n         Fix: {fix}"))
    return good
