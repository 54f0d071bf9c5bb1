//! The events of the demonstration: what its functions say to each other.
//!
//! Each type's JSON Schema is committed in `schemas/`; a test compares them, and another one fails
//! when a change would break a reader of events that have been published already. Unknown fields
//! are accepted on purpose: a producer may be newer than its consumer.

mod currency;

pub use currency::{Currency, CurrencyError};

use oncebox_envelope::{Event, Kind};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use uuid::Uuid;

/// Most cents of an amount: the largest integer that every JSON reader keeps exactly (RFC 8259 §6).
pub const MAX_AMOUNT_CENTS: u64 = (1 << 53) - 1;

/// Asks for an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateInvoice {
    /// The invoice to be; chosen by whoever asks.
    pub invoice_id: Uuid,
    /// Who is to pay.
    pub customer_id: Uuid,
    /// How much, in hundredths of the currency; at least 1.
    #[serde(deserialize_with = "amount_cents")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub amount_cents: u64,
    /// In which currency.
    pub currency: Currency,
}

impl Event for CreateInvoice {
    const TYPE: &'static str = "invoice.create.v1";
    const KIND: Kind = Kind::Command;
}

/// An invoice was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvoiceCreated {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Who is to pay.
    pub customer_id: Uuid,
    /// How much, in hundredths of the currency; at least 1.
    #[serde(deserialize_with = "amount_cents")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub amount_cents: u64,
    /// In which currency.
    pub currency: Currency,
}

impl Event for InvoiceCreated {
    const TYPE: &'static str = "invoice.created.v1";
}

/// The payment of an invoice was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentTaken {
    /// The invoice that is paid.
    pub invoice_id: Uuid,
    /// Who has paid.
    pub customer_id: Uuid,
    /// How much, in hundredths of the currency; at least 1.
    #[serde(deserialize_with = "amount_cents")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_u64))]
    pub amount_cents: u64,
    /// In which currency.
    pub currency: Currency,
}

impl Event for PaymentTaken {
    const TYPE: &'static str = "payment.taken.v1";
}

fn amount_cents<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        cents @ 1..=MAX_AMOUNT_CENTS => Ok(cents),
        _ => Err(D::Error::custom(
            "invalid value, expected from 1 to 9007199254740991 cents",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(amount: &str, currency: &str) -> Result<CreateInvoice, serde_json::Error> {
        let id = Uuid::nil();
        serde_json::from_str(&format!(
            r#"{{"invoice_id":"{id}","customer_id":"{id}","amount_cents":{amount},"currency":"{currency}","later":1}}"#
        ))
    }

    #[test]
    fn a_field_that_is_not_known_yet_is_no_fault() {
        assert_eq!(read("1", "EUR").unwrap().amount_cents, 1);
        assert!(read("9007199254740991", "EUR").is_ok());
    }

    #[test]
    fn an_amount_is_a_whole_number_of_cents_from_one() {
        for bad in ["0", "-1", "1.5", "9007199254740992", "\"1\"", "null"] {
            assert!(read(bad, "EUR").is_err(), "{bad}");
        }
    }

    #[test]
    fn a_currency_is_three_capital_letters() {
        for bad in ["", "EU", "EURO", "eur", "E1R", "ÄÖÜ"] {
            assert!(read("1", bad).is_err(), "{bad}");
            assert!(Currency::new(bad).is_err(), "{bad}");
        }
    }
}
