//! How the endpoint behaves.

use std::time::Duration;

/// How the endpoint behaves; set on the command line and by `POST /reset?…`.
#[derive(Debug, Clone, Copy, PartialEq, Default, clap::Args)]
pub(crate) struct Settings {
    /// Milliseconds between a request's last byte and its answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_ms: u64,
    /// Share of entries that fail within an answer of 200, in percent.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) failed_percent: f64,
    /// Share of requests that are answered 503 and not applied, in percent.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) unavailable_percent: f64,
}

impl Settings {
    /// With this latency and without faults.
    pub(crate) fn latency(latency_ms: u64) -> Self {
        Self {
            latency_ms,
            ..Self::default()
        }
    }

    /// Reads `latency_ms=5&failed_percent=1`; what is not named has its default.
    pub(crate) fn from_query(query: &str) -> Option<Self> {
        let mut settings = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            match name {
                "latency_ms" => settings.latency_ms = value.parse().ok()?,
                "failed_percent" => settings.failed_percent = value.parse().ok()?,
                "unavailable_percent" => settings.unavailable_percent = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(settings)
    }

    /// As [`Settings::from_query`] reads it.
    pub(crate) fn to_query(self) -> String {
        let Self {
            latency_ms,
            failed_percent,
            unavailable_percent,
        } = self;
        format!("latency_ms={latency_ms}&failed_percent={failed_percent}&unavailable_percent={unavailable_percent}")
    }

    pub(super) fn latency_time(self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    pub(super) fn is_unavailable(self) -> bool {
        happens(self.unavailable_percent)
    }

    pub(super) fn entry_fails(self) -> bool {
        happens(self.failed_percent)
    }
}

fn happens(percent: f64) -> bool {
    percent > 0.0 && rand::random::<f64>() * 100.0 < percent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_read_as_they_are_written_and_an_unknown_name_is_refused() {
        let settings = Settings {
            latency_ms: 5,
            failed_percent: 0.5,
            unavailable_percent: 2.0,
        };
        assert_eq!(Settings::from_query(&settings.to_query()), Some(settings));
        assert_eq!(Settings::from_query(""), Some(Settings::default()));
        assert_eq!(Settings::from_query("latency=5"), None);
    }
}
