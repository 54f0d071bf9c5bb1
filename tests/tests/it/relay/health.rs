//! What a container platform asks: `outbox-relay health`.

use std::process::Output;

use system_tests::{Relay, binary};
use tokio::process::Command;

use super::scene::Scene;

/// Asks with the text of a `relay.toml` in a variable, as in a container.
async fn health(scene: &Scene, toml: &str, arguments: &[&str]) -> Output {
    Command::new(binary("outbox-relay").unwrap())
        .args(["health", "--config", "env:RELAY_TOML"])
        .args(arguments)
        .env("RELAY_TOML", toml)
        .env("DATABASE_URL", scene.database.url.as_str())
        .output()
        .await
        .unwrap()
}

fn said(asked: &Output) -> String {
    String::from_utf8_lossy(&asked.stderr).into_owned()
}

#[tokio::test]
async fn health_tells_a_relay_that_runs_from_one_that_does_not() {
    let scene = Scene::standard().await;
    let config = scene.config();
    let relay = Relay::start(&config).await.unwrap();
    let toml = config
        .toml()
        .replace("127.0.0.1:0", &relay.address().unwrap().to_string());
    for arguments in [&[][..], &["--ready"]] {
        let asked = health(&scene, &toml, arguments).await;
        assert!(asked.status.success(), "{}", said(&asked));
    }
    relay.stop().await.unwrap();
    let asked = health(&scene, &toml, &[]).await;
    assert_eq!(asked.status.code(), Some(1), "{}", said(&asked));
    assert!(said(&asked).contains("/healthz"), "{}", said(&asked));
}

#[tokio::test]
async fn health_without_an_address_to_ask_is_wrong_usage() {
    let scene = Scene::standard().await;
    let asked = health(&scene, scene.config().toml(), &[]).await;
    assert_eq!(asked.status.code(), Some(2), "{}", said(&asked));
    assert!(said(&asked).contains("http.listen"), "{}", said(&asked));
}
