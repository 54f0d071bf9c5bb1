"""The script itself: exit codes, signals, what is left behind, crashes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import stacks

from stack import plan, process
from stack.report import wait_until
from stack.state import load

READY = "touch ready && exec sleep 600"


def run(*arguments: str, **options) -> subprocess.Popen:
    """Starts `stack.py` in host mode in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(stacks.STACK), *arguments], env=options.pop("env", os.environ) | {"ONCEBOX_STACK": "host"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options,
    )


class ScriptTest(unittest.TestCase):
    def setUp(self):
        self.temp = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.folder = self.temp / "stack"

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        child = run(*arguments, **options)
        self.addCleanup(child.communicate)
        self.addCleanup(child.kill)
        return child

    def finished(self, *arguments: str) -> tuple[int, str, str]:
        child = self.start(*arguments)
        out, err = child.communicate()
        return child.returncode, out, err

    def everything_of(self, state) -> None:
        for name, noted in state.processes.items():
            wait_until(f"{name} to be gone", lambda n=noted: process.start_time(n["pid"]) is None, 15)
        for outside in state.outside:
            wait_until(f"{outside} to be gone", lambda o=outside: not os.path.exists(o), 15)

    def test_run_hands_on_the_environment_and_the_exit_code_and_leaves_nothing(self):
        facts = self.temp / "facts"
        code, _, err = self.finished(
            "run", "--", sys.executable, "-c",
            f"import os, json, shutil; shutil.copy(os.environ['ONCEBOX_STACK_DIR'] + '/state.json', {str(facts)!r}); exit(42)",
        )
        self.assertEqual(code, 42, err)
        state = json.loads(facts.read_text())
        folder = Path(state["env"]["ONCEBOX_STACK_DIR"])
        self.assertFalse(folder.exists())
        self.assertFalse(any(Path(outside).exists() for outside in state["outside"]))
        self.assertFalse(any(process.start_time(noted["pid"]) for noted in state["processes"].values()))

    def test_a_stack_of_postgres_alone_is_the_version_asked_for_and_says_nothing_of_aws(self):
        outside = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        for version in plan.POSTGRES_VERSIONS:
            asked = self.start(
                "run", "--only", "postgres", "--postgres", str(version), "--", "sh", "-c",
                'env | grep ^AWS_; "$ONCEBOX_POSTGRES_BIN/psql" "$DATABASE_URL" -qXtAc "show server_version_num"', env=outside,
            )
            out, err = asked.communicate()
            self.assertEqual(asked.returncode, 0, err)
            self.assertEqual(int(out) // 10_000, version)

    def test_two_stacks_live_side_by_side_and_killing_one_run_ends_it_alone(self):
        one, other = self.temp / "one", self.temp / "other"
        children = {}
        for folder in (one, other):
            work = self.temp / f"{folder.name}-work"
            work.mkdir()
            children[folder] = self.start("run", "--dir", str(folder), "--", "sh", "-c", READY, cwd=work)
        for folder in (one, other):
            wait_until(f"{folder} to be ready", (self.temp / f"{folder.name}-work" / "ready").exists, 60)
        states = load(one), load(other)
        self.assertNotEqual(states[0].env["DATABASE_URL"], states[1].env["DATABASE_URL"])

        children[one].kill()  # SIGKILL: it cannot clean up, so the others must
        self.everything_of(states[0])
        self.assertTrue(all(states[1].alive(name) for name in states[1].processes))

        children[other].send_signal(signal.SIGTERM)  # to the command, which ends by it
        self.assertEqual(children[other].wait(30), 128 + signal.SIGTERM)
        self.everything_of(states[1])

    def test_ctrl_c_during_set_up_leaves_nothing(self):
        child = self.start("run", "--dir", str(self.folder), "--", "true")
        wait_until("LocalStack to be started", lambda: (s := load(self.folder)) and "localstack" in s.processes, 20, 0.01)
        state = load(self.folder)
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(30), 130)
        self.everything_of(state)

    def test_up_survives_its_caller_and_down_can_be_said_twice(self):
        there = ("--dir", str(self.folder))
        self.addCleanup(lambda: run("down", *there).communicate())
        self.assertEqual(self.finished("up", *there)[0], 0)
        before = load(self.folder)
        self.assertIn("already up", self.finished("up", *there)[2])
        self.assertEqual(self.finished("status", *there)[0], 0)
        self.assertIn("export DATABASE_URL=", self.finished("env", *there)[1])

        self.crash_and_restart_postgres(there, before)

        self.assertEqual(self.finished("down", *there)[0], 0)
        self.everything_of(before)
        code, _, err = self.finished("down", *there)
        self.assertEqual((code, "nothing runs" in err), (0, True))
        self.assertEqual(self.finished("status", *there)[0], 3)

    def crash_and_restart_postgres(self, there, before):
        def sql(statement: str) -> str:
            psql = [before.env["ONCEBOX_POSTGRES_BIN"] + "/psql", before.env["DATABASE_URL"], "-qXtAc", statement]
            return subprocess.run(psql, capture_output=True, text=True, check=True).stdout.strip()

        sql("create table kept (n int); insert into kept values (7)")
        self.assertEqual(self.finished("postgres", "crash", *there)[0], 0)
        self.assertNotEqual(load(self.folder).processes["postgres"]["pid"], before.processes["postgres"]["pid"])
        self.assertEqual(sql("select n from kept"), "7")
        self.finished("postgres", "stop", *there)
        self.assertFalse(load(self.folder).alive("postgres"))
        self.finished("postgres", "start", *there)
        self.assertEqual(sql("select n from kept"), "7")

    def test_a_supervisor_that_was_killed_takes_its_servers_along(self):
        there = ("--dir", str(self.folder))
        self.addCleanup(lambda: run("down", *there).communicate())
        self.assertEqual(self.finished("up", *there)[0], 0)
        state = load(self.folder)
        os.kill(state.processes["supervisor"]["pid"], signal.SIGKILL)
        for name, noted in state.processes.items():
            wait_until(f"{name} to be gone", lambda n=noted: process.start_time(n["pid"]) is None, 15)
        self.assertEqual(self.finished("down", *there)[0], 0)
        self.everything_of(state)

    def test_a_recycled_process_id_is_never_killed(self):
        bystander = subprocess.Popen(["sleep", "600"])
        self.addCleanup(bystander.wait)
        self.addCleanup(bystander.kill)
        self.assertTrue(process.end(bystander.pid, "another start time", signal.SIGTERM, 1.0))
        self.assertIsNone(bystander.poll())

    def test_a_folder_with_somebodys_files_is_left_alone(self):
        (self.folder / "mine").mkdir(parents=True)
        for command in (("up",), ("run", "--", "true")):
            name, *rest = command
            code, _, err = self.finished(name, "--dir", str(self.folder), *rest)
            self.assertNotEqual(code, 0)
            self.assertIn("is no stack's folder", err)
        self.assertTrue((self.folder / "mine").exists())

    def test_run_without_a_command_is_an_error(self):
        self.assertEqual(self.finished("run")[0], 1)
