//! A database, a proxy and a configuration file, and the commands that read it.

use std::io::Write as _;

use serde_json::Value;
use system_tests::{AwsProxy, Entry, RelayCommand, RelayConfig};
use tempfile::NamedTempFile;

use super::scene::Scene;

/// The sink's name in every test here.
pub(crate) const SINK: &str = "all";

pub(crate) struct Configured {
    pub(crate) scene: Scene,
    pub(crate) proxy: AwsProxy,
}

impl Configured {
    pub(crate) async fn new() -> Self {
        let scene = Scene::new().await;
        let proxy = AwsProxy::start(&scene.stack).await.unwrap();
        Self { scene, proxy }
    }

    /// A configuration with one sink, whose target and whatever else it has stands in `lines`.
    pub(crate) fn file(&self, matching: &str, lines: &str) -> NamedTempFile {
        written(&RelayConfig::new(&self.scene.database).sink_table(SINK, matching, lines))
    }

    /// A command of this database and proxy with a configuration.
    pub(crate) fn command(&self, file: &NamedTempFile, arguments: &[&str]) -> RelayCommand {
        let config = file.path().to_str().unwrap();
        RelayCommand::new(arguments)
            .arg("--config")
            .arg(config)
            .on(&self.scene.database)
            .env("AWS_ENDPOINT_URL", &self.proxy.endpoint)
    }

    /// Runs `replay --sink all` with these arguments, without asking; it has to succeed.
    pub(crate) async fn replayed(&self, file: &NamedTempFile, arguments: &[&str]) -> Value {
        self.replay(file, arguments).arg("--yes").json().await.unwrap()
    }

    pub(crate) fn replay(&self, file: &NamedTempFile, arguments: &[&str]) -> RelayCommand {
        let fixed = ["replay", "--sink", SINK, "--rate", "0"];
        self.command(file, &[&fixed, arguments].concat())
    }

    /// The ids that targets took, in their order, copies included.
    pub(crate) fn taken_ids(&self) -> Vec<String> {
        self.proxy.taken().into_iter().map(|entry| entry.event_id).collect()
    }

    /// The sequences of a key that targets took, in their order, copies included.
    pub(crate) fn sequences(&self, key: &str) -> Vec<i64> {
        let of_key = |entry: &Entry| (entry.key.as_deref() == Some(key)).then_some(entry.sequence)?;
        self.proxy.taken().iter().filter_map(of_key).collect()
    }
}

pub(crate) fn written(config: &RelayConfig) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(config.toml().as_bytes()).unwrap();
    file
}
