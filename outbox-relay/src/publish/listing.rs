//! Lists that AWS hands out page by page, read to their end.

use aws_sdk_eventbridge::types::{Rule, Target};
use aws_sdk_lambda::types::EventSourceMappingConfiguration;
use aws_sdk_sns::types::Subscription;

/// Most pages of one list, so that no server can keep a check for ever: 100,000 elements.
const MAX_PAGES: usize = 1_000;

/// What was read of a list, and why it was not read to its end.
pub(super) struct Listed<T, E> {
    pub(super) elements: Vec<T>,
    pub(super) error: Option<E>,
}

/// The subscriptions of a topic.
pub(super) async fn subscriptions(
    client: &aws_sdk_sns::Client,
    topic: &str,
) -> Listed<Subscription, impl std::error::Error + aws_sdk_sqs::error::ProvideErrorMetadata + 'static> {
    all(|token| async {
        let asked = client.list_subscriptions_by_topic().topic_arn(topic);
        let page = asked.set_next_token(token).send().await?;
        Ok::<_, aws_sdk_sns::error::SdkError<_, _>>((page.subscriptions, page.next_token))
    })
    .await
}

/// The rules of an event bus.
pub(super) async fn rules(
    client: &aws_sdk_eventbridge::Client,
    bus: &str,
) -> Listed<Rule, impl std::error::Error + aws_sdk_sqs::error::ProvideErrorMetadata + 'static> {
    all(|token| async {
        let asked = client.list_rules().event_bus_name(bus);
        let page = asked.set_next_token(token).send().await?;
        Ok::<_, aws_sdk_eventbridge::error::SdkError<_, _>>((page.rules, page.next_token))
    })
    .await
}

/// The targets of a rule.
pub(super) async fn targets(
    client: &aws_sdk_eventbridge::Client,
    bus: &str,
    rule: &str,
) -> Listed<Target, impl std::error::Error + aws_sdk_sqs::error::ProvideErrorMetadata + 'static> {
    all(|token| async {
        let asked = client.list_targets_by_rule().event_bus_name(bus).rule(rule);
        let page = asked.set_next_token(token).send().await?;
        Ok::<_, aws_sdk_eventbridge::error::SdkError<_, _>>((page.targets, page.next_token))
    })
    .await
}

/// The event source mappings of a queue.
pub(super) async fn mappings(
    client: &aws_sdk_lambda::Client,
    queue: &str,
) -> Listed<EventSourceMappingConfiguration, impl std::error::Error + aws_sdk_sqs::error::ProvideErrorMetadata + 'static>
{
    all(|token| async {
        let asked = client.list_event_source_mappings().event_source_arn(queue);
        let page = asked.set_marker(token).send().await?;
        Ok::<_, aws_sdk_lambda::error::SdkError<_, _>>((page.event_source_mappings, page.next_marker))
    })
    .await
}

/// Asks for page after page, each with the token of the one before. Some services write an empty token at the end.
async fn all<T, E, F>(mut page: impl FnMut(Option<String>) -> F) -> Listed<T, E>
where
    F: Future<Output = Result<(Option<Vec<T>>, Option<String>), E>>,
{
    let mut listed = Listed {
        elements: Vec::new(),
        error: None,
    };
    let mut token = None;
    for _ in 0..MAX_PAGES {
        let (elements, next) = match page(token.clone()).await {
            Ok(read) => read,
            Err(error) => {
                listed.error = Some(error);
                break;
            }
        };
        listed.elements.extend(elements.unwrap_or_default());
        let next = next.filter(|next| !next.is_empty());
        // A token that stays the same would give the same page again.
        if next.is_none() || next == token {
            break;
        }
        token = next;
    }
    listed
}

#[cfg(test)]
mod tests;
