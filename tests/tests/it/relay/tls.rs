//! Whether the database is the right one: certificates, on a real server.

use std::path::PathBuf;

use outbox_relay::database::{
    Database,
    tls::{Tls, TlsConfig},
    trouble,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::Connection as _;
use system_tests::{Relay, RelayConfig, Stack, TlsProxy};
use tempfile::TempDir;
use url::Url;

use super::scene::{SINK, Scene};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            folder: TempDir::new().unwrap(),
        }
    }

    /// A server with a certificate for this name or address.
    async fn certified(&self, name: &str, server: &Url) -> TlsProxy {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        TlsProxy::start(server, &certificate, &key.serialize_pem())
            .await
            .unwrap()
    }

    fn file(&self) -> PathBuf {
        let file = self.folder.path().join("ca.pem");
        std::fs::write(&file, self.issuer.pem()).unwrap();
        file
    }
}

async fn connect(url: &Url, tls: Tls, ca_file: Option<PathBuf>) -> Result<(), String> {
    let url = url.to_string().into();
    let config = TlsConfig {
        tls: Some(tls),
        ca_file,
    };
    let database = Database::new(&url, &config).unwrap();
    let mut connection = database.connect().await.map_err(|error| trouble::explain(&error))?;
    connection.ping().await.unwrap();
    connection.close().await.unwrap();
    Ok(())
}

async fn plain_server() -> Url {
    Stack::from_env().await.unwrap().database_url
}

#[tokio::test]
async fn a_server_with_the_right_certificate_is_trusted_and_another_is_refused_with_the_fix() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.certified("127.0.0.1", &plain_server().await).await;
    let full = |ca_file| connect(&server.url, Tls::VerifyFull, ca_file);
    assert_eq!(full(Some(authority.file())).await, Ok(()));
    for refused in [full(Some(stranger.file())).await, full(None).await] {
        let said = refused.unwrap_err();
        assert!(said.contains("database.ca_file"), "{said}");
    }
    let said = connect(&server.url, Tls::VerifyCa, Some(stranger.file()))
        .await
        .unwrap_err();
    assert!(said.contains("database.ca_file"), "{said}");
    assert_eq!(
        connect(&server.url, Tls::Require, None).await,
        Ok(()),
        "whoever answers"
    );
    assert!(
        connect(&server.url, Tls::Disable, None).await.is_err(),
        "it takes no plain ones"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_unless_names_are_not_looked_at() {
    let authority = Authority::new();
    let server = authority.certified("db.example", &plain_server().await).await;
    let said = connect(&server.url, Tls::VerifyFull, Some(authority.file()))
        .await
        .unwrap_err();
    assert!(said.contains("another name") && said.contains("verify-ca"), "{said}");
    assert_eq!(
        connect(&server.url, Tls::VerifyCa, Some(authority.file())).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = plain_server().await;
    for tls in [Tls::VerifyFull, Tls::Require] {
        let said = connect(&server, tls, None).await.unwrap_err();
        assert!(said.contains("ssl = on") && said.contains("disable"), "{said}");
    }
}

#[tokio::test]
async fn the_relay_publishes_over_tls_as_its_file_says() {
    let authority = Authority::new();
    let scene = Scene::fifo().await;
    let server = authority.certified("127.0.0.1", &scene.database.url).await;
    let secure = |ca_file: PathBuf| {
        let tls = format!(
            "[database]\ntls = \"verify-full\"\nca_file = \"{}\"\n",
            ca_file.display()
        );
        RelayConfig::from_toml(&scene.config().toml().replace("[database]\n", &tls))
            .env("DATABASE_URL", server.url.as_str())
            .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint)
    };
    let _relay = Relay::start(&secure(authority.file())).await.unwrap();
    let committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    scene.published(&committed).await;
    assert!(server.sessions() > 2, "all of its connections are encrypted");
    let stranger = Authority::new();
    let exit = Relay::spawn(&secure(stranger.file())).unwrap().quiet();
    let exit = exit.ended().await.unwrap();
    assert_eq!(exit.code, Some(3), "{}", exit.printed);
    assert!(exit.printed.contains("database.ca_file"), "{}", exit.printed);
    assert!(!exit.printed.contains(SINK), "it did not get as far as its sinks");
}
