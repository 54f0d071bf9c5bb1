//! How far it is.

use std::time::Duration;

use anyhow::Result;

use super::{deliveries::Deliveries, requests::Requests, stage::Stage};
use crate::Stack;

/// Counts of a moment, from the functions' logs: quick, and good enough to know when to look at
/// the tables themselves.
pub(super) struct Tally {
    pub(super) requested: usize,
    pub(super) paid: usize,
    create_invoice: Deliveries,
    take_payment: Deliveries,
    audit_tap: Deliveries,
    waiting: u64,
}

impl Tally {
    pub(super) fn new(stack: &Stack, stage: &Stage) -> Self {
        let outputs = &stage.deployment.outputs;
        let log = |function: &str| Deliveries::in_log(stack.function_log(function));
        Self {
            requested: 0,
            paid: 0,
            create_invoice: log(&outputs.create_invoice_function),
            take_payment: log(&outputs.take_payment_function),
            audit_tap: log(&outputs.audit_tap_function),
            waiting: 0,
        }
    }

    pub(super) async fn look(&mut self, stage: &Stage, requests: &Requests) -> Result<()> {
        self.requested = requests.committed();
        for log in [&mut self.create_invoice, &mut self.take_payment, &mut self.audit_tap] {
            log.look()?;
        }
        self.paid = self.take_payment.done;
        self.waiting = 0;
        for (queue, _) in stage.queues() {
            self.waiting += queue.depth().await?;
        }
        Ok(())
    }

    pub(super) fn line(&self, invoices: usize, elapsed: Duration) -> String {
        format!(
            "requested {:>4}/{invoices}   created {:>4}   paid {:>4}   audited {:>5}   copies skipped {:>4}   {:>3.0} s",
            self.requested,
            self.create_invoice.done,
            self.paid,
            self.audit_tap.done,
            self.duplicates(),
            elapsed.as_secs_f32()
        )
    }

    /// Everything has come through, the copies too: each invoice is a delivery to `create-invoice`,
    /// one to `take-payment` and two to `audit-tap`.
    pub(super) fn is_complete(&self, invoices: usize, stage: &Stage) -> bool {
        self.requested == invoices
            && self.create_invoice.done >= invoices
            && self.paid >= invoices
            && self.audit_tap.done >= 2 * invoices
            && self.deliveries() >= 4 * invoices + stage.copies_sent
            && self.waiting == 0
    }

    pub(super) fn deliveries(&self) -> usize {
        self.create_invoice.all + self.take_payment.all + self.audit_tap.all
    }

    pub(super) fn duplicates(&self) -> usize {
        self.create_invoice.duplicates + self.take_payment.duplicates + self.audit_tap.duplicates
    }
}
