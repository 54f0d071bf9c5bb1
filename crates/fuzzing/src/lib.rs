//! What has to hold for any bytes: the bodies of the fuzz targets.
//!
//! Each is a plain function that asserts. `fuzz/` calls them under a fuzzer (`make fuzz`), the tests of this crate over the
//! corpora that are kept in `fuzz/corpus`, so that what was found once stays found. Nothing that is shipped depends on this crate.
//!
//! # Reading order
//! [`TARGETS`], then [`envelope()`], [`body()`] (what SQS, SNS and EventBridge deliver), [`bundle()`], [`relay_toml()`], [`border()`] (a row
//! of the log and the SQL that it is looked for with), [`snapshot()`]; `said` and `canary` are what they have in common.
#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is how a target says that a property does not hold"
)]

mod body;
#[cfg(feature = "relay")]
pub mod border;
mod bundle;
mod canary;
mod envelope;
#[cfg(feature = "relay")]
mod message;
#[cfg(feature = "relay")]
mod relay_toml;
mod said;
#[cfg(feature = "relay")]
mod snapshot;

pub use body::body;
#[cfg(feature = "relay")]
pub use border::border;
pub use bundle::bundle;
pub use envelope::envelope;
#[cfg(feature = "relay")]
pub use relay_toml::relay_toml;
#[cfg(feature = "relay")]
pub use snapshot::snapshot;

/// A target: it panics when a property does not hold for the bytes.
pub type Target = fn(&[u8]);

/// The targets by name; a binary in `fuzz/fuzz_targets` and a folder in `fuzz/corpus` have the same.
#[cfg(feature = "relay")]
pub const TARGETS: [(&str, Target); 6] = [
    ("envelope", envelope),
    ("body", body),
    ("bundle", bundle),
    ("relay_toml", relay_toml),
    ("border", border),
    ("snapshot", snapshot),
];
