//! What is known of a queue and of a function that consumes it, and what is wrong with it. Pure.

use std::collections::HashMap;

use serde::Deserialize;

use crate::publish::inspect::Remark;

/// The consumer's variables, by which its functions are known.
const DLQ_URL: &str = "ONCEBOX_DLQ_URL";
const MAX_RECEIVE_COUNT: &str = "ONCEBOX_MAX_RECEIVE_COUNT";
const DEDUPE_DAYS: &str = "ONCEBOX_DEDUPE_DAYS";
/// How long the consumer keeps a dedupe record unless it is told otherwise.
const DEFAULT_DEDUPE_DAYS: u64 = 35;
const DAY_SECS: u64 = 86_400;

/// Amazon SQS API reference, `SetQueueAttributes`: `RedrivePolicy`. The count may come as text.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RedrivePolicy {
    pub(super) dead_letter_target_arn: String,
    max_receive_count: Count,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

pub(super) struct Queue {
    pub(super) arn: String,
    pub(super) visibility_secs: u64,
    pub(super) retention_secs: u64,
    pub(super) redrive: Option<RedrivePolicy>,
    /// `None`: there is none, or it could not be read.
    pub(super) dead_retention_secs: Option<u64>,
}

pub(super) struct Function {
    pub(super) name: String,
    pub(super) is_enabled: bool,
    pub(super) reports_failures: bool,
    pub(super) timeout_secs: u64,
    /// Of them only ours are looked at, and none is shown.
    pub(super) variables: HashMap<String, String>,
}

impl RedrivePolicy {
    fn max_receive_count(&self) -> Option<u64> {
        match &self.max_receive_count {
            Count::Number(count) => Some(*count),
            Count::Text(text) => text.parse().ok(),
        }
    }
}

impl Queue {
    fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }

    /// What is wrong with the queue itself, where it is not the target and nobody else looks at it.
    pub(super) fn judge(&self) -> Vec<Remark> {
        let warning = |text: &str| vec![Remark::warning(format!("queue {}: {text}", self.arn))];
        match &self.redrive {
            None => warning(
                "has no dead-letter queue: what its consumers cannot process comes again until it expires; set a RedrivePolicy",
            ),
            Some(policy) if policy.dead_letter_target_arn.ends_with(".fifo") != self.is_fifo() => warning(
                "its dead-letter queue is of another kind; a FIFO queue needs a FIFO one, a standard queue a standard one",
            ),
            Some(_) => Vec::new(),
        }
    }
}

/// With fewer deliveries the retries are over within minutes.
const LITTLE_PATIENCE: u64 = 10;

impl Function {
    fn is_ours(&self) -> bool {
        let names = &mut self.variables.keys();
        names.any(|name| name.starts_with("ONCEBOX_") || name == "DEDUPE_TABLE")
    }

    fn set(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// What is wrong with the function at this queue; one remark that all is well where nothing is.
    pub(super) fn judge(&self, queue: &Queue) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let mut say = |is_fault: bool, text: String| {
            let text = format!("function {}: {text}", self.name);
            remarks.push(if is_fault {
                Remark::fault(text)
            } else {
                Remark::warning(text)
            });
        };
        if !self.is_enabled {
            say(
                false,
                "its event source mapping is disabled, so nothing is consumed; enable it".to_owned(),
            );
        }
        if !self.reports_failures {
            let text = "its event source mapping lacks FunctionResponseTypes ReportBatchItemFailures: messages that it \
                        returns as failed are deleted; set it";
            say(self.is_ours(), text.to_owned());
        }
        // AWS Lambda developer guide, "Using Lambda with Amazon SQS": six times the function's timeout.
        let visibility_secs = 6 * self.timeout_secs;
        if queue.visibility_secs < visibility_secs {
            let (found, timeout_secs) = (queue.visibility_secs, self.timeout_secs);
            say(
                false,
                format!(
                    "the queue's visibility timeout of {found} s is less than six times the function's timeout of \
                     {timeout_secs} s, so messages come again while they are worked on; set VisibilityTimeout to {visibility_secs}"
                ),
            );
        }
        let max_receive_count = queue.redrive.as_ref().and_then(RedrivePolicy::max_receive_count);
        if max_receive_count == Some(1) {
            let text = "the queue's maxReceiveCount is 1: one failure, a throttled invocation among them, and the message is in \
                        the dead-letter queue; set it to 20";
            say(false, text.to_owned());
        }
        if self.is_ours() {
            self.judge_ours(queue, max_receive_count, say);
        }
        if remarks.is_empty() {
            remarks.push(Remark::ok(format!(
                "function {} consumes {} as it should",
                self.name, queue.arn
            )));
        }
        remarks
    }

    fn judge_ours(&self, queue: &Queue, max_receive_count: Option<u64>, mut say: impl FnMut(bool, String)) {
        match self.set(DLQ_URL) {
            None => say(
                false,
                format!(
                    "has no {DLQ_URL}: what can never succeed waits for the redrive policy, on FIFO with its group; set it"
                ),
            ),
            Some(url) if url.ends_with(".fifo") != queue.is_fifo() => say(
                true,
                format!(
                    "the queue of its {DLQ_URL} is of another kind than the queue that it consumes; give it one of the same kind"
                ),
            ),
            Some(_) => {}
        }
        let known = self.set(MAX_RECEIVE_COUNT);
        if let Some(count) = max_receive_count
            && known.is_none_or(|known| known.trim().parse() != Ok(count))
        {
            say(
                false,
                format!("its {MAX_RECEIVE_COUNT} is not the queue's maxReceiveCount; set it to {count}"),
            );
        }
        if let Some(count @ 2..LITTLE_PATIENCE) = max_receive_count {
            // The consumer's delays: 1, 2, 4, … seconds, none after the delivery that sets aside.
            let secs = (1_u64 << count.saturating_sub(2)) - 1;
            say(
                false,
                format!(
                    "the queue's maxReceiveCount is {count}: what fails at once is delivered again after 1, 2, 4, … seconds, so an                      outage of {secs} s sets every event aside; set it to 20, for more than an hour, and {MAX_RECEIVE_COUNT} with it"
                ),
            );
        }
        let days = self
            .set(DEDUPE_DAYS)
            .map_or(Some(DEFAULT_DEDUPE_DAYS), |days| days.trim().parse().ok());
        let needed_secs = queue.retention_secs + queue.dead_retention_secs.unwrap_or(0);
        if days.is_none_or(|days| days.saturating_mul(DAY_SECS) < needed_secs) {
            let days = needed_secs.div_ceil(DAY_SECS);
            say(
                false,
                format!(
                    "its dedupe records go before the messages do, which are kept {needed_secs} s in the queue and its \
                     dead-letter queue, so one that is redriven late has a second effect; set {DEDUPE_DAYS} to {days} or more"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::inspect::Weight;

    fn queue() -> Queue {
        Queue {
            arn: "arn:aws:sqs:r:1:q".to_owned(),
            visibility_secs: 60,
            retention_secs: 4 * DAY_SECS,
            redrive: serde_json::from_str(r#"{"deadLetterTargetArn":"arn:aws:sqs:r:1:d","maxReceiveCount":"20"}"#).ok(),
            dead_retention_secs: Some(14 * DAY_SECS),
        }
    }

    fn function(variables: &[(&str, &str)]) -> Function {
        let ours = [
            (DLQ_URL, "https://sqs/1/d"),
            (MAX_RECEIVE_COUNT, "20"),
            ("SECRET", "hidden"),
        ];
        let all = ours.iter().chain(variables);
        Function {
            name: "f".to_owned(),
            is_enabled: true,
            reports_failures: true,
            timeout_secs: 10,
            variables: all
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    /// The one remark that it must come to.
    fn one(function: &Function, queue: &Queue) -> (Weight, String) {
        let mut remarks = function.judge(queue);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        let remark = remarks.remove(0);
        assert!(!remark.text.contains("hidden"));
        (remark.weight, remark.text)
    }

    #[test]
    fn a_function_as_it_should_be_is_said_to_be_so() {
        assert_eq!(one(&function(&[]), &queue()).0, Weight::Ok);
        let foreign = Function {
            variables: HashMap::new(),
            ..function(&[])
        };
        assert_eq!(
            one(&foreign, &queue()).0,
            Weight::Ok,
            "ours alone are asked for our variables"
        );
    }

    #[test]
    fn each_trap_is_named_with_its_fix() {
        let silent = Function {
            reports_failures: false,
            ..function(&[])
        };
        let (weight, text) = one(&silent, &queue());
        assert!(
            weight == Weight::Fault && text.contains("ReportBatchItemFailures"),
            "{text}"
        );
        let foreign = Function {
            variables: HashMap::new(),
            ..silent
        };
        assert_eq!(
            one(&foreign, &queue()).0,
            Weight::Warning,
            "it may answer in another way"
        );

        let off = Function {
            is_enabled: false,
            ..function(&[])
        };
        assert!(one(&off, &queue()).1.contains("disabled"));
        let slow = Function {
            timeout_secs: 11,
            ..function(&[])
        };
        assert!(one(&slow, &queue()).1.contains("set VisibilityTimeout to 66"));

        let mut once = queue();
        once.redrive = serde_json::from_str(r#"{"deadLetterTargetArn":"d","maxReceiveCount":1}"#).ok();
        let told = function(&[(MAX_RECEIVE_COUNT, "1")]);
        assert!(one(&told, &once).1.contains("maxReceiveCount is 1"));
        for (count, said) in [(2, Some("outage of 0 s")), (9, Some("outage of 127 s")), (10, None)] {
            let mut soon = queue();
            let policy = format!(r#"{{"deadLetterTargetArn":"d","maxReceiveCount":{count}}}"#);
            soon.redrive = serde_json::from_str(&policy).ok();
            let told = count.to_string();
            let (weight, text) = one(&function(&[(MAX_RECEIVE_COUNT, told.as_str())]), &soon);
            match said {
                Some(said) => assert!(weight == Weight::Warning && text.contains(said), "{text}"),
                None => assert_eq!(weight, Weight::Ok, "{text}"),
            }
        }
        let without = |count| function(&[(MAX_RECEIVE_COUNT, count), (DLQ_URL, "")]);
        let mut table_alone = without("");
        table_alone.variables.retain(|name, _| !name.starts_with("ONCEBOX_"));
        table_alone.variables.insert("DEDUPE_TABLE".to_owned(), "t".to_owned());
        let texts: Vec<String> = table_alone
            .judge(&queue())
            .into_iter()
            .map(|remark| remark.text)
            .collect();
        assert!(
            texts.iter().any(|text| text.contains("has no ONCEBOX_DLQ_URL")),
            "{texts:?}"
        );
        assert!(
            one(&function(&[(MAX_RECEIVE_COUNT, "5")]), &queue())
                .1
                .contains("set it to 20")
        );
        assert!(
            one(&function(&[(DLQ_URL, "")]), &queue())
                .1
                .contains("has no ONCEBOX_DLQ_URL")
        );
        let (weight, text) = one(&function(&[(DLQ_URL, "https://sqs/1/d.fifo")]), &queue());
        assert!(weight == Weight::Fault && text.contains("of another kind"), "{text}");

        assert_eq!(one(&function(&[(DEDUPE_DAYS, "18")]), &queue()).0, Weight::Ok);
        for days in ["17", "soon"] {
            assert!(
                one(&function(&[(DEDUPE_DAYS, days)]), &queue())
                    .1
                    .contains("set ONCEBOX_DEDUPE_DAYS to 18")
            );
        }
    }

    #[test]
    fn a_queue_behind_a_target_has_dead_letters_of_its_kind() {
        let said = |queue: Queue| queue.judge().pop().map(|remark| remark.text).unwrap_or_default();
        assert_eq!(said(queue()), "");
        assert!(
            said(Queue {
                redrive: None,
                ..queue()
            })
            .contains("no dead-letter queue")
        );
        let fifo = Queue {
            arn: "arn:aws:sqs:r:1:q.fifo".to_owned(),
            ..queue()
        };
        assert!(said(fifo).contains("of another kind"));
    }
}
