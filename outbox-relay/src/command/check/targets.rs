//! The sinks' targets.

use std::time::Duration;

use super::finding::{Area, Findings};
use crate::{
    command::run,
    config::{Config, SinkConfig, same_target},
    publish::{
        Clients, Target,
        consumers::inspect_consumers,
        inspect::{Use, inspect},
    },
};

/// Longest that a question to AWS may take. Nothing is published, so no lease bounds it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Checks the target of each sink.
pub(super) async fn check(config: &Config, findings: &mut Findings) {
    let aws = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let clients = Clients::new(&aws, PATIENCE);
    let mut found: Vec<(&str, Target)> = Vec::new();
    for sink in &config.sinks {
        if let Some(target) = check_target(sink, &clients, findings).await {
            if let Some((other, _)) = found.iter().find(|(_, other)| other.arn() == target.arn()) {
                let problem = same_target(other, &sink.name);
                findings.fault(Area::Target(sink.name.clone()), format!("{} {problem}", target.arn()));
            }
            found.push((&sink.name, target));
        }
    }
}

async fn check_target(sink: &SinkConfig, clients: &Clients, findings: &mut Findings) -> Option<Target> {
    let about = || Area::Target(sink.name.clone());
    let target = match Target::resolve(clients, &sink.target, sink.claim_check.as_ref()).await {
        Ok(target) => target,
        Err(error) => {
            findings.fault(about(), format!("{}: {error}", sink.target.key()));
            return None;
        }
    };
    findings.ok(
        about(),
        format!(
            "{} exists; whether it may be sent to shows only when something is sent, which this command does not do",
            target.arn()
        ),
    );
    if let Err(failure) = run::bundle(sink, &target) {
        findings.fault(about(), failure.to_string());
    }
    let used = Use {
        bundles: sink.bundle.is_some(),
        claim_check: sink.claim_check.is_some(),
    };
    for remark in inspect(&target, used).await {
        findings.remark(about(), remark);
    }
    for remark in inspect_consumers(clients, &target).await {
        findings.remark(about(), remark);
    }
    Some(target)
}
