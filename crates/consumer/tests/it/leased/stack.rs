//! The same on DynamoDB as LocalStack has it.

use std::time::Duration;

use oncebox_consumer::{DynamoDbDedupe, Outcome};

use super::receiver::{Hang, Policy, Say, deliver_until_settled, invoke, kill_after, on_pings};
use crate::{delivery::Message, ping::Act, stack::Tables};

#[tokio::test]
async fn in_dynamodb_a_killed_holder_is_superseded_and_there_is_one_effect() {
    let tables = Tables::new().await;
    let lease = Duration::from_secs(2);
    for policy in [Policy::RetrySameKey, Policy::Reconcile, Policy::Park] {
        let receiver = policy.receiver();
        let function = || {
            let dedupe = DynamoDbDedupe::new(tables.client.clone(), &tables.dedupe);
            on_pings(tables.empty_builder().dedupe(dedupe), &receiver, policy, lease)
        };
        receiver.script(&[(Hang::AfterItsEffect, Say::Ok)]);
        let message = Message::new(Act::Succeed);
        let (killed, mut first) = (function(), None);
        // It is killed once it had its effect; until then it is let be, however slow the machine is.
        {
            let mut invocation = Box::pin(invoke(&killed, &message));
            while receiver.effects() == 0 && first.is_none() {
                first = kill_after(Duration::from_millis(50), &mut invocation).await;
            }
        }
        assert!(first.is_none());
        let outcomes = deliver_until_settled(2, &message, function).await;
        assert_eq!(receiver.effects(), 1, "{policy:?}");
        let record = tables.record(message.id).await.unwrap();
        let state = record["st"].as_s().unwrap();
        match policy {
            Policy::Park => assert_eq!((outcomes, state.as_str()), (vec![Outcome::Permanent; 2], "unknown")),
            _ => {
                let done = outcomes.iter().filter(|outcome| **outcome == Outcome::Done).count();
                assert_eq!((done, state.as_str()), (1, "done"), "{policy:?}: {outcomes:?}");
            }
        }
    }
}
