//! Where emitted events go.

/// An SQS queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) url: String,
}

impl Target {
    /// By its URL.
    ///
    /// # Errors
    /// What was found instead, and the fix.
    pub(crate) fn new(url: &str) -> Result<Self, &'static str> {
        if url.starts_with("arn:") {
            return Err("an ARN; name an SQS queue by its URL (topics and event buses are not supported)");
        }
        let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
            return Err("no URL; name an SQS queue by its URL, as `AWS::SQS::Queue` returns it");
        };
        let has_name = rest.rsplit_once('/').is_some_and(|(_, name)| !name.is_empty());
        if url.len() > 1_024 || !has_name || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("no URL of a queue; name an SQS queue by its URL, as `AWS::SQS::Queue` returns it");
        }
        Ok(Self { url: url.to_owned() })
    }

    /// Whether the queue keeps the order of message groups; its name tells.
    pub(crate) fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_url_of_a_queue() {
        let url = "https://sqs.eu-west-1.amazonaws.com/000000000000/invoices.fifo";
        assert!(Target::new(url).unwrap().is_fifo());
        assert!(
            !Target::new("http://127.0.0.1:4566/000000000000/invoices")
                .unwrap()
                .is_fifo()
        );
        for (bad, found) in [
            ("arn:aws:sns:eu-west-1:000000000000:topic", "an ARN"),
            ("invoices", "no URL;"),
            ("https://sqs.eu-west-1.amazonaws.com/", "no URL of"),
            ("https://sqs/000000000000/in voices", "no URL of"),
        ] {
            let why = Target::new(bad).unwrap_err();
            assert!(why.starts_with(found), "{bad}: {why}");
        }
    }
}
