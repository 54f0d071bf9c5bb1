#!/usr/bin/env python3
"""Installs what `bench consumers` is run beside, pinned, once, into the cache folder; prints where it is as JSON."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "localstack"))

from stack import venv  # noqa: E402
from stack.paths import cache_dir  # noqa: E402
from stack.report import StackError  # noqa: E402

DYNOXIDE = "3.2.0"
OLDEST_NODE = 20


def main() -> int:
    try:
        print(json.dumps(parts()))
    except StackError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def parts() -> dict:
    """What the runner wants to know; `Parts` in bench/src/consumers/function.rs."""
    emulator = folder("dynoxide", DYNOXIDE.encode(), "an emulator of DynamoDB, built from source: minutes", dynoxide)
    lock = HERE / "python" / "requirements.lock"
    packages = folder("powertools-python", lock.read_bytes() + sys.base_prefix.encode(), "Powertools: about 50 MB", python)
    found = {
        "dynoxide": str(emulator / "bin" / "dynoxide"),
        "python": str(packages / "bin" / "python"),
        "python_folder": str(HERE / "python"),
        "node": None,
        "node_folder": None,
        "versions": [
            ("emulator", f"dynoxide {DYNOXIDE}"),
            ("Python", f"{sys.version.split()[0]}, {pinned(lock, 'aws-lambda-powertools')}, {pinned(lock, 'awslambdaric')}"),
        ],
    }
    if version := node_version():
        manifest = (HERE / "typescript" / "package-lock.json").read_bytes()
        sources = b"".join(path.read_bytes() for path in sorted((HERE / "typescript").glob("*.mjs")))
        function = folder("powertools-typescript", manifest + sources, "Powertools: about 25 MB", typescript)
        powertools = json.loads(manifest)["packages"]["node_modules/@aws-lambda-powertools/idempotency"]["version"]
        found["node"] = shutil.which("node")
        found["node_folder"] = str(function)
        found["versions"].append(
            ("TypeScript", f"Node {version}, @aws-lambda-powertools {powertools}, a runtime loop of our own, not bundled")
        )
    else:
        print(f"bench: no Node {OLDEST_NODE} or newer with npm here: without TypeScript", file=sys.stderr)
        found["versions"].append(("TypeScript", f"left out: there is no Node {OLDEST_NODE} with npm"))
    return found


def folder(name: str, key: bytes, contents: str, create: Callable[[Path], None]) -> Path:
    """A folder of the cache, made whole or not at all."""
    return venv.ensure(cache_dir() / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}", contents, create)


def dynoxide(at: Path) -> None:
    features = ["--no-default-features", "--features", "native-sqlite,http-server,cli"]
    build = ["--root", str(at), "--target-dir", str(at / "build")]
    command = ["cargo", "install", "--quiet", "--locked", f"dynoxide-rs@{DYNOXIDE}", *features, *build]
    run(command, at, "building dynoxide")
    shutil.rmtree(at / "build")


def python(at: Path) -> None:
    run([sys.executable, "-m", "venv", str(at)], at, "making the virtual environment")
    options = ["--disable-pip-version-check", "--quiet", "--no-deps", "--prefer-binary"]
    lock = str(HERE / "python" / "requirements.lock")
    run([str(at / "bin" / "python"), "-m", "pip", "install", *options, "-r", lock], at, "installing Powertools (Python)")


def typescript(at: Path) -> None:
    shutil.copytree(HERE / "typescript", at, ignore=shutil.ignore_patterns("node_modules"))
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(at)]
    run(["npm", "ci", *options], at, "installing Powertools (TypeScript)")


def run(command: list[str], at: Path, what: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        tail = "\n  ".join(done.stdout.splitlines()[-8:])
        raise StackError(f"{what} failed:\n  {tail}", f"check the network, then run this again ({at.name})")


def node_version() -> str | None:
    if not (shutil.which("node") and shutil.which("npm")):
        return None
    said = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout.strip().lstrip("v")
    major = said.split(".")[0]
    return said if major.isdigit() and int(major) >= OLDEST_NODE else None


def pinned(lock: Path, package: str) -> str:
    line = next(line for line in lock.read_text().splitlines() if line.startswith(f"{package}=="))
    return line.replace("==", " ")


if __name__ == "__main__":
    sys.exit(main())
