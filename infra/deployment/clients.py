"""The AWS clients, with the differences between AWS and LocalStack in one place."""

from __future__ import annotations

import os
from functools import cached_property

import boto3
from botocore.config import Config


class Clients:
    """Made on first use; endpoint, region and credentials come from the SDK's usual chain."""

    def __init__(self) -> None:
        # Path style: no name server knows bucket names below 127.0.0.1.
        self._config = Config(retries={"mode": "standard", "max_attempts": 8}, s3={"addressing_style": "path" if self.local else "auto"})

    @property
    def local(self) -> bool:
        """Whether this is an emulator on this machine."""
        return any(host in os.environ.get("AWS_ENDPOINT_URL", "") for host in ("127.0.0.1", "localhost"))

    @property
    def poll_secs(self) -> float:
        """How often to ask for a stack's state: AWS throttles those who ask all the time."""
        return 0.2 if self.local else 2.0

    @cached_property
    def s3(self):
        return boto3.client("s3", config=self._config)

    @cached_property
    def cloudformation(self):
        return boto3.client("cloudformation", config=self._config)

    @cached_property
    def dynamodb(self):
        return boto3.client("dynamodb", config=self._config)

    @property
    def region(self) -> str:
        return self.s3.meta.region_name

    def default_bucket(self) -> str:
        """One bucket for all the copies in an account and region."""
        account = boto3.client("sts", config=self._config).get_caller_identity()["Account"]
        return f"oncebox-releases-{account}-{self.region}"
