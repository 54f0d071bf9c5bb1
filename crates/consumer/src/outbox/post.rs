//! The seam to the targets that emitted events go to.

#[cfg(feature = "eventbridge")]
mod eventbridge;
#[cfg(feature = "sns")]
mod sns;
mod sqs;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use oncebox_envelope::target::TargetKind;

use super::{letter::Letter, target::Target};
use crate::sqs::SqsClient;

/// For each letter whether the target has it; an error says why not, or that it is not known, without a value.
pub(crate) type Answers = Vec<Result<(), String>>;

/// Sends letters to targets.
pub(crate) trait Post: Send + Sync + 'static {
    /// Sends `letters` to a target in one request: within its limits, of each message group of a FIFO target one at
    /// most (of a batch that fails in part, later ones of a group would overtake).
    ///
    /// # Cancel safety
    /// Dropped before it ends, letters may be sent or not, now or later.
    fn send<'a>(&'a self, to: &'a Target, letters: &'a [Letter]) -> BoxFuture<'a, Answers>;
}

/// Amazon SQS, SNS and EventBridge; each client is made when it is first needed.
pub(crate) struct AwsPost {
    sqs: Arc<SqsClient>,
    #[cfg(feature = "sns")]
    sns: tokio::sync::OnceCell<aws_sdk_sns::Client>,
    #[cfg(feature = "eventbridge")]
    eventbridge: tokio::sync::OnceCell<aws_sdk_eventbridge::Client>,
}

impl AwsPost {
    pub(crate) fn new(sqs: Arc<SqsClient>) -> Self {
        Self {
            sqs,
            #[cfg(feature = "sns")]
            sns: tokio::sync::OnceCell::new(),
            #[cfg(feature = "eventbridge")]
            eventbridge: tokio::sync::OnceCell::new(),
        }
    }
}

impl Post for AwsPost {
    fn send<'a>(&'a self, to: &'a Target, letters: &'a [Letter]) -> BoxFuture<'a, Answers> {
        async move {
            match to.kind {
                TargetKind::Queue | TargetKind::FifoQueue => sqs::send(self.sqs.get().await, to, letters).await,
                #[cfg(feature = "sns")]
                TargetKind::Topic | TargetKind::FifoTopic => {
                    let make = async || {
                        let shared = aws_config::load_from_env().await;
                        let config = aws_sdk_sns::config::Builder::from(&shared);
                        aws_sdk_sns::Client::from_conf(config.timeout_config(crate::sqs::timeouts()).build())
                    };
                    sns::send(self.sns.get_or_init(make).await, to, letters).await
                }
                #[cfg(feature = "eventbridge")]
                TargetKind::EventBus => {
                    let make = async || {
                        let shared = aws_config::load_from_env().await;
                        let config = aws_sdk_eventbridge::config::Builder::from(&shared);
                        aws_sdk_eventbridge::Client::from_conf(config.timeout_config(crate::sqs::timeouts()).build())
                    };
                    eventbridge::send(self.eventbridge.get_or_init(make).await, to, letters).await
                }
                // Stored by a version that had the feature.
                #[cfg(not(all(feature = "sns", feature = "eventbridge")))]
                _ => vec![Err(format!("this version cannot send to {}", to.kind.as_str())); letters.len()],
            }
        }
        .boxed()
    }
}

/// A target's answer, the same way for all. A 200 says nothing: only what is confirmed by name is sent, and what is
/// named as both is not.
fn answers(
    sent: usize,
    taken: impl IntoIterator<Item = Option<usize>>,
    failed: impl IntoIterator<Item = (Option<usize>, String)>,
) -> Answers {
    let mut answers: Answers = vec![Err("the target's answer does not name it".to_owned()); sent];
    for place in taken.into_iter().flatten() {
        if let Some(answer) = answers.get_mut(place) {
            *answer = Ok(());
        }
    }
    for (place, code) in failed {
        if let Some(answer) = place.and_then(|place| answers.get_mut(place)) {
            *answer = Err(code);
        }
    }
    answers
}

/// The place of the letter that was sent with this entry id; entries are numbered from 0.
fn place(entry_id: &str) -> Option<usize> {
    entry_id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_answer_confirms_by_name_is_sent() {
        let is_sent = |taken: &[&str], failed: &[&str]| -> Vec<bool> {
            let failed = failed.iter().map(|id| (place(id), "code".to_owned()));
            let answers = answers(3, taken.iter().map(|id| place(id)), failed);
            answers.iter().map(Result::is_ok).collect()
        };
        assert_eq!(is_sent(&["2", "0"], &["1"]), [true, false, true]);
        // Named as both, as neither, or not one that was sent.
        assert_eq!(is_sent(&["0", "1", "7", "x"], &["0", "9"]), [false, true, false]);
    }
}
