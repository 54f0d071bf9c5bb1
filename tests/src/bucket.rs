//! An S3 bucket of a test's own.

use anyhow::{Context, Result};
use aws_sdk_s3::Client;

use crate::{Stack, unique};

/// A bucket in LocalStack. It is left to the stack's end: one with objects cannot be deleted.
#[derive(Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    client: Client,
}

/// An object of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its bytes, as text.
    pub text: String,
    /// `Content-Type`.
    pub content_type: Option<String>,
}

impl Bucket {
    /// Makes an empty bucket.
    ///
    /// # Errors
    /// LocalStack does not answer, or refuses.
    pub async fn create(stack: &Stack) -> Result<Self> {
        let client = stack.s3();
        let name = unique("bucket");
        client
            .create_bucket()
            .bucket(&name)
            .send()
            .await
            .context("creating a bucket")?;
        Ok(Self { name, client })
    }

    /// Reads an object.
    ///
    /// # Errors
    /// It is not there, or is no text.
    pub async fn get(&self, key: &str) -> Result<Object> {
        let asked = self.client.get_object().bucket(&self.name).key(key).send().await;
        let found = asked.with_context(|| format!("reading {key}"))?;
        let content_type = found.content_type().map(ToOwned::to_owned);
        let bytes = found.body.collect().await?.into_bytes();
        Ok(Object {
            text: String::from_utf8(bytes.to_vec())?,
            content_type,
        })
    }

    /// The keys of all objects.
    ///
    /// # Errors
    /// LocalStack does not answer.
    pub async fn keys(&self) -> Result<Vec<String>> {
        let listed = self.client.list_objects_v2().bucket(&self.name).send().await?;
        let objects = listed.contents.unwrap_or_default();
        Ok(objects.into_iter().filter_map(|object| object.key).collect())
    }
}
