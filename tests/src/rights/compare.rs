//! What was asked for beside what is given.

use std::fmt;

use super::{Calls, Policy};

/// A right that a role has though no process of ours asks for it, and why.
#[derive(Debug, Clone, Copy)]
pub struct Explained {
    /// The action, in full.
    pub action: &'static str,
    /// Who uses it, and where that is written.
    pub why: &'static str,
}

/// What is wrong with a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A call was made that the role does not allow.
    Lacks {
        /// The action.
        action: String,
        /// On what.
        resource: String,
        /// And for whose items.
        leading_key: Option<String>,
    },
    /// The role allows what was never asked for, and nobody has explained it.
    Exceeds {
        /// The action.
        action: String,
        /// On what.
        resource: String,
    },
    /// The role has no such right, or it was asked for: the explanation is out of date.
    Stale {
        /// The action.
        action: String,
    },
    /// A call or a condition that this comparison knows nothing of.
    NotUnderstood {
        /// What it is.
        what: String,
    },
}

/// What is wrong with `policy` for a process that makes these calls; nothing if the list is empty.
#[must_use]
pub fn compare(policy: &Policy, calls: &Calls, explained: &[Explained]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = calls.unknown.iter().map(|what| not_understood(what)).collect();
    for need in &calls.needs {
        match policy.allows(need) {
            Ok(true) => {}
            Ok(false) => faults.push(Fault::Lacks {
                action: need.action.clone(),
                resource: need.resource.clone(),
                leading_key: need.leading_key.clone(),
            }),
            Err(what) => faults.push(not_understood(&what)),
        }
    }
    for (statement, action, resource) in policy.grants() {
        let is_used = calls.needs.iter().any(|need| {
            let is_allowed = matches!(statement.allows(action, resource, need), Ok(true));
            is_allowed && !is_wide(resource, &need.resource)
        });
        let is_explained = explained.iter().any(|explained| explained.action == action);
        if action.contains('*') || !(is_used || is_explained) {
            faults.push(Fault::Exceeds {
                action: action.to_owned(),
                resource: resource.to_owned(),
            });
        }
    }
    for Explained { action, .. } in explained {
        let is_given = policy.grants().any(|(_, given, _)| given == *action);
        let is_asked = calls.needs.iter().any(|need| need.action == *action);
        if !is_given || is_asked {
            let action = (*action).to_owned();
            faults.push(Fault::Stale { action });
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

/// A wildcard gives what nobody has asked for, whatever else it gives. It is as narrow as it can be for an action that takes
/// no resource, and for the objects of a bucket.
fn is_wide(given: &str, asked: &str) -> bool {
    let in_bucket = given
        .strip_prefix("arn:aws:s3:::")
        .and_then(|rest| rest.split_once('/'));
    let narrow = in_bucket.map_or(given, |(bucket, _)| bucket);
    asked != "*" && narrow.contains(['*', '?'])
}

fn not_understood(what: &str) -> Fault {
    let what = what.to_owned();
    Fault::NotUnderstood { what }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks {
                action,
                resource,
                leading_key,
            } => {
                let owner = leading_key.as_deref().unwrap_or_default();
                write!(f, "lacks {action} on {resource} {owner}")
            }
            Self::Exceeds { action, resource } => {
                write!(
                    f,
                    "allows {action} on {resource}, which was never asked for: take it out, or explain it"
                )
            }
            Self::Stale { action } => write!(f, "{action} is explained, and is not given or was asked for"),
            Self::NotUnderstood { what } => {
                write!(f, "{what} is not understood: say what it asks for, with the source")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{super::Statement, *};
    use crate::rights::Need;

    fn need(action: &str, resource: &str, leading_key: Option<&str>) -> Need {
        Need {
            action: action.to_owned(),
            resource: resource.to_owned(),
            leading_key: leading_key.map(ToOwned::to_owned),
        }
    }

    fn calls(needs: impl IntoIterator<Item = Need>) -> Calls {
        Calls {
            needs: BTreeSet::from_iter(needs),
            ..Calls::default()
        }
    }

    fn policy(actions: &[&str], resource: &str, condition: Value) -> Policy {
        Policy {
            statements: vec![Statement {
                actions: actions.iter().map(|action| (*action).to_owned()).collect(),
                resources: vec![resource.to_owned()],
                condition,
            }],
        }
    }

    fn told(policy: &Policy, calls: &Calls, explained: &[Explained]) -> Vec<String> {
        let faults = compare(policy, calls, explained);
        faults
            .iter()
            .map(|fault| fault.to_string().split(',').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn a_role_that_gives_what_is_asked_for_and_no_more_has_no_fault() {
        let asked = calls([need("sqs:SendMessage", "arn:q", None)]);
        assert_eq!(
            compare(&policy(&["sqs:SendMessage"], "arn:q", Value::Null), &asked, &[]),
            []
        );
        let explained = [Explained {
            action: "logs:PutLogEvents",
            why: "Lambda",
        }];
        let both = policy(&["SQS:sendmessage", "logs:PutLogEvents"], "arn:q", Value::Null);
        assert_eq!(compare(&both, &asked, &explained), []);
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_are_named() {
        let asked = calls([need("sqs:SendMessage", "arn:q", None)]);
        let other = policy(&["sqs:SendMessage"], "arn:other", Value::Null);
        let both = ["lacks sqs:SendMessage on arn:q ", "allows sqs:SendMessage on arn:other"];
        assert_eq!(told(&other, &asked, &[]), both);
        for (action, resource) in [
            ("sqs:*", "arn:q"),
            ("sqs:SendMessage", "*"),
            ("sqs:SendMessage", "arn:*"),
        ] {
            let wide = policy(&[action], resource, Value::Null);
            assert_eq!(told(&wide, &asked, &[]), [format!("allows {action} on {resource}")]);
        }
    }

    #[test]
    fn a_wildcard_is_narrow_where_nothing_is_narrower() {
        let bucket = "arn:aws:s3:::bucket";
        for (action, resource, asked) in [
            ("events:ListRules", "*", "*"),
            (
                "s3:PutObject",
                &format!("{bucket}/prefix/*"),
                &format!("{bucket}/prefix/a/b.json"),
            ),
        ] {
            let calls = calls([need(action, asked, None)]);
            assert_eq!(compare(&policy(&[action], resource, Value::Null), &calls, &[]), []);
        }
        let calls = calls([need("s3:PutObject", &format!("{bucket}/a"), None)]);
        let all = policy(&["s3:PutObject"], "arn:aws:s3:::*/a", Value::Null);
        assert_eq!(compare(&all, &calls, &[]).len(), 1);
    }

    #[test]
    fn a_leading_key_is_part_of_the_right() {
        let only = |owner: &str| json!({ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": format!("{owner}#*") } });
        let asked = calls([need("dynamodb:PutItem", "arn:t", Some("mine#"))]);
        assert_eq!(
            compare(&policy(&["dynamodb:PutItem"], "arn:t", only("mine")), &asked, &[]),
            []
        );
        let others = policy(&["dynamodb:PutItem"], "arn:t", only("theirs"));
        let both = [
            "lacks dynamodb:PutItem on arn:t mine#",
            "allows dynamodb:PutItem on arn:t",
        ];
        assert_eq!(told(&others, &asked, &[]), both);
    }

    #[test]
    fn what_is_not_understood_is_no_pass() {
        let asked = Calls {
            unknown: BTreeSet::from(["sqs:PurgeQueue".to_owned()]),
            ..calls([need("sqs:SendMessage", "arn:q", None)])
        };
        let odd = policy(
            &["sqs:SendMessage"],
            "arn:q",
            json!({ "Bool": { "aws:SecureTransport": "true" } }),
        );
        let found = compare(&odd, &asked, &[]);
        let count = |of: fn(&Fault) -> bool| found.iter().filter(|fault| of(fault)).count();
        assert_eq!(
            count(|fault| matches!(fault, Fault::NotUnderstood { .. })),
            2,
            "{found:?}"
        );
    }

    #[test]
    fn an_explanation_that_is_out_of_date_is_a_fault() {
        let asked = calls([need("sqs:SendMessage", "arn:q", None)]);
        let given = policy(&["sqs:SendMessage"], "arn:q", Value::Null);
        for action in ["sqs:SendMessage", "kms:Decrypt"] {
            let explained = [Explained {
                action,
                why: "nobody knows",
            }];
            let stale = format!("{action} is explained");
            assert_eq!(told(&given, &asked, &explained), [stale]);
        }
    }
}
