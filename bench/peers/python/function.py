"""The work of take-payment with Powertools for AWS Lambda, as its documentation shows it."""

import os
import time

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

payments = boto3.resource("dynamodb").Table(os.environ["PAYMENTS_TABLE"])
processor = BatchProcessor(event_type=EventType.SQS)
persistence = DynamoDBPersistenceLayer(table_name=os.environ["IDEMPOTENCY_TABLE"])
config = IdempotencyConfig(event_key_jmespath="id")


@idempotent_function(data_keyword_argument="event", config=config, persistence_store=persistence)
def take_payment(event: dict) -> None:
    invoice = event["data"]
    payments.update_item(
        Key={"pk": f"payment#{invoice['invoice_id']}"},
        UpdateExpression="SET currency = :currency, event_id = :event, "
        "booked_at_ms = if_not_exists(booked_at_ms, :now) ADD bookings :one, booked_cents :cents",
        ExpressionAttributeValues={
            ":currency": invoice["currency"],
            ":event": event["id"],
            ":now": time.time_ns() // 1_000_000,
            ":one": 1,
            ":cents": invoice["amount_cents"],
        },
    )


def record_handler(record: SQSRecord) -> None:
    take_payment(event=record.json_body)


def handler(event: dict, context) -> dict:
    config.register_lambda_context(context)
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
