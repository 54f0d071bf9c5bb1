//! What a role gives.

use serde::Deserialize;
use serde_json::Value;

use super::Need;

/// All statements of a role or of a managed policy.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// They add up.
    pub statements: Vec<Statement>,
}

/// Actions that are allowed on resources. A statement that denies, or says `NotAction`, is not read: roles here
/// have none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Such as `sqs:SendMessage`.
    pub actions: Vec<String>,
    /// ARNs, with `*` and `?` as wildcards.
    pub resources: Vec<String>,
    /// As it is written; null where there is none.
    pub condition: Value,
}

impl Policy {
    /// Whether it allows this.
    ///
    /// # Errors
    /// A condition that is not understood; it is named.
    pub fn allows(&self, need: &Need) -> Result<bool, String> {
        for statement in &self.statements {
            for action in &statement.actions {
                for resource in &statement.resources {
                    if statement.allows(action, resource, need)? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Each action with each resource.
    pub fn grants(&self) -> impl Iterator<Item = (&Statement, &str, &str)> {
        self.statements.iter().flat_map(|statement| {
            let actions = statement.actions.iter();
            actions.flat_map(move |action| {
                let resources = statement.resources.iter();
                resources.map(move |resource| (statement, action.as_str(), resource.as_str()))
            })
        })
    }
}

impl Statement {
    /// Whether this action on this resource, under the statement's condition, is what is asked for.
    pub(super) fn allows(&self, action: &str, resource: &str, need: &Need) -> Result<bool, String> {
        // Actions are compared without regard to case, resources with it (IAM User Guide, "IAM JSON policy elements").
        let of_action = matches(&action.to_lowercase(), &need.action.to_lowercase());
        if !of_action || !matches(resource, &need.resource) {
            return Ok(false);
        }
        self.holds(need)
    }

    fn holds(&self, need: &Need) -> Result<bool, String> {
        let Some(condition) = self.condition.as_object() else {
            return Ok(true);
        };
        let not_understood = || format!("the condition {}", self.condition);
        for (operator, keys) in condition {
            for (key, wanted) in keys.as_object().ok_or_else(not_understood)? {
                let wanted = wanted.as_str().ok_or_else(not_understood)?;
                match (operator.as_str(), key.as_str()) {
                    ("ForAllValues:StringLike", "dynamodb:LeadingKeys") => {
                        // The owner alone is known of a key, so what comes after it is any text.
                        let owner = need.leading_key.as_deref().unwrap_or_default();
                        if !matches(wanted, owner) {
                            return Ok(false);
                        }
                    }
                    _ => return Err(not_understood()),
                }
            }
        }
        Ok(true)
    }
}

/// `*` is any text, `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((place, from)) = star else { return false };
                star = Some((place, from + 1));
                at = place + 1;
                read = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_matched_as_iam_does() {
        for (pattern, text) in [
            ("a", "a"),
            ("*", ""),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("take-payment#*", "take-payment#"),
            ("a*b*c", "aXbYbZc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a", "ab"),
            ("a?", "a"),
            ("a*c", "abd"),
            ("", "a"),
            ("take-payment#*", "audit-tap#"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }
}
