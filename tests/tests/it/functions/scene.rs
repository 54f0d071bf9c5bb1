//! What a function needs around it, in both modes.

use std::collections::HashMap;

use system_tests::{
    AwsProxy, Batch, Database, Function, Queue, Record, Stack, Tables, create_invoice_message, invoice_created_message,
};
use uuid::Uuid;

/// Where the effect lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `create-invoice`: a row in Postgres.
    Postgres,
    /// `take-payment`: an item in DynamoDB.
    Transactional,
}

pub(crate) struct Scene {
    pub(crate) mode: Mode,
    pub(crate) database: Database,
    pub(crate) dead_letters: Queue,
    pub(crate) proxy: AwsProxy,
    tables: Tables,
}

impl Scene {
    pub(crate) async fn of(mode: Mode) -> Self {
        let stack = Stack::from_env().await.unwrap();
        let database = Database::create(&stack).await.unwrap();
        database.prepare_invoicing().await.unwrap();
        let dead_letters = match mode {
            Mode::Postgres => Queue::fifo(&stack).await.unwrap(),
            Mode::Transactional => Queue::standard(&stack).await.unwrap(),
        };
        let tables = Tables::create(&stack).await.unwrap();
        let proxy = AwsProxy::start(&stack).await.unwrap();
        Self {
            mode,
            database,
            dead_letters,
            proxy,
            tables,
        }
    }

    pub(crate) async fn function(&self) -> Function {
        self.function_with(&[]).await
    }

    /// With these variables besides.
    pub(crate) async fn function_with(&self, more: &[(&str, &str)]) -> Function {
        let name = match self.mode {
            Mode::Postgres => "create-invoice",
            Mode::Transactional => "take-payment",
        };
        let variables = [
            ("DATABASE_URL", self.database.url.as_str()),
            ("DEDUPE_TABLE", &self.tables.dedupe),
            ("PAYMENTS_TABLE", &self.tables.payments),
            ("ONCEBOX_DLQ_URL", &self.dead_letters.url),
            ("AWS_ENDPOINT_URL", &self.proxy.endpoint),
        ];
        let variables = [&variables, more].concat();
        Function::start(name, &variables).await.unwrap()
    }

    /// The message that makes this function have its effect for an invoice, in a group of its own
    /// where the queue has groups.
    pub(crate) fn message(&self, invoice_id: Uuid) -> Record {
        match self.mode {
            Mode::Postgres => {
                Record::new(create_invoice_message(invoice_id).unwrap()).in_group(&invoice_id.to_string())
            }
            Mode::Transactional => Record::new(invoice_created_message(invoice_id).unwrap()),
        }
    }

    pub(crate) fn batch(&self, records: impl IntoIterator<Item = Record>) -> Batch {
        let arn = match self.mode {
            Mode::Postgres => "arn:aws:sqs:us-east-1:000000000000:test.fifo",
            Mode::Transactional => "arn:aws:sqs:us-east-1:000000000000:test",
        };
        Batch::of(arn, records)
    }

    /// How often the effect happened, by invoice.
    pub(crate) async fn effects(&self) -> HashMap<String, u64> {
        match self.mode {
            Mode::Postgres => self.database.invoices().await.unwrap(),
            Mode::Transactional => self.tables.bookings().await.unwrap(),
        }
    }

    /// Until when each dedupe record counts, in Unix seconds.
    pub(crate) async fn kept_until(&self) -> Vec<u64> {
        self.tables.kept_until().await.unwrap()
    }

    /// Each of these invoices had its effect once, and nothing else did.
    pub(crate) async fn assert_once(&self, invoices: &[Uuid]) {
        let expected: HashMap<String, u64> = invoices.iter().map(|id| (id.to_string(), 1)).collect();
        assert_eq!(self.effects().await, expected);
        if self.mode == Mode::Postgres {
            let events = self.database.events_of("invoice.created.v1").await.unwrap();
            assert_eq!(
                events.len(),
                invoices.len(),
                "one event for each invoice, in the same transaction"
            );
        }
    }
}

pub(crate) fn some_invoices<const N: usize>() -> [Uuid; N] {
    std::array::from_fn(|_| Uuid::new_v4())
}
