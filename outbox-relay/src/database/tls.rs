//! Whether the connection is encrypted and the server checked: decided from the file, the URL and
//! where the server is.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use sqlx::postgres::PgSslMode;

/// What `database.tls` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Encrypted, and the certificate is valid for the host's name.
    VerifyFull,
    /// Encrypted, and the certificate is signed by a trusted authority, whatever its name.
    VerifyCa,
    /// Encrypted, with whoever answers.
    Require,
    /// Plain.
    Disable,
}

/// What the configuration says about the connection's safety.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// `database.tls`.
    pub tls: Option<Tls>,
    /// `database.ca_file`: certificates of authorities to trust besides the public ones, PEM.
    pub ca_file: Option<PathBuf>,
}

/// What is wrong with it: the key, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct TlsFault {
    /// `url`, `tls` or `ca_file`.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// How to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// As this says.
    Tls(Tls),
    /// Encrypted if the server can: on this machine only.
    IfOffered,
}

impl FromStr for Tls {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "verify-full" => Ok(Self::VerifyFull),
            "verify-ca" => Ok(Self::VerifyCa),
            "require" => Ok(Self::Require),
            "disable" => Ok(Self::Disable),
            _ => Err(()),
        }
    }
}

impl Tls {
    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VerifyFull => "verify-full",
            Self::VerifyCa => "verify-ca",
            Self::Require => "require",
            Self::Disable => "disable",
        }
    }
}

impl Choice {
    pub(super) fn mode(self) -> PgSslMode {
        match self {
            Self::Tls(Tls::VerifyFull) => PgSslMode::VerifyFull,
            Self::Tls(Tls::VerifyCa) => PgSslMode::VerifyCa,
            Self::Tls(Tls::Require) => PgSslMode::Require,
            Self::Tls(Tls::Disable) => PgSslMode::Disable,
            Self::IfOffered => PgSslMode::Prefer,
        }
    }
}

/// Decides. `host` is a name, an address or a socket's path; `in_url` what `sslmode` says there.
///
/// Without a word the server is checked in full, except on this machine. A weaker mode for another
/// machine has to stand in the file, where it is seen: a URL often comes from somewhere else, with
/// `sslmode=require` or `prefer` copied along. Where both speak, they must say the same.
pub(super) fn decide(host: &str, config: &TlsConfig, in_url: Option<&str>) -> Result<Choice, TlsFault> {
    let fault = |key, problem: String| Err(TlsFault { key, problem });
    let choice = match (config.tls, in_url) {
        (Some(tls), None) => Choice::Tls(tls),
        (Some(tls), Some(word)) if word == tls.as_str() => Choice::Tls(tls),
        (Some(tls), Some(_)) => {
            let problem = format!(
                "says `{}` and `sslmode` in database.url says something else; leave one of them out",
                tls.as_str()
            );
            return fault("tls", problem);
        }
        (None, Some("verify-full")) => Choice::Tls(Tls::VerifyFull),
        (None, Some(word)) if is_this_machine(host) => match (word.parse(), word) {
            (Ok(tls), _) => Choice::Tls(tls),
            (Err(()), "allow" | "prefer") => Choice::IfOffered,
            (Err(()), _) => return fault("url", UNKNOWN_MODE.to_owned()),
        },
        (None, Some("verify-ca" | "require" | "disable" | "allow" | "prefer")) => {
            let problem = "its `sslmode` does not check that the server is the right one; leave it out for verify-full, \
                           or accept it in so many words with database.tls (verify-ca, require or disable)";
            return fault("url", problem.to_owned());
        }
        (None, Some(_)) => return fault("url", UNKNOWN_MODE.to_owned()),
        (None, None) if is_this_machine(host) => Choice::IfOffered,
        (None, None) => Choice::Tls(Tls::VerifyFull),
    };
    match (choice, &config.ca_file) {
        (Choice::Tls(Tls::Require | Tls::Disable) | Choice::IfOffered, Some(_)) => fault(
            "ca_file",
            "is not looked at in this mode; write database.tls = \"verify-full\" (or \"verify-ca\"), or leave it out"
                .to_owned(),
        ),
        (Choice::Tls(Tls::VerifyCa), None) => fault(
            "ca_file",
            "is missing; verify-ca without it would take any certificate of any public authority".to_owned(),
        ),
        _ => Ok(choice),
    }
}

const UNKNOWN_MODE: &str = "its `sslmode` is none of verify-full, verify-ca, require, disable, allow and prefer";

/// Whether a connection to this host stays on this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(tls: Option<Tls>) -> TlsConfig {
        let ca_file = matches!(tls, Some(Tls::VerifyCa)).then(|| "ca.pem".into());
        TlsConfig { tls, ca_file }
    }

    #[test]
    fn another_machine_is_checked_in_full_unless_the_file_says_otherwise() {
        for host in [
            "db.example",
            "10.0.0.7",
            "2001:db8::1",
            "localhost.example",
            "128.0.0.1",
        ] {
            let decided = decide(host, &config(None), None);
            assert_eq!(decided, Ok(Choice::Tls(Tls::VerifyFull)), "{host}");
            for word in ["verify-ca", "require", "disable", "allow", "prefer"] {
                let refused = decide(host, &config(None), Some(word)).unwrap_err();
                assert_eq!(refused.key, "url", "{host} {word}");
                assert!(refused.problem.contains("database.tls"), "{refused}");
            }
            for tls in [Tls::VerifyFull, Tls::VerifyCa, Tls::Require, Tls::Disable] {
                assert_eq!(decide(host, &config(Some(tls)), None), Ok(Choice::Tls(tls)));
            }
        }
    }

    #[test]
    fn this_machine_may_be_reached_in_plain() {
        for host in [
            "localhost",
            "127.0.0.1",
            "127.8.0.1",
            "::1",
            "[::1]",
            "/var/run/postgresql",
        ] {
            assert_eq!(decide(host, &config(None), None), Ok(Choice::IfOffered), "{host}");
            assert_eq!(decide(host, &config(None), Some("prefer")), Ok(Choice::IfOffered));
            assert_eq!(
                decide(host, &config(None), Some("disable")),
                Ok(Choice::Tls(Tls::Disable))
            );
        }
    }

    #[test]
    fn the_file_and_the_url_must_not_contradict_each_other() {
        let says = |tls, word| decide("db.example", &config(Some(tls)), Some(word));
        assert_eq!(says(Tls::Require, "require"), Ok(Choice::Tls(Tls::Require)));
        for (tls, word) in [
            (Tls::VerifyFull, "disable"),
            (Tls::Require, "verify-full"),
            (Tls::Disable, "prefer"),
        ] {
            let refused = says(tls, word).unwrap_err();
            assert_eq!(refused.key, "tls");
            assert!(refused.problem.contains("leave one of them out"), "{refused}");
        }
        assert_eq!(decide("localhost", &config(None), Some("sure")).unwrap_err().key, "url");
        assert_eq!(
            decide("db.example", &config(None), Some("sure")).unwrap_err().key,
            "url"
        );
    }

    #[test]
    fn a_file_of_authorities_goes_with_a_mode_that_looks_at_it() {
        let with_file = |tls| TlsConfig {
            tls,
            ca_file: Some("ca.pem".into()),
        };
        assert!(decide("db.example", &with_file(None), None).is_ok());
        assert!(decide("localhost", &with_file(Some(Tls::VerifyFull)), None).is_ok());
        for (host, tls) in [("localhost", None), ("db.example", Some(Tls::Require))] {
            assert_eq!(decide(host, &with_file(tls), None).unwrap_err().key, "ca_file");
        }
        let bare = TlsConfig {
            tls: Some(Tls::VerifyCa),
            ca_file: None,
        };
        assert_eq!(decide("db.example", &bare, None).unwrap_err().key, "ca_file");
    }
}
