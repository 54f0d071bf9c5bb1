// The work of take-payment with Powertools for AWS Lambda (TypeScript), as its documentation shows it.

import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, UpdateCommand } from '@aws-sdk/lib-dynamodb';

const documents = DynamoDBDocumentClient.from(new DynamoDBClient());
const processor = new BatchProcessor(EventType.SQS);
const persistenceStore = new DynamoDBPersistenceLayer({ tableName: process.env.IDEMPOTENCY_TABLE });
const config = new IdempotencyConfig({ eventKeyJmesPath: 'id' });

const takePayment = makeIdempotent(
  async (event) => {
    const invoice = event.data;
    await documents.send(
      new UpdateCommand({
        TableName: process.env.PAYMENTS_TABLE,
        Key: { pk: `payment#${invoice.invoice_id}` },
        UpdateExpression:
          'SET currency = :currency, event_id = :event, ' +
          'booked_at_ms = if_not_exists(booked_at_ms, :now) ADD bookings :one, booked_cents :cents',
        ExpressionAttributeValues: {
          ':currency': invoice.currency,
          ':event': event.id,
          ':now': Date.now(),
          ':one': 1,
          ':cents': invoice.amount_cents,
        },
      }),
    );
  },
  { persistenceStore, config },
);

const recordHandler = async (record) => {
  await takePayment(JSON.parse(record.body));
};

export const handler = async (event, context) => {
  config.registerLambdaContext(context);
  return processPartialResponse(event, recordHandler, processor, { context });
};
