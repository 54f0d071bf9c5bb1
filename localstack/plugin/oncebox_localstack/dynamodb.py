"""DynamoDB on moto, one operation at a time.

LocalStack's own provider downloads a Java program. moto needs nothing, but takes no lock:
two threads may both pass a condition before either writes. Here every operation runs under
one lock, so each is atomic and they are serialisable.

Differences from AWS: there is no TransactionConflict (transactions never overlap), no
throttling and no delay between a write and an eventually consistent read.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from localstack.aws.api.dynamodb import DynamodbApi
from localstack.services.moto import MotoFallbackDispatcher
from localstack.services.plugins import Service, aws_provider

# Only so that the atomicity tests can show that they fail without the lock: threads then
# switch so often that a race which is rare becomes likely.
UNLOCKED = "ONCEBOX_TEST_DYNAMODB_UNLOCKED"
SWITCH_SECS = "ONCEBOX_TEST_THREAD_SWITCH_SECS"

_one_at_a_time = threading.RLock()


@aws_provider(api="dynamodb", name="locked")
def dynamodb_locked() -> Service:
    """Selected by `PROVIDER_OVERRIDE_DYNAMODB=locked`."""
    from oncebox_localstack import transactions

    transactions.install()
    if interval := os.environ.get(SWITCH_SECS):
        sys.setswitchinterval(float(interval))
    return Service.for_provider(DynamodbApi(), dispatch_table_factory=_locked_dispatch_table)


def _locked_dispatch_table(provider: object) -> dict[str, Callable]:
    table = MotoFallbackDispatcher(provider)
    if os.environ.get(UNLOCKED):
        return table
    return {operation: _locked(handler) for operation, handler in table.items()}


def _locked(handler: Callable) -> Callable:
    def call(context, request):
        with _one_at_a_time:
            return handler(context, request)

    return call
