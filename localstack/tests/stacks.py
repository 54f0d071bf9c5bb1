"""Stacks for the tests: started once, taken down in every case."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402

from stack import supervisor  # noqa: E402
from stack.plan import Plan  # noqa: E402

STACK = HERE.parent / "stack.py"
DEPLOY = HERE.parent.parent / "infra" / "deploy.py"
# LocalStack's threads take turns so often that what is not locked breaks soon.
RACY = {"ONCEBOX_TEST_THREAD_SWITCH_SECS": "0.000001"}
_shared: RunningStack | None = None


class RunningStack:
    """A host-mode stack in a folder of its own."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="oncebox-selftest-"))
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            self.state = supervisor.launch(self.folder, Plan("host"), tied_to_us=True, scratch=True)
        except BaseException:
            self.close()
            raise
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        self.env = self.state.env

    def client(self, service: str):
        """A boto3 client with room for many threads."""
        return boto3.client(
            service, endpoint_url=self.env["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="test", aws_secret_access_key="test",
            config=Config(max_pool_connections=64, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def close(self) -> None:
        """Takes it down and removes its folder."""
        supervisor.shut_down(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def shared() -> RunningStack:
    """One stack for all tests that only add to it."""
    global _shared
    if _shared is None:
        _shared = RunningStack(**RACY)
        atexit.register(_shared.close)
    return _shared
