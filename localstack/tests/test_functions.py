"""Functions inside LocalStack, deployed with the project's own templates."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bootstraps
import stacks

from stack.report import wait_until

PROGRAMS = {"create-invoice": bootstraps.BATCH, "take-payment": bootstraps.BATCH, "audit-tap": bootstraps.OBEDIENT}


class FunctionsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stacks.shared()
        cls.programs = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for name, program in PROGRAMS.items():
            bootstraps.write(cls.programs / name, program)
        cls.outputs = cls.deploy("one")
        cls.lambda_, cls.sqs = cls.stack.client("lambda"), cls.stack.client("sqs")
        # Sent now: the message that fails takes two visibility timeouts to reach the DLQ.
        cls.ten = [json.dumps({"n": n, "fail": n == 3}) for n in range(10)]
        entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(cls.ten)]
        cls.sqs.send_message_batch(QueueUrl=cls.outputs["InvoiceEventsQueueUrl"], Entries=entries)

    @classmethod
    def deploy(cls, prefix: str, **changed: str) -> dict:
        settings = {"DatabaseUrl": cls.stack.env["DATABASE_URL"], "FunctionTimeoutSecs": "1", "MaxReceiveCount": "2"} | changed
        parameters = [part for item in settings.items() for part in ("--parameter", "=".join(item))]
        command = [sys.executable, str(stacks.DEPLOY), "deploy", "--prefix", prefix]
        done = subprocess.run(
            [*command, "--functions-dir", str(cls.programs), "--json", *parameters],
            env=os.environ | cls.stack.env, capture_output=True, text=True,
        )
        if done.returncode:
            raise AssertionError(done.stderr)
        return json.loads(done.stdout)

    def invoke(self, event: dict, name: str = "AuditTapFunction"):
        response = self.lambda_.invoke(FunctionName=self.outputs[name], Payload=json.dumps(event))
        return json.load(response["Payload"]), response.get("FunctionError")

    def log_of(self, function: str) -> str:
        path = self.stack.folder / "logs" / "functions" / f"{self.outputs[function]}.log"
        return path.read_text() if path.exists() else ""

    def batches(self, function: str) -> list[list[str]]:
        lines = [line.partition(" batch ")[2] for line in self.log_of(function).splitlines()]
        return [json.loads(line)["bodies"] for line in lines if line]

    def test_deploying_again_changes_nothing(self):
        self.assertEqual(self.deploy("one"), self.outputs)

    def test_the_function_gets_its_settings_and_lambdas(self):
        answer, error = self.invoke({"do": "environment"})
        self.assertIsNone(error)
        self.assertEqual(answer["DEDUPE_TABLE"], "one-dedupe")
        self.assertEqual(answer["AUDIT_TABLE"], "one-audit")
        self.assertEqual(answer["ONCEBOX_DLQ_URL"], self.outputs["AuditDlqUrl"])
        self.assertEqual(answer["AWS_LAMBDA_FUNCTION_NAME"], "one-audit-tap")
        self.assertEqual(answer["AWS_ENDPOINT_URL"], self.stack.env["AWS_ENDPOINT_URL"])

    def test_after_a_crash_and_after_a_timeout_the_next_invocation_works(self):
        for event, kind in (({"do": "crash"}, "Runtime.ExitError"), ({"do": "hang", "pid_file": os.devnull}, "Sandbox.Timedout")):
            answer, error = self.invoke(event)
            self.assertEqual((answer["errorType"], error), (kind, "Unhandled"))
            self.assertIsNone(self.invoke({})[1])

    def test_many_invocations_run_at_once_and_each_gets_its_own_answer(self):
        with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(6) as pool:
            events = [{"do": "meet", "at": place, "count": 6, "n": number} for number in range(6)]
            answers = list(pool.map(lambda event: self.invoke(event), events))
        self.assertEqual([answer["echo"]["n"] for answer, _ in answers], list(range(6)), answers)
        self.assertEqual(len({answer["pid"] for answer, _ in answers}), 6)

    def test_the_log_reaches_cloudwatch(self):
        self.invoke({"note": "for-cloudwatch"})
        logs = self.stack.client("logs")

        def arrived() -> bool:
            events = logs.filter_log_events(logGroupName="/aws/lambda/one-audit-tap")["events"]
            return any("doing echo for-cloudwatch" in event["message"] for event in events)

        wait_until("the log line in CloudWatch", arrived, 10)
        self.assertIn("doing echo for-cloudwatch", self.log_of("AuditTapFunction"))

    def test_a_fifo_group_arrives_in_order(self):
        url = self.outputs["InvoiceCommandsQueueUrl"]
        bodies = [json.dumps({"n": n}) for n in range(10)]
        self.sqs.send_message_batch(QueueUrl=url, Entries=[
            {"Id": str(n), "MessageBody": body, "MessageGroupId": "g", "MessageDeduplicationId": str(n)}
            for n, body in enumerate(bodies)
        ])
        wait_until("ten commands", lambda: sum(map(len, self.batches("CreateInvoiceFunction"))) == 10, 15)
        self.assertEqual([body for batch in self.batches("CreateInvoiceFunction") for body in batch], bodies)

    def test_a_changed_setting_and_a_changed_binary_reach_the_function(self):
        self.deploy("three")
        binary = self.programs / "audit-tap"
        before = binary.read_text()
        self.addCleanup(binary.write_text, before)
        binary.write_text(before + "# another version\n")
        outputs = self.deploy("three", RustLog="debug")
        configuration = self.lambda_.get_function_configuration(FunctionName=outputs["AuditTapFunction"])
        self.assertEqual(configuration["Environment"]["Variables"]["RUST_LOG"], "debug")
        shas = [self.lambda_.get_function_configuration(FunctionName=f"{prefix}-audit-tap")["CodeSha256"] for prefix in ("one", "three")]
        self.assertNotEqual(*shas)

    def test_an_init_error_is_the_invocations_error_with_its_reason(self):
        broken = self.programs / "broken"
        for name in PROGRAMS:
            bootstraps.write(broken / name, bootstraps.INIT_ERROR)
        self.addCleanup(shutil.rmtree, broken)
        type(self).programs, before = broken, self.programs
        try:
            self.deploy("two")
        finally:
            type(self).programs = before
        for _ in range(2):
            response = self.lambda_.invoke(FunctionName="two-audit-tap", Payload=b"{}")
            self.assertEqual(json.load(response["Payload"])["errorMessage"], "DEDUPE_TABLE is not set")
            self.assertEqual(response["FunctionError"], "Unhandled")

    def test_ten_come_at_once_and_the_failed_one_alone_again_and_then_to_the_dlq(self):
        dead: list[str] = []

        def died() -> bool:
            messages = self.sqs.receive_message(QueueUrl=self.outputs["InvoiceEventsDlqUrl"]).get("Messages", [])
            dead.extend(message["Body"] for message in messages)
            return bool(dead)

        wait_until("the message in the DLQ", died, 30, every_secs=0.2)
        self.assertEqual(dead, [self.ten[3]])
        first, *later = self.batches("TakePaymentFunction")
        self.assertEqual(sorted(first), sorted(self.ten))
        self.assertEqual(later, [[self.ten[3]]])
