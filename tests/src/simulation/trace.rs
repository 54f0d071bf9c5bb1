//! What happened in a simulation: its digest always, its lines where somebody wants to read them.

use sha2::{Digest as _, Sha256};

use super::world::Micros;

/// What happened, line by line.
#[derive(Debug)]
pub struct Trace {
    digest: Sha256,
    lines: Option<Vec<String>>,
    count: u64,
}

impl Trace {
    /// A trace that keeps its lines, or only their digest.
    #[must_use]
    pub fn new(keeps_lines: bool) -> Self {
        Self {
            digest: Sha256::new(),
            lines: keeps_lines.then(Vec::new),
            count: 0,
        }
    }

    /// Notes what happened.
    pub fn note(&mut self, now: Micros, what: impl FnOnce() -> String) {
        let line = format!("{:>10.3} ms  {}", now as f64 / 1000.0, what());
        self.digest.update(line.as_bytes());
        self.count += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// How many lines there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A digest of all lines, in hex.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = self.digest.clone().finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The lines that were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
