//! An event bus's name or ARN to the bus.

use super::EventBus;
use crate::publish::{
    clients::Clients,
    resolve::{Arn, ResolveError, Subject},
};

/// Finds the bus and makes sure that it is there: `PutEvents` confirms events for a bus that does not
/// exist, and drops them.
///
/// # Errors
/// [`ResolveError`], which says what to do.
///
/// # Cancel safety
/// Reads only.
pub(in crate::publish) async fn resolve(clients: &Clients, bus: &str) -> Result<EventBus, ResolveError> {
    let subject = Subject {
        what: "event bus",
        text: bus,
        forms: "its name or its ARN (arn:aws:events:region:account:event-bus/name)",
        permissions: "the permission events:DescribeEventBus",
    };
    check(bus).map_err(|problem| subject.malformed(problem))?;
    let asked = clients.eventbridge.describe_event_bus().name(bus).send().await;
    let found = asked.map_err(|error| subject.failed(&error, &["ResourceNotFoundException"]))?;
    let arn = found.arn.ok_or_else(|| subject.missing())?;
    Ok(EventBus {
        client: clients.eventbridge.clone(),
        arn,
    })
}

/// Amazon EventBridge API reference, `CreateEventBus`: a name has at most 256 of these characters; a
/// slash only in a partner's bus, which takes no custom events.
fn check(bus: &str) -> Result<(), &'static str> {
    let is_name = |name: &str| {
        (1..=256).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    if bus.starts_with("arn:") {
        return match Arn::of("events", bus).and_then(|arn| arn.resource.strip_prefix("event-bus/")) {
            Some(name) if is_name(name) => Ok(()),
            _ => Err("the ARN is not one of an EventBridge event bus"),
        };
    }
    if is_name(bus) {
        Ok(())
    } else {
        Err("a name has 1 to 256 letters, digits, dots, hyphens and underscores")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_named_by_name_or_arn() {
        for good in [
            "default",
            "invoice.events_1-a",
            "arn:aws:events:eu-west-1:123456789012:event-bus/b",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "aws.partner/x",
            "arn:aws:events:eu-west-1:123456789012:rule/b",
            "arn:aws:sns:eu-west-1:123456789012:event-bus/b",
            &"x".repeat(257),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
