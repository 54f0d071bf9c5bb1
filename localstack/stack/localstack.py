"""LocalStack as a process of this machine, with our plugin."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from stack import process
from stack.paths import PLUGIN
from stack.report import StackError, wait_until
from stack.state import free_port
from stack.venv import python

REGION = "us-east-1"
SERVICES = (
    "sqs,sns,events,dynamodb,lambda,iam,sts,cloudformation,logs,s3,ssm,secretsmanager,cloudwatch,kms,ec2"
)
READY_SECS = 90.0
DIST_INFO = "oncebox_localstack-1.0.dist-info"
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}


class LocalStack:
    """One LocalStack with a folder of its own; all that it writes lies below it."""

    def __init__(self, venv: Path, folder: Path) -> None:
        self._venv = venv
        self._home = folder / "localstack"
        self._logs = folder / "logs"
        self._server: subprocess.Popen | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """LocalStack's process id."""
        return self._server.pid

    def start(self) -> None:
        """Starts the process; `wait` tells when it answers."""
        self._install_plugin()
        self.port = free_port()
        with (self._logs / "localstack.log").open("a") as log:
            self._server = process.spawn(
                [str(python(self._venv)), "-m", "localstack.runtime.main"],
                env=self._environment(), cwd=self._home, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )

    def wait(self) -> None:
        """Returns when SQS and DynamoDB answer real calls."""
        wait_until("LocalStack to answer", self._answers_or_ended, READY_SECS)
        if not self.running():
            tail = "\n  ".join((self._logs / "localstack.log").read_text().splitlines()[-12:])
            raise StackError(f"LocalStack ended while it started; the end of its log:\n  {tail}")

    def running(self) -> bool:
        """Whether the process lives."""
        return self._server is not None and self._server.poll() is None

    def end(self, hard: bool = False) -> None:
        """Stops LocalStack, and with it every function process.

        It has nothing to save, and an orderly end takes seconds: where the function
        processes die with it (Linux), it is killed.
        """
        if self.running():
            started = process.start_time(self._server.pid) or ""
            kill = hard or sys.platform == "linux"
            process.end(self._server.pid, started, signal.SIGKILL if kill else signal.SIGTERM, 10.0)
            self._server.wait()

    def _answers_or_ended(self) -> bool:
        return not self.running() or (
            self._healthy() and self._call("sqs", "AmazonSQS.ListQueues") and self._call("dynamodb", "DynamoDB_20120810.ListTables")
        )

    def _healthy(self) -> bool:
        status, body = self._request("GET", "/_localstack/health", {}, None)
        return status == 200 and "sqs" in json.loads(body).get("services", {})

    def _call(self, service: str, target: str) -> bool:
        credential = f"test/20200101/{REGION}/{service}/aws4_request"
        headers = {
            "X-Amz-Target": target,
            "Content-Type": "application/x-amz-json-1.0",
            "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=none",
        }
        return self._request("POST", "/", headers, "{}")[0] == 200

    def _request(self, method: str, path: str, headers: dict, body: str | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def _install_plugin(self) -> None:
        # As a snapshot beside the state, not in the virtual environment: that is shared by
        # stacks whose plugins may differ.
        target = self._home / "plugin"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(PLUGIN, target, ignore=shutil.ignore_patterns("__pycache__"))
        info = target / DIST_INFO
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: oncebox-localstack\nVersion: 1.0\n")
        (info / "top_level.txt").write_text("oncebox_localstack\n")
        shutil.move(target / "entry_points.txt", info / "entry_points.txt")

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if _harmless(name)}
        (temp := self._home / "tmp").mkdir(parents=True, exist_ok=True)
        return inherited | {
            "SERVICES": SERVICES,
            "GATEWAY_LISTEN": f"127.0.0.1:{self.port}",
            "LOCALSTACK_HOST": f"127.0.0.1:{self.port}",
            "SQS_ENDPOINT_STRATEGY": "path",
            "FILESYSTEM_ROOT": str(self._home / "root"),
            "LOCALSTACK_VOLUME_DIR": str(self._home / "volume"),
            "HOME": str(self._home),
            "XDG_CACHE_HOME": str(self._home / "cache"),
            "TMPDIR": str(temp),
            "PYTHONPATH": str(self._home / "plugin"),
            "ONCEBOX_FUNCTION_LOGS": str(self._logs / "functions"),
            "LAMBDA_RUNTIME_EXECUTOR": "process",
            "PROVIDER_OVERRIDE_DYNAMODB": "locked",
            # LocalStack polls a queue once a second by default: too slow to wait for in tests.
            "LAMBDA_EVENT_SOURCE_MAPPING_POLL_INTERVAL_SEC": "0.02",
            "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_EMPTY_POLL_SEC": "0.3",
            "LAMBDA_EVENT_SOURCE_MAPPING_MAX_BACKOFF_ON_ERROR_SEC": "1",
            "SQS_DISABLE_CLOUDWATCH_METRICS": "1",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
            "NO_PROXY": "127.0.0.1,localhost",
            "PYTHONUNBUFFERED": "1",
        }


def _harmless(name: str) -> bool:
    # A developer's own AWS settings would redirect LocalStack's calls to itself.
    own = ("AWS_", "LOCALSTACK", "LAMBDA_", "PROVIDER_OVERRIDE", "PYTHON", "SQS_")
    return not name.startswith(own) and name not in {"SERVICES", "DEBUG", "PERSISTENCE", "VIRTUAL_ENV", "no_proxy"}
