//! Everything that the demonstration runs on.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{mischief::published_messages, screen::Screen, tally::Tally};
use crate::{Database, Deployment, Parameters, Queue, Relay, RelayConfig, Stack, Tables};

/// The sinks, as in the README.
pub(super) const COMMANDS: &str = "invoice-commands";
pub(super) const EVENTS: &str = "invoice-events";
pub(super) const AUDIT: &str = "audit";
const REQUESTS_AT_ONCE: usize = 8;
pub(super) const SINKS: [&str; 3] = [COMMANDS, EVENTS, AUDIT];

/// Database, deployment and relay. Fields go in this order: what writes before what is written to.
pub(super) struct Stage {
    relay: Option<Relay>,
    config: RelayConfig,
    pub(super) deployment: Deployment,
    pub(super) database: Database,
    pub(super) tables: Tables,
    pub(super) kills: usize,
    pub(super) copies_sent: usize,
}

impl Stage {
    pub(super) async fn set(stack: &Stack, screen: &mut Screen) -> Result<Self> {
        let started = Instant::now();
        screen.status("making a database");
        let database = Database::create(stack).await?;
        database.prepare_invoicing().await?;
        screen.done("a database with the outbox and the client's own tables", started);

        let started = Instant::now();
        screen.status("deploying queues, tables and functions (a few seconds)");
        let deployment = Deployment::create(stack, &database, &Parameters::default()).await?;
        screen.done("three queues, three tables, three functions", started);

        let started = Instant::now();
        screen.status("starting the relay");
        let (commands, events, audit) = (deployment.commands(), deployment.events(), deployment.audit());
        let config = RelayConfig::new(&database)
            .sink(
                COMMANDS,
                "{ type = \"invoice.create.*\", kind = \"command\" }",
                &commands,
            )
            .sink(EVENTS, "{ type = \"invoice.created.*\", kind = \"event\" }", &events)
            .sink(AUDIT, "{ type = \"invoice.*\" }", &audit)
            .env("AWS_ENDPOINT_URL", &stack.endpoint);
        let relay = Relay::start(&config).await?.quiet();
        screen.done("the relay, with a sink for each queue", started);
        screen.say("");
        let tables = deployment.tables();
        Ok(Self {
            relay: Some(relay),
            config,
            deployment,
            database,
            tables,
            kills: 0,
            copies_sent: 0,
        })
    }

    pub(super) async fn kill_relay(&mut self, screen: &mut Screen, tally: &Tally) -> Result<()> {
        let relay = self.relay.take().context("no relay runs")?;
        relay.kill().await?;
        self.kills += 1;
        let started = Instant::now();
        self.relay = Some(Relay::start(&self.config).await?.quiet());
        screen.say(&format!(
            "  ✗ SIGKILL to the relay with {} invoices requested and {} paid; started again in {:.1} s",
            tally.requested,
            tally.paid,
            started.elapsed().as_secs_f32()
        ));
        Ok(())
    }

    /// Sends messages that the relay has published already once more, as a client of SQS would that
    /// has not heard the answer.
    pub(super) async fn send_copies(&mut self, count: usize, screen: &mut Screen) -> Result<()> {
        let commands = published_messages(&self.database, COMMANDS, "invoice.create.v1", count).await?;
        let events = published_messages(&self.database, EVENTS, "invoice.created.v1", count).await?;
        let (to_commands, to_events, to_audit) = (
            self.deployment.commands(),
            self.deployment.events(),
            self.deployment.audit(),
        );
        // Another deduplication id: SQS FIFO would drop the copy by itself for five minutes.
        let commands_sent = stream::iter(&commands).map(|message| async {
            let id = crate::unique("copy");
            to_commands.send(&message.body, Some(&message.key), Some(&id)).await
        });
        let events_sent = stream::iter(&events).map(|message| async {
            to_events.send(&message.body, None, None).await?;
            to_audit.send(&message.body, None, None).await
        });
        commands_sent
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        events_sent
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let sent = commands.len() + 2 * events.len();
        self.copies_sent += sent;
        screen.say(&format!("  ✗ sent {sent} messages a second time"));
        Ok(())
    }

    pub(super) async fn stop_relay(&mut self) -> Result<()> {
        let Some(relay) = self.relay.take() else { return Ok(()) };
        let exit = relay.stop().await?;
        if exit.code != Some(0) {
            bail!("the relay ended with {:?} after SIGTERM:\n{}", exit.code, exit.printed);
        }
        Ok(())
    }

    /// Each queue that a function reads, with its dead-letter queue.
    pub(super) fn queues(&self) -> [(Queue, Queue); 3] {
        let deployment = &self.deployment;
        [
            (deployment.commands(), deployment.commands_dlq()),
            (deployment.events(), deployment.events_dlq()),
            (deployment.audit(), deployment.audit_dlq()),
        ]
    }

    pub(super) fn keep(&mut self) {
        self.deployment.keep();
        self.database.keep();
    }

    pub(super) fn how_to_look(&self, stack: &Stack) -> String {
        let outputs = &self.deployment.outputs;
        let endpoint = &stack.endpoint;
        let psql = stack.psql.display();
        let mut text = format!(
            "\n  Everything is still there (`stack.py run --keep` leaves the stack up; the `aws` lines need the AWS CLI and any credentials):\n\
             \x20   {psql} '{}' -c 'select seq, type, key, key_seq, time from oncebox.event order by seq limit 20'\n\
             \x20   {psql} '{}' -c 'select sink, shard, base, position, epoch from oncebox.cursor'\n",
            self.database.url, self.database.url
        );
        for table in [&outputs.payments_table, &outputs.audit_table, &outputs.dedupe_table] {
            text += &format!("    aws --endpoint-url {endpoint} dynamodb scan --max-items 3 --table-name {table}\n");
        }
        text += &format!(
            "    curl '{endpoint}/_aws/sqs/messages?QueueUrl={}'\n",
            outputs.invoice_commands_dlq_url
        );
        text += &format!(
            "    less {}",
            stack.function_log(&outputs.take_payment_function).display()
        );
        text
    }
}
