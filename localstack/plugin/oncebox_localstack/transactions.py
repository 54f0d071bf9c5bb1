"""TransactWriteItems for moto: what its own version lacks.

* moto copies every table of the transaction for its rollback, so the thousandth record
  costs a thousand times the first. Here the items touched are kept, and nothing else.
* moto ignores ClientRequestToken. Here a token with the same request succeeds without
  writing again for ten minutes, and with another request is refused.

The caller holds the provider's lock.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import (
    ConditionalCheckFailed,
    MockValidationException,
    MultipleTransactionsException,
    TooManyTransactionsException,
    TransactionCanceledException,
    TransactWriteSingleOpException,
)
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.responses import DynamoHandler

TOKEN_LIFE_SECS = 600.0
NO_REASON = (None, None, None)


def install() -> None:
    """Replaces moto's transaction with this one. Safe to call twice."""
    DynamoDBBackend.transact_write_items = transact_write_items
    if not hasattr(DynamoHandler, "_transact_without_tokens"):
        DynamoHandler._transact_without_tokens = DynamoHandler.transact_write_items
        DynamoHandler.transact_write_items = _transact_once_per_token


@dataclass(frozen=True)
class _Action:
    kind: str
    fields: dict[str, Any]
    key: dict[str, Any]

    @property
    def table(self) -> str:
        return self.fields["TableName"]

    @property
    def expression(self) -> dict[str, Any]:
        return {
            "condition_expression": self.fields.get("ConditionExpression"),
            "expression_attribute_names": self.fields.get("ExpressionAttributeNames"),
            "expression_attribute_values": self.fields.get("ExpressionAttributeValues"),
        }


def transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """All of the actions, or none and one reason for each, in their order."""
    if len(transact_items) > 100:
        raise TooManyTransactionsException()
    actions = [_parse(backend, item) for item in transact_items]
    targets = [(action.table, json.dumps(action.key, sort_keys=True)) for action in actions]
    if len(set(targets)) < len(targets):
        raise MultipleTransactionsException()

    reasons = [_check(backend, action) for action in actions]
    if any(reason is not NO_REASON for reason in reasons):
        raise TransactionCanceledException(reasons)
    _write(backend, actions)


def _parse(backend: DynamoDBBackend, item: dict[str, Any]) -> _Action:
    if len(item) != 1:
        raise TransactWriteSingleOpException()
    kind, fields = next(iter(item.items()))
    if kind != "Put":
        return _Action(kind, fields, fields["Key"])
    table = backend.get_table(fields["TableName"])
    names = [name for name in (table.hash_key_attr, table.range_key_attr) if name]
    return _Action(kind, fields, {name: fields["Item"][name] for name in names})


def _check(backend: DynamoDBBackend, action: _Action) -> tuple:
    if not action.fields.get("ConditionExpression"):
        backend.get_table(action.table)
        return NO_REASON
    current = backend.get_item(action.table, action.key)
    if get_filter_expression(*action.expression.values()).expr(current):
        return NO_REASON
    wants_item = action.fields.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    item = current.to_json()["Attributes"] if wants_item and current else None
    return ("ConditionalCheckFailed", str(ConditionalCheckFailed().message), item)


def _write(backend: DynamoDBBackend, actions: list[_Action]) -> None:
    undo: list[tuple[_Action, Any]] = []
    for index, action in enumerate(actions):
        undo.append((action, copy.deepcopy(backend.get_item(action.table, action.key))))
        try:
            _apply(backend, action)
        except Exception as error:
            for done, before in reversed(undo):
                _restore(backend, done, before)
            if isinstance(error, MockValidationException):
                raise
            reasons = [NO_REASON] * len(actions)
            reasons[index] = ("ValidationError", str(error), None)
            raise TransactionCanceledException(reasons) from error


def _apply(backend: DynamoDBBackend, action: _Action) -> None:
    if action.kind == "Put":
        backend.put_item(action.table, action.fields["Item"], **action.expression)
    elif action.kind == "Update":
        backend.update_item(
            action.table, action.key, update_expression=action.fields["UpdateExpression"], **action.expression
        )
    elif action.kind == "Delete":
        backend.delete_item(action.table, action.key, **action.expression)


def _restore(backend: DynamoDBBackend, action: _Action, before: Any) -> None:
    if before is None:
        backend.delete_item(action.table, action.key)
    else:
        backend.put_item(action.table, before.to_json()["Attributes"])


_tokens: dict[tuple[str, str, str], tuple[str, float]] = {}


def _transact_once_per_token(handler: DynamoHandler) -> str:
    token = handler.body.get("ClientRequestToken")
    if not token:
        return handler._transact_without_tokens()
    now = time.monotonic()
    for known in [known for known, (_, until) in _tokens.items() if until < now]:
        del _tokens[known]
    request = hashlib.sha256(json.dumps(handler.body["TransactItems"], sort_keys=True).encode()).hexdigest()
    owner = (handler.current_account, handler.region, token)
    if owner in _tokens:
        if _tokens[owner][0] != request:
            raise JsonRESTError(
                "IdempotentParameterMismatchException",
                "The provided client token was used with a different set of parameters.",
            )
        return json.dumps({"ConsumedCapacity": [], "ItemCollectionMetrics": {}})
    response = handler._transact_without_tokens()
    _tokens[owner] = (request, now + TOKEN_LIFE_SECS)
    return response
