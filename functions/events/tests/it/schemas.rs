//! The files in `schemas/`.

use std::{fs, path::PathBuf};

use invoicing_events::{CreateInvoice, InvoiceCreated, PaymentTaken};
use oncebox_envelope::{Event, schema_of};
use serde_json::{Value, json};

use crate::compatibility::breaking_changes;

const REGENERATE: &str = "UPDATE_SCHEMAS=1 cargo test -p invoicing-events";

/// Fails on a breaking change, also when asked to regenerate: the file would forget what is
/// published.
fn check<E: Event>() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("schemas/{}.json", E::TYPE));
    let mut schema = schema_of::<E>().to_value();
    schema["$comment"] = json!(format!(
        "Generated from the Rust type; do not edit. Regenerate: {REGENERATE}"
    ));
    let committed = fs::read_to_string(&path).ok();
    let published: Option<Value> = committed.map(|json| serde_json::from_str(&json).unwrap());
    if let Some(published) = &published {
        let changes = breaking_changes(published, &schema);
        assert!(
            changes.is_empty(),
            "{} would break its readers:\n  {}\nKeep it and add a new type with the next major version instead.",
            E::TYPE,
            changes.join("\n  ")
        );
    }
    // As values: the order of keys depends on what else is built.
    if published.as_ref() == Some(&schema) {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_SCHEMAS").is_some(),
        "schemas/{}.json is not what the type says; the change is compatible. Run: {REGENERATE}",
        E::TYPE
    );
    fs::write(path, format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())).unwrap();
}

#[test]
fn the_schema_of_invoice_create_is_committed_and_not_broken() {
    check::<CreateInvoice>();
}

#[test]
fn the_schema_of_invoice_created_is_committed_and_not_broken() {
    check::<InvoiceCreated>();
}

#[test]
fn the_schema_of_payment_taken_is_committed_and_not_broken() {
    check::<PaymentTaken>();
}
