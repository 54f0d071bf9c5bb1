"""What LocalStack calls: one execution environment of one function version."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from localstack import config
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

from oncebox_localstack.function_log import FunctionLog
from oncebox_localstack.process import Spawner
from oncebox_localstack.runtime import InitFailure, Invocation, Outcome, Runtime, request_error

LOG = logging.getLogger(__name__)
# Lambda gives a function ten seconds to initialise, whatever its own timeout.
INIT_TIMEOUT_SECS = 10.0
LOG_FOLDER = Path(os.environ.get("ONCEBOX_FUNCTION_LOGS") or Path(config.dirs.tmp) / "function-logs")
# Between LocalStack and its own container runtime; on Lambda no function sees them.
INTERNAL_VARIABLES = {"LOCALSTACK_RUNTIME_ID", "LOCALSTACK_RUNTIME_ENDPOINT", "LOCALSTACK_FUNCTION_ACCOUNT_ID"}

_spawner = Spawner()


class ProcessExecutor(RuntimeExecutor):
    """Runs `bootstrap` as a child process, and again after a crash or a timeout.

    LocalStack hands an environment one invocation at a time and makes more environments
    when it needs more at once.
    """

    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id, function_version)
        self._runtime: Runtime | None = None
        self._init_failure: InitFailure | None = None
        self._env: dict[str, str] = {}
        self._stopped = False
        self._log = FunctionLog(LOG_FOLDER / f"{function_version.id.function_name}.log", id[:6])

    def start(self, env_vars: dict[str, str]) -> None:
        """Runs the init phase. Its failure is the first invocation's answer, with the log, as on Lambda."""
        self._env = self._environment(env_vars)
        try:
            self._init(time.time() + INIT_TIMEOUT_SECS)
        except InitFailure as failure:
            LOG.warning("%s failed to initialise: %s", self.function_version.id.function_name, failure)
            self._init_failure = failure

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        request_id = payload["invoke-id"]
        timeout_secs = self.function_version.config.timeout
        started = time.time()
        invocation = Invocation(
            request_id=request_id,
            payload=payload["payload"].encode(),
            function_arn=payload["invoked-function-arn"],
            trace_id=payload.get("trace-id"),
            deadline=started + timeout_secs,
        )
        self._log.note(f"START RequestId: {request_id} Version: {self.function_version.id.qualifier}")
        outcome = self._outcome_of(invocation)
        if outcome.is_error:
            self._log.note(f"ERROR RequestId: {request_id} {outcome.payload.decode(errors='replace')}")
        self._log.note(f"END RequestId: {request_id}")
        self._log.note(f"REPORT RequestId: {request_id}\tDuration: {(time.time() - started) * 1000:.2f} ms")
        return InvocationResult(request_id, outcome.payload, is_error=outcome.is_error, logs=self._log.take())

    def stop(self) -> None:
        """Kills the process at once: a Lambda function without extensions gets no warning either."""
        self._stopped = True
        if self._runtime is not None:
            self._runtime.kill()
        self._log.close()

    def _outcome_of(self, invocation: Invocation) -> Outcome:
        if self._stopped:
            return request_error("Sandbox.Stopped", invocation, "the execution environment was stopped")
        if self._init_failure is not None:
            outcome, self._init_failure = self._init_failure.outcome, None
            return outcome
        if self._runtime is None or not self._runtime.alive:
            try:
                self._init(invocation.deadline)
            except InitFailure as failure:
                return failure.outcome
        return self._runtime.invoke(invocation)

    def _init(self, until: float) -> None:
        started = time.time()
        self._log.note(f"INIT_START Runtime: process {self.function_version.config.runtime}")
        self._runtime = Runtime(_spawner, self._code(), self._env, self._log)
        if self._stopped:  # stop() may have come before there was anything to kill
            self._runtime.kill()
        self._runtime.wait_until_ready(until)
        self._log.note(f"INIT_REPORT Init Duration: {(time.time() - started) * 1000:.2f} ms")

    def _code(self) -> Path:
        return Path(self.function_version.config.code.get_unzipped_code_location())

    def _environment(self, env_vars: dict[str, str]) -> dict[str, str]:
        code = str(self._code())
        given = {name: str(value) for name, value in env_vars.items() if name not in INTERNAL_VARIABLES}
        configured = self.function_version.config.environment or {}
        lambda_sets = {"LANG": "en_US.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin"}
        return lambda_sets | given | {"LAMBDA_TASK_ROOT": code, "LAMBDA_RUNTIME_DIR": code} | {
            name: str(value) for name, value in configured.items()
        }

    def get_address(self) -> str:
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        return f"http://127.0.0.1:{config.GATEWAY_LISTEN[0].port}"

    def get_logs(self) -> str:
        return ""

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        if function_version.config.code:
            function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Nothing: the code on disk is LocalStack's and goes with its scratch folder."""

    @classmethod
    def validate_environment(cls) -> bool:
        return True
