//! Each role gives what its process asks AWS for, and nothing else.
//!
//! The processes are the real ones, driven through every call that they know; that these are all calls in the
//! code, [`code`] sees to. Where a policy has a right that is never asked for, the reason stands beside it.

mod code;
mod functions;
mod operations;
mod operators;
mod relay;
mod templates;

use std::collections::BTreeSet;

use serde_json::Value;
use system_tests::rights::{Calls, Explained, Fault, Policy, Statement, compare};

/// The role fits the calls, and the comparison is one that finds faults in it.
pub(crate) fn assert_fits(role: &str, policy: &Policy, calls: &Calls, explained: &[Explained]) {
    let faults = compare(policy, calls, explained);
    let told: Vec<String> = faults.iter().map(|fault| format!("{role} {fault}")).collect();
    assert!(faults.is_empty(), "{}\ncalls: {:#?}", told.join("\n"), calls.operations);
    for (nth, statement) in policy.statements.iter().enumerate() {
        for action in &statement.actions {
            let mut planted = policy.clone();
            planted.statements[nth].actions.retain(|kept| kept != action);
            let found = compare(&planted, calls, explained);
            let is_missed = found.iter().any(|fault| match fault {
                Fault::Lacks { action: lacked, .. } | Fault::Stale { action: lacked } => lacked == action,
                _ => false,
            });
            assert!(is_missed, "{role} without {action} is not told: {found:?}");
        }
        let mut planted = policy.clone();
        planted.statements[nth].actions.push("sqs:PurgeQueue".to_owned());
        assert_tells_excess(role, &planted, calls, explained, "sqs:PurgeQueue");
    }
    let needs = calls.needs.first().expect("a call that asks for a right");
    let mut planted = policy.clone();
    planted.statements.push(Statement {
        actions: vec![needs.action.clone()],
        resources: vec![needs.resource.clone() + "-of-somebody-else"],
        condition: Value::Null,
    });
    assert_tells_excess(role, &planted, calls, explained, &needs.action);
}

fn assert_tells_excess(role: &str, planted: &Policy, calls: &Calls, explained: &[Explained], action: &str) {
    let found = compare(planted, calls, explained);
    let is_told = found
        .iter()
        .any(|fault| matches!(fault, Fault::Exceeds { action: told, .. } if told == action));
    assert!(is_told, "{role} with {action} besides is not told: {found:?}");
}

/// Exactly these calls were made, so that the list may be believed.
pub(crate) fn assert_calls(calls: &Calls, expected: &[&[&str]]) {
    let expected: BTreeSet<String> = expected.concat().into_iter().map(ToOwned::to_owned).collect();
    assert_eq!(calls.operations, expected);
}
