//! The database: dynoxide, an emulator of DynamoDB, with everything in memory.

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region},
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

/// Where the functions have their effects.
pub(crate) const PAYMENTS: &str = "payments";
/// Oncebox's records, and those of Powertools: their keys have other names.
pub(crate) const DEDUPE: &str = "dedupe";
pub(crate) const IDEMPOTENCY: &str = "idempotency";

const START_WITHIN: Duration = Duration::from_secs(10);

/// A running emulator with empty tables; killed with this value.
pub(crate) struct Emulator {
    child: Child,
    pub(crate) address: SocketAddr,
    client: Client,
}

impl Emulator {
    /// Starts `program` on a free port and makes the tables.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(program)
            .args(["serve", "--log", "quiet", "--port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
            .endpoint_url(format!("http://{address}"));
        let client = Client::from_conf(config.build());
        let mut emulator = Self { child, address, client };
        emulator.wait_until_it_listens().await?;
        for (table, key) in [(PAYMENTS, "pk"), (DEDUPE, "pk"), (IDEMPOTENCY, "id")] {
            emulator.create(table, key).await?;
        }
        Ok(emulator)
    }

    /// How many bookings each payment has, by the payment's key.
    pub(crate) async fn bookings(&self) -> Result<HashMap<String, u64>> {
        let mut bookings = HashMap::new();
        let mut after = None;
        loop {
            let page = self.client.scan().table_name(PAYMENTS).set_exclusive_start_key(after);
            let page = page.send().await?;
            for item in page.items() {
                let key = item
                    .get("pk")
                    .and_then(|value| value.as_s().ok())
                    .context("an item without its key")?;
                let count = item.get("bookings").and_then(|value| value.as_n().ok());
                bookings.insert(key.clone(), count.context("a payment without bookings")?.parse()?);
            }
            after = page.last_evaluated_key;
            if after.as_ref().is_none_or(HashMap::is_empty) {
                return Ok(bookings);
            }
        }
    }

    async fn wait_until_it_listens(&mut self) -> Result<()> {
        let until = Instant::now() + START_WITHIN;
        while TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the emulator ended with {status}");
            }
            if Instant::now() > until {
                bail!("the emulator does not listen on {}", self.address);
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn create(&self, table: &str, key: &str) -> Result<()> {
        let attribute = AttributeDefinition::builder()
            .attribute_name(key)
            .attribute_type(ScalarAttributeType::S);
        let schema = KeySchemaElement::builder().attribute_name(key).key_type(KeyType::Hash);
        let request = self.client.create_table().table_name(table);
        let request = request
            .attribute_definitions(attribute.build()?)
            .key_schema(schema.build()?);
        request.billing_mode(BillingMode::PayPerRequest).send().await?;
        Ok(())
    }
}
