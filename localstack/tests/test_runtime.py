"""The process side of the plugin, without LocalStack around it."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "plugin"))
sys.path.insert(0, str(HERE.parent))

import bootstraps  # noqa: E402
from oncebox_localstack.function_log import FunctionLog  # noqa: E402
from oncebox_localstack.process import Spawner  # noqa: E402
from oncebox_localstack.runtime import InitFailure, Invocation, Runtime  # noqa: E402
from stack import process  # noqa: E402
from stack.report import wait_until  # noqa: E402

SPAWNER = Spawner()


class RuntimeTest(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.log = FunctionLog(self.folder / "f.log", "abc")
        self.addCleanup(self.log.close)

    def runtime(self, program=bootstraps.OBEDIENT, env=None):
        bootstraps.write(self.folder / "bootstrap", program)
        runtime = Runtime(SPAWNER, self.folder, {"PATH": "/bin"} | (env or {}), self.log)
        self.addCleanup(runtime.kill)
        runtime.wait_until_ready(time.time() + 10)
        return runtime

    def invoke(self, runtime, event, request_id="r-1", timeout_secs=10.0):
        deadline = time.time() + timeout_secs
        outcome = runtime.invoke(Invocation(request_id, json.dumps(event).encode(), "arn:f", "Root=1-2", deadline))
        return json.loads(outcome.payload), outcome.is_error

    def test_an_event_goes_in_and_its_answer_comes_out(self):
        runtime = self.runtime()
        answer, is_error = self.invoke(runtime, {"n": 1})
        self.assertEqual((answer["echo"], is_error), ({"n": 1}, False))

    def test_one_process_serves_many_invocations(self):
        runtime = self.runtime()
        pids = {self.invoke(runtime, {}, f"r-{n}")[0]["pid"] for n in range(20)}
        self.assertEqual(len(pids), 1)

    def test_the_functions_error_is_an_error(self):
        answer, is_error = self.invoke(self.runtime(), {"do": "error"})
        self.assertEqual((answer["errorType"], is_error), ("Mine", True))

    def test_an_extension_without_events_is_taken_and_others_are_refused(self):
        runtime = self.runtime()

        def register(body):
            url = f"http://{runtime.api_address}/2020-01-01/extension/register"
            request = urllib.request.Request(url, body, {"Lambda-Extension-Name": "e"}, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.headers["Lambda-Extension-Identifier"] or ""
            except urllib.error.HTTPError as error:
                return error.code, ""

        status, identifier = register(b'{"events": []}')
        self.assertEqual((status, len(identifier)), (200, 36))
        self.assertEqual(register(b'{"events": ["INVOKE"]}'), (400, ""))
        self.assertEqual(register(b"[]"), (400, ""))
        with socket.create_connection(runtime.api_address.split(":"), timeout=0.2) as connection:
            connection.sendall(b"GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: x\r\n\r\n")
            with self.assertRaises(TimeoutError):
                connection.recv(1)
        self.assertEqual(self.invoke(runtime, {"n": 1})[1], False)

    def test_a_chunked_answer_arrives_whole(self):
        self.assertEqual(self.invoke(self.runtime(), {"do": "chunked"}), ({"a": 1}, False))

    def test_the_headers_are_lambdas(self):
        headers, _ = self.invoke(self.runtime(), {"do": "headers"}, "r-9")
        self.assertEqual(headers["Lambda-Runtime-Aws-Request-Id"], "r-9")
        self.assertEqual(headers["Lambda-Runtime-Invoked-Function-Arn"], "arn:f")
        self.assertEqual(headers["Lambda-Runtime-Trace-Id"], "Root=1-2")
        left_ms = int(headers["Lambda-Runtime-Deadline-Ms"]) - time.time() * 1000
        self.assertTrue(5_000 < left_ms <= 10_000, left_ms)

    def test_the_environment_is_the_functions_alone(self):
        answer, _ = self.invoke(self.runtime(env={"MINE": "1"}), {"do": "environment"})
        self.assertEqual(set(answer) - {"LC_CTYPE"}, {"PATH", "MINE", "AWS_LAMBDA_RUNTIME_API"})

    def test_a_crash_is_reported_with_its_exit_status(self):
        runtime = self.runtime()
        answer, is_error = self.invoke(runtime, {"do": "crash"}, "r-2")
        self.assertTrue(is_error)
        self.assertEqual(answer["errorType"], "Runtime.ExitError")
        self.assertIn("RequestId: r-2 Error: Runtime exited with error: exit status 3", answer["errorMessage"])
        self.assertFalse(runtime.alive)

    def test_the_timeout_kills_the_process_and_its_children(self):
        runtime, pid_file = self.runtime(), self.folder / "pids"
        answer, is_error = self.invoke(runtime, {"do": "hang", "pid_file": str(pid_file)}, timeout_secs=0.5)
        self.assertEqual((answer["errorType"], is_error), ("Sandbox.Timedout", True))
        for pid in pid_file.read_text().split():
            wait_until(f"{pid} to be gone", lambda pid=pid: process.start_time(int(pid)) is None, 5)

    def test_an_answer_to_another_invocation_is_refused(self):
        answer, _ = self.invoke(self.runtime(), {"do": "wrong-id"})
        self.assertEqual(answer, {"refused": 400})

    def test_asking_for_the_next_event_before_answering_is_refused(self):
        answer, _ = self.invoke(self.runtime(), {"do": "next-again"})
        self.assertEqual(answer, {"refused": 403})

    def test_a_late_answer_never_reaches_a_retry_under_the_same_id(self):
        first = self.runtime()
        self.invoke(first, {"do": "hang", "pid_file": os.devnull}, "same", timeout_secs=0.3)
        second = self.runtime()
        self.assertFalse(first.finish("same", b'"late"', is_error=False))
        self.assertEqual(self.invoke(second, {"n": 2}, "same")[0]["echo"], {"n": 2})

    def test_an_init_error_gives_its_reason(self):
        with self.assertRaises(InitFailure) as failure:
            self.runtime(bootstraps.INIT_ERROR)
        self.assertEqual(json.loads(failure.exception.outcome.payload)["errorMessage"], "DEDUPE_TABLE is not set")

    def test_an_exit_during_init_is_reported(self):
        with self.assertRaises(InitFailure) as failure:
            self.runtime(bootstraps.EXITS_AT_ONCE)
        self.assertIn("exit status 7", json.loads(failure.exception.outcome.payload)["errorMessage"])
        self.assertIn("no configuration", self.log.take())

    def test_a_missing_bootstrap_is_an_invalid_entrypoint(self):
        with self.assertRaises(InitFailure) as failure:
            Runtime(SPAWNER, self.folder, {}, self.log)
        self.assertEqual(json.loads(failure.exception.outcome.payload)["errorType"], "Runtime.InvalidEntrypoint")

    def test_what_was_written_before_take_is_in_what_it_takes(self):
        pipe = self.log.open_pipe()
        self.addCleanup(os.close, pipe)
        for number in range(2000):
            os.write(pipe, f"{number}\n".encode())
            self.assertEqual(self.log.take(), f"{number}\n")

    def test_each_line_is_in_the_log_of_its_own_invocation(self):
        runtime = self.runtime()
        for number in range(30):
            self.invoke(runtime, {"note": f"n{number}"}, f"r-{number}")
            self.assertEqual(self.log.take(), f"doing echo n{number}\n")
        self.assertEqual(len((self.folder / "f.log").read_text().splitlines()), 30)


if __name__ == "__main__":
    unittest.main()
