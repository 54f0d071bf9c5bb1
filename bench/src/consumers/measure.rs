//! One run of one function: batches in, effects checked, figures out.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::{
    emulator::Emulator,
    function::{Function, Parts, Who},
    load::{Load, event, returned},
    proxy::{Counts, Proxy},
    runtime_api::RuntimeApi,
};

/// What DynamoDB takes to answer, beside what the emulator takes.
pub(crate) const LATENCY: Duration = Duration::from_millis(4);

/// What a run has found out.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Messages that the function has acknowledged.
    pub(crate) settled: usize,
    /// How often it gave one back, to be delivered again.
    pub(crate) returned: usize,
    pub(crate) took: Duration,
    pub(crate) counts: Counts,
    /// How long each batch took, in order.
    batches: Vec<Duration>,
    pub(crate) peak_mib: f64,
}

impl Measured {
    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.settled as f64 / self.took.as_secs_f64()
    }

    /// Calls of all operations per message.
    pub(crate) fn calls(&self) -> f64 {
        self.counts.calls.values().sum::<u64>() as f64 / self.settled as f64
    }

    /// Write units per message.
    pub(crate) fn write_units(&self) -> f64 {
        self.counts.write_units as f64 / self.settled as f64
    }

    /// The time within which `percent` of the batches were answered.
    pub(crate) fn batch_ms(&self, percent: usize) -> f64 {
        let place = (self.batches.len() * percent).div_ceil(100).max(1) - 1;
        self.batches.get(place).map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
    }
}

/// Gives a function its batches, for `at_most` at the longest; `None` when it cannot be had here.
///
/// # Errors
/// The function fails, has an effect twice or not at all, or (Oncebox) gives a message back.
pub(crate) async fn measure(
    who: Who,
    load: Load,
    parts: &Parts,
    at_most: Option<Duration>,
) -> Result<Option<Measured>> {
    let emulator = Emulator::start(&parts.dynoxide).await?;
    let proxy = Proxy::start(emulator.address, LATENCY).await?;
    let mut api = RuntimeApi::start().await?;
    let Some(function) = Function::start(who, parts, api.address, proxy.address)? else {
        return Ok(None);
    };
    let measured = async {
        api.asked().await?;
        run(who, load, &mut api, at_most, &emulator).await
    };
    let mut measured = measured
        .await
        .with_context(|| format!("{who}; its log ends:\n{}", function.log()))?;
    measured.counts = proxy.counts();
    measured.peak_mib = function.peak_rss_mib()?;
    function.stop().await?;
    Ok(Some(measured))
}

async fn run(
    who: Who,
    load: Load,
    api: &mut RuntimeApi,
    at_most: Option<Duration>,
    emulator: &Emulator,
) -> Result<Measured> {
    let mut queue = load.messages();
    let (mut batches, mut given_back, mut settled) = (Vec::new(), 0, 0);
    let (mut paid, mut handed_out) = (HashSet::new(), HashSet::new());
    let started = Instant::now();
    while !queue.is_empty() && at_most.is_none_or(|most| started.elapsed() < most) {
        let batch: Vec<_> = queue.drain(..load.batch.min(queue.len())).collect();
        handed_out.extend(batch.iter().map(|message| message.invoice));
        let (answer, took) = api.invoke(event(&batch)).await?;
        batches.push(took);
        let answered = returned(batch, &answer);
        let (done, back) = answered.with_context(|| format!("not an answer to the batch: {answer}"))?;
        ensure!(
            who != Who::Oncebox || back.is_empty(),
            "messages were given back: {answer}"
        );
        settled += done.len();
        given_back += back.len();
        paid.extend(done.iter().map(|message| message.invoice));
        queue.extend(back.into_iter().map(super::load::Message::again));
    }
    let took = started.elapsed();
    batches.sort_unstable();
    check(&emulator.bookings().await?, &paid, &handed_out)?;
    Ok(Measured {
        settled,
        returned: given_back,
        took,
        counts: Counts::default(),
        batches,
        peak_mib: 0.0,
    })
}

/// What was acknowledged has exactly one effect, and nothing has two.
fn check(
    bookings: &std::collections::HashMap<String, u64>,
    paid: &HashSet<uuid::Uuid>,
    handed_out: &HashSet<uuid::Uuid>,
) -> Result<()> {
    let key = |invoice: &uuid::Uuid| format!("payment#{invoice}");
    let lost = paid
        .iter()
        .filter(|invoice| !bookings.contains_key(&key(invoice)))
        .count();
    let doubled = bookings.values().filter(|bookings| **bookings != 1).count();
    let known: HashSet<String> = handed_out.iter().map(key).collect();
    let unknown = bookings.keys().filter(|key| !known.contains(*key)).count();
    ensure!(
        (lost, doubled, unknown) == (0, 0, 0),
        "{lost} effects lost, {doubled} doubled, {unknown} of nobody"
    );
    Ok(())
}

/// From the start of the process until it asks for its first event; `None` when it cannot be had here.
pub(crate) async fn init(who: Who, parts: &Parts) -> Result<Option<Duration>> {
    let mut api = RuntimeApi::start().await?;
    // Nobody listens there: a function that calls the database before it has an event would show.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let Some(function) = Function::start(who, parts, api.address, nowhere)? else {
        return Ok(None);
    };
    let asked = api
        .asked()
        .await
        .with_context(|| format!("{who}; its log ends:\n{}", function.log()))?;
    let took = asked - function.started;
    function.stop().await?;
    Ok(Some(took))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_lost_or_doubled_effect_is_an_error_and_one_that_was_not_acknowledged_may_be_there() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let bookings = |counts: &[(Uuid, u64)]| -> HashMap<String, u64> {
            counts
                .iter()
                .map(|(id, count)| (format!("payment#{id}"), *count))
                .collect()
        };
        let (paid, handed_out) = (HashSet::from([one]), HashSet::from([one, two]));
        let found = |counts: &[(Uuid, u64)]| check(&bookings(counts), &paid, &handed_out);
        assert!(found(&[(one, 1)]).is_ok());
        assert!(found(&[(one, 1), (two, 1)]).is_ok());
        assert!(found(&[]).is_err());
        assert!(found(&[(one, 2)]).is_err());
        assert!(found(&[(one, 1), (two, 2)]).is_err());
        assert!(found(&[(one, 1), (Uuid::from_u128(3), 1)]).is_err());
    }

    #[test]
    fn a_percentile_is_the_time_of_the_batch_at_its_place() {
        let measured = |batches: u64| Measured {
            settled: 1,
            returned: 0,
            took: Duration::from_secs(1),
            counts: Counts::default(),
            batches: (1..=batches).map(Duration::from_millis).collect(),
            peak_mib: 0.0,
        };
        assert_eq!((measured(200).batch_ms(50), measured(200).batch_ms(99)), (100.0, 198.0));
        assert_eq!((measured(1).batch_ms(50), measured(3).batch_ms(99)), (1.0, 3.0));
    }
}
