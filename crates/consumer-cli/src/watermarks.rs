//! Whose watermarks a command works on, in whichever store its effects are.

use std::collections::BTreeSet;

use clap::Args;
use oncebox_consumer::operator::{KeyStanding, Operator, OperatorError, PostgresOperator};

use crate::{
    failure::{Failure, FailureKind},
    tables::client,
};

/// The consumer, and where its watermarks are.
#[derive(Debug, Args)]
pub(crate) struct Consumer {
    /// The consumer's name, as its function was built with.
    #[arg(long, short, value_name = "NAME")]
    consumer: String,
    /// The table of its dedupe records, where its effects are in DynamoDB.
    #[arg(
        long,
        short,
        env = "DEDUPE_TABLE",
        value_name = "TABLE",
        required_unless_present = "postgres"
    )]
    table: Option<String>,
    /// Its effects are in Postgres, in the database that DATABASE_URL names; no table is asked for then.
    #[arg(long)]
    postgres: bool,
}

/// The watermarks of a consumer.
pub(crate) enum Watermarks {
    DynamoDb(Operator),
    Postgres(PostgresOperator),
}

impl Consumer {
    pub(crate) async fn open(&self) -> Result<Watermarks, Failure> {
        if self.postgres {
            let operator = PostgresOperator::from_env(&self.consumer);
            let usage = |error| Failure::new(FailureKind::Usage, error);
            return Ok(Watermarks::Postgres(operator.map_err(usage)?));
        }
        let table = self.table.as_deref().unwrap_or_default();
        Ok(Watermarks::DynamoDb(Operator::new(
            client().await,
            &self.consumer,
            table,
        )))
    }

    pub(crate) fn consumer(&self) -> &str {
        &self.consumer
    }
}

impl Watermarks {
    pub(crate) async fn key(&self, key: &str) -> Result<KeyStanding, OperatorError> {
        match self {
            Self::DynamoDb(operator) => operator.key(key).await,
            Self::Postgres(operator) => operator.key(key).await,
        }
    }

    pub(crate) async fn skip(
        &self,
        key: &str,
        sequence: i64,
        seen: &KeyStanding,
    ) -> Result<KeyStanding, OperatorError> {
        match self {
            Self::DynamoDb(operator) => operator.skip(key, sequence, seen).await,
            Self::Postgres(operator) => operator.skip(key, sequence, seen).await,
        }
    }

    pub(crate) async fn forget(
        &self,
        key: &str,
        sequences: &BTreeSet<i64>,
        seen: &KeyStanding,
    ) -> Result<KeyStanding, OperatorError> {
        match self {
            Self::DynamoDb(operator) => operator.forget(key, sequences, seen).await,
            Self::Postgres(operator) => operator.forget(key, sequences, seen).await,
        }
    }
}
