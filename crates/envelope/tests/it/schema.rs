//! The schema of a typed event, as a snapshot: a change is seen in review.

use oncebox_envelope::{Event, Kind, schema_of};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Books an invoice.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BookInvoice {
    /// Whole cents.
    amount_cents: u64,
    note: Option<String>,
}

impl Event for BookInvoice {
    const TYPE: &'static str = "invoice.book.v2";
    const KIND: Kind = Kind::Command;
}

#[test]
fn a_schema_is_what_deserialization_accepts() {
    insta::assert_json_snapshot!(schema_of::<BookInvoice>());
}
