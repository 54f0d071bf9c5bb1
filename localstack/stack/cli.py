"""The commands of `stack.py`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from stack import doctor, logs, run, supervisor, venv
from stack.host import HOLD_POSTGRES
from stack.paths import HERE, default_stack_dir
from stack.plan import POSTGRES_VERSIONS, Plan
from stack.process import is_same
from stack.report import StackError, say, wait_until
from stack.state import load

EPILOG = """\
exit codes: 0 done; 1 failed, with the reason on stderr; 2 wrong usage; 3 no stack runs (status,
env, logs, postgres); run: the command's own code, 125 no stack, 127 no such command, 128+n signal n.

environment: ONCEBOX_STACK=host|docker picks the kind of stack (default: host on Linux, which is what
CI runs; docker elsewhere); ONCEBOX_CACHE is the folder for downloads (default: ~/.cache/oncebox).
"""
NO_STACK = 3


def main() -> int:
    """Parses the command line, does it, returns the exit code."""
    arguments = _parser().parse_args()
    try:
        return arguments.do(arguments)
    except StackError as error:
        say(str(error))
        return 1
    except PermissionError as error:
        say(str(StackError(str(error), "choose folders that you may use: --dir, ONCEBOX_CACHE, TMPDIR")))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def _run(arguments: argparse.Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise StackError("no command given", "stack.py run -- COMMAND …")
    return run.run(command, arguments.dir, _plan(arguments), arguments.keep)


def _up(arguments: argparse.Namespace) -> int:
    folder = (arguments.dir or default_stack_dir()).absolute()
    state = load(folder)
    if state and state.phase == "ready" and state.alive("supervisor"):
        say(f"already up in {folder}")
    else:
        venv.stack_venv()
        supervisor.make_folder(folder)
        try:
            state = supervisor.launch(folder, _plan(arguments), tied_to_us=False)
        except BaseException:
            supervisor.shut_down(folder)
            raise
        say(f'ready in {folder}; in your shell: eval "$(python3 {sys.argv[0]} env)"')
    return 0


def _down(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    say(f"taken down: {folder}" if supervisor.shut_down(folder) else f"nothing runs in {folder}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    state = load(folder)
    alive = {name: state.alive(name) for name in state.processes} if state else {}
    up = bool(state) and state.phase == "ready" and all(alive.values())
    if arguments.json:
        facts = {"dir": str(folder), "up": up, "mode": state and state.mode, "phase": state and state.phase}
        processes = {n: p | {"alive": alive[n]} for n, p in state.processes.items()} if state else {}
        print(json.dumps(facts | {"processes": processes, "env": state.env if state else {}}, indent=2))
    elif state is None:
        print(f"no stack in {folder}")
    else:
        print(f"{folder}: {'up' if up else state.phase} ({state.mode}) {state.problem}".rstrip())
        for name, noted in state.processes.items():
            print(f"  {name:11} pid {noted['pid']:<8} {'alive' if alive[name] else 'gone'}")
        for name in ("AWS_ENDPOINT_URL", "DATABASE_URL"):
            print(f"  {name}={state.env.get(name, '')}")
    return 0 if up else NO_STACK


def _env(arguments: argparse.Namespace) -> int:
    state = load(_folder(arguments))
    if not state or state.phase != "ready" or not state.alive("supervisor"):
        say(f"no stack runs in {_folder(arguments)}; start one with: stack.py up")
        return NO_STACK
    for name, value in state.env.items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    return 0 if logs.show(_folder(arguments), arguments.name, arguments.follow) else NO_STACK


def _postgres(arguments: argparse.Namespace) -> int:
    folder = _folder(arguments)
    state = load(folder)
    if not state or state.phase != "ready" or not state.alive("supervisor") or state.mode != "host":
        say(f"no host-mode stack runs in {folder}")
        return NO_STACK
    hold, before = folder / HOLD_POSTGRES, state.processes["postgres"]
    if arguments.action in ("stop", "restart"):
        hold.touch()
        wait_until("Postgres to stop", lambda: not load(folder).alive("postgres"), 30)
    elif arguments.action == "crash" and state.alive("postgres"):
        os.kill(before["pid"], signal.SIGKILL)
        wait_until("Postgres to die", lambda: not is_same(before["pid"], before["started"]), 10)
    if arguments.action != "stop":
        hold.unlink(missing_ok=True)
        wait_until("Postgres to start", lambda: load(folder).alive("postgres"), 60)
    return 0


def _setup(_: argparse.Namespace) -> int:
    print(venv.stack_venv())
    return 0


def _tools(_: argparse.Namespace) -> int:
    print(venv.tools_venv() / venv.CARGO_BIN)
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    return doctor.examine(quiet=arguments.quiet)


def _selftest(arguments: argparse.Namespace) -> int:
    python = str(venv.python(venv.stack_venv()))
    command = [python, "-m", "unittest", "discover", "-s", str(HERE / "tests"), "-t", str(HERE / "tests")]
    names = [part for pattern in arguments.only for part in ("-k", pattern)]
    return subprocess.run([*command, *names, *(["-v"] if arguments.verbose else [])]).returncode


def _supervise(arguments: argparse.Namespace) -> int:
    plan = Plan(arguments.mode, arguments.postgres, arguments.only_postgres)
    return supervisor.supervise(arguments.folder, plan, arguments.scratch)


def _plan(arguments: argparse.Namespace) -> Plan:
    return Plan(_mode(), arguments.postgres, arguments.only == "postgres")


def _mode() -> str:
    chosen = os.environ.get("ONCEBOX_STACK", "")
    if chosen not in ("", "host", "docker"):
        raise StackError(f"ONCEBOX_STACK={chosen} is unknown", "set it to host or docker, or leave it out")
    # On Linux what is tested is the default: in a container the functions would have to be built
    # for another C library than this machine's.
    return chosen or ("host" if sys.platform == "linux" else "docker")


def _folder(arguments: argparse.Namespace) -> Path:
    """Inside `run`, and in a shell with `env`, that stack; else the user's own."""
    inside = os.environ.get("ONCEBOX_STACK_DIR")
    return (arguments.dir or Path(inside or default_stack_dir())).absolute()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stack.py", description="LocalStack and Postgres for development and tests.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do, summary: str, with_dir: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary)
        added.set_defaults(do=do)
        if with_dir:
            added.add_argument("--dir", type=Path, help="the stack's folder (default: one per user; run: a new one)")
        return added

    runner = command("run", _run, "start a stack, run a command with its environment, take the stack down")
    runner.add_argument("--keep", action="store_true", help="leave the stack running, and say how to stop it")
    starter = command("up", _up, "start a stack that stays")
    for starting in (runner, starter):
        starting.add_argument("--postgres", type=int, choices=POSTGRES_VERSIONS, default=16, help="version (default: 16)")
        starting.add_argument("--only", choices=("postgres",), help="leave LocalStack out")
    runner.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    command("down", _down, "take the stack down")
    command("status", _status, "tell what runs").add_argument("--json", action="store_true")
    command("env", _env, "print the environment as export lines")
    logger = command("logs", _logs, "show logs: localstack, postgres, stack, or a function's name")
    logger.add_argument("name", nargs="?", help="one log (default: all)")
    logger.add_argument("--follow", action="store_true", help="go on showing what comes")
    database = command("postgres", _postgres, "stop, start, restart or crash (kill -9) the stack's Postgres")
    database.add_argument("action", choices=("stop", "start", "restart", "crash"))
    command("setup", _setup, "download what host mode needs, print its folder", with_dir=False)
    command("tools", _tools, "install cargo-nextest, cargo-deny and hadolint, print their bin folder", with_dir=False)
    examined = command("doctor", _doctor, "tell what is missing and how to get it", with_dir=False)
    examined.add_argument("--quiet", action="store_true", help="say only what is missing")
    tester = command("selftest", _selftest, "test this script and the LocalStack plugin", with_dir=False)
    tester.add_argument("-v", "--verbose", action="store_true")
    tester.add_argument("only", nargs="*", help="only tests whose name matches")
    hidden = commands.add_parser("supervise")
    hidden.set_defaults(do=_supervise)
    hidden.add_argument("folder", type=Path)
    hidden.add_argument("mode")
    hidden.add_argument("postgres", type=int)
    hidden.add_argument("--only-postgres", action="store_true")
    hidden.add_argument("--scratch", action="store_true")
    return parser
