"""DynamoDB through the gateway: atomic under many threads, and faithful where Oncebox relies on it."""

from __future__ import annotations

import itertools
import unittest
import uuid
from concurrent.futures import ThreadPoolExecutor

import stacks
from botocore.exceptions import ClientError

THREADS = 16


def table(dynamodb) -> str:
    """A fresh table."""
    name = f"t-{uuid.uuid4()}"
    dynamodb.create_table(
        TableName=name, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    return name


def key(pk: str) -> dict:
    return {"pk": {"S": pk}}


def lost_updates(dynamodb, rounds: int) -> int:
    """How many of the increments that were accepted are missing in the end."""
    name = table(dynamodb)
    dynamodb.put_item(TableName=name, Item=key("n") | {"n": {"N": "0"}})

    def increment(_):
        seen = dynamodb.get_item(TableName=name, Key=key("n"))["Item"]["n"]["N"]
        try:
            dynamodb.update_item(
                TableName=name, Key=key("n"), UpdateExpression="SET n = :new", ConditionExpression="n = :seen",
                ExpressionAttributeValues={":new": {"N": str(int(seen) + 1)}, ":seen": {"N": seen}},
            )
            return 1
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return 0

    with ThreadPoolExecutor(THREADS) as pool:
        accepted = sum(pool.map(increment, range(rounds)))
    return accepted - int(dynamodb.get_item(TableName=name, Key=key("n"))["Item"]["n"]["N"])


def double_effects(dynamodb, ids: int) -> int:
    """How many effects beyond one there were per event, when 16 consumers race for each."""
    name = table(dynamodb)
    total = key("total")
    dynamodb.put_item(TableName=name, Item=total | {"n": {"N": "0"}})

    def consume(event: int):
        try:
            dynamodb.transact_write_items(TransactItems=[
                {"Put": {"TableName": name, "Item": key(f"e{event}"), "ConditionExpression": "attribute_not_exists(pk)"}},
                {"Update": {"TableName": name, "Key": total, "UpdateExpression": "ADD n :one",
                            "ExpressionAttributeValues": {":one": {"N": "1"}}}},
            ])
        except dynamodb.exceptions.TransactionCanceledException:
            pass

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(consume, itertools.chain.from_iterable([event] * THREADS for event in range(ids))))
    return int(dynamodb.get_item(TableName=name, Key=total)["Item"]["n"]["N"]) - ids


class AtomicityTest(unittest.TestCase):
    def test_racing_writers_lose_nothing_and_do_nothing_twice(self):
        dynamodb = stacks.shared().client("dynamodb")
        self.assertEqual(lost_updates(dynamodb, 600), 0)
        self.assertEqual(double_effects(dynamodb, 30), 0)

    def test_the_same_race_breaks_without_the_lock(self):
        stack = stacks.RunningStack(ONCEBOX_TEST_DYNAMODB_UNLOCKED="1", **stacks.RACY)
        self.addCleanup(stack.close)
        dynamodb = stack.client("dynamodb")
        broken = 0
        for _ in range(10):
            broken += abs(lost_updates(dynamodb, 300)) + abs(double_effects(dynamodb, 15))
            if broken:
                return
        self.fail("no race in ten rounds: the atomicity test proves nothing")


class TransactionTest(unittest.TestCase):
    def setUp(self):
        self.dynamodb = stacks.shared().client("dynamodb")
        self.table = table(self.dynamodb)

    def put(self, pk: str, **fields) -> dict:
        return {"Put": {"TableName": self.table, "Item": key(pk)} | fields}

    def only_new(self, pk: str, **fields) -> dict:
        return self.put(pk, ConditionExpression="attribute_not_exists(pk)", **fields)

    def exists(self, pk: str) -> bool:
        return "Item" in self.dynamodb.get_item(TableName=self.table, Key=key(pk))

    def transact(self, *actions, **options):
        return self.dynamodb.transact_write_items(TransactItems=list(actions), **options)

    def refused(self, *actions, **options) -> dict:
        with self.assertRaises(ClientError) as caught:
            self.transact(*actions, **options)
        return caught.exception.response

    def test_reasons_stand_at_the_index_of_their_action_with_the_old_item(self):
        self.transact(self.put("b"), self.put("d"))
        response = self.refused(
            self.only_new("a"), self.only_new("b", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
            self.put("c"), self.only_new("d"),
        )
        self.assertEqual(response["Error"]["Code"], "TransactionCanceledException")
        reasons = response["CancellationReasons"]
        codes = [reason["Code"] for reason in reasons]
        self.assertEqual(codes, ["None", "ConditionalCheckFailed", "None", "ConditionalCheckFailed"])
        self.assertEqual(reasons[1]["Item"], key("b"))
        self.assertNotIn("Item", reasons[3])
        self.assertFalse(self.exists("a") or self.exists("c"))

    def test_two_actions_on_one_item_are_rejected(self):
        self.assertEqual(self.refused(self.put("a"), self.put("a"))["Error"]["Code"], "ValidationException")
        self.assertFalse(self.exists("a"))

    def test_more_than_a_hundred_actions_are_rejected(self):
        actions = [self.put(f"k{number}") for number in range(101)]
        self.assertEqual(self.refused(*actions)["Error"]["Code"], "ValidationException")

    def test_an_action_that_cannot_be_applied_undoes_those_before_it(self):
        self.transact(self.put("old"), {"Put": {"TableName": self.table, "Item": key("text") | {"n": {"S": "x"}}}})
        broken = {"Update": {"TableName": self.table, "Key": key("text"), "UpdateExpression": "ADD n :one",
                             "ExpressionAttributeValues": {":one": {"N": "1"}}}}
        delete = {"Delete": {"TableName": self.table, "Key": key("old")}}
        self.refused(self.put("new"), delete, broken)
        self.assertEqual((self.exists("new"), self.exists("old")), (False, True))

    def test_the_same_token_writes_once_and_another_request_under_it_is_refused(self):
        for _ in range(2):
            self.transact(self.only_new("a"), ClientRequestToken="token-1")
        response = self.refused(self.only_new("z"), ClientRequestToken="token-1")
        self.assertEqual(response["Error"]["Code"], "IdempotentParameterMismatchException")

    def test_a_failed_single_write_returns_the_old_item(self):
        self.dynamodb.put_item(TableName=self.table, Item=key("a") | {"own": {"S": "me"}})
        with self.assertRaises(ClientError) as caught:
            self.dynamodb.put_item(
                TableName=self.table, Item=key("a"), ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        self.assertEqual(caught.exception.response["Item"]["own"], {"S": "me"})
