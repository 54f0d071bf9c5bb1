//! What a delivery does about the record that it finds. Pure.

use super::{
    context::Previous,
    policy::Policy,
    record::{Record, State},
};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// Claim it, after an attempt that ended like this.
    Claim(Previous),
    /// Somebody has claimed it; find out whether they are alive.
    Watch,
    /// The effect has happened.
    Duplicate,
    /// Nobody knows, and a person shall decide.
    SetAside,
    /// The id was used for another payload.
    AnotherPayload,
}

/// What a delivery with the payload `hash` does about `found`.
///
/// The only clock in it is compared with `ttl`, days away: a record that should have been swept does
/// not count though it is still there. That of a living holder always counts.
pub(super) fn meet(found: &Record, policy: Policy, hash: &[u8], now_secs: i64) -> Meeting {
    let is_over = found.ttl_secs <= now_secs;
    match found.state {
        State::Released | State::Unknown | State::Done if is_over => Meeting::Claim(Previous::None),
        _ if found.hash != hash => Meeting::AnotherPayload,
        State::Claimed => Meeting::Watch,
        State::Released => Meeting::Claim(Previous::Failed),
        State::Unknown if policy == Policy::Park => Meeting::SetAside,
        State::Unknown => Meeting::Claim(Previous::Unknown),
        State::Done => Meeting::Duplicate,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::record::tests::record, *};

    const POLICIES: [Policy; 3] = [Policy::RetrySameKey, Policy::Reconcile, Policy::Park];

    #[test]
    fn each_state_means_one_thing_whatever_the_policy_and_only_an_unknown_outcome_asks_it() {
        for policy in POLICIES {
            for state in State::ALL {
                let expected = match state {
                    State::Claimed => Meeting::Watch,
                    State::Released => Meeting::Claim(Previous::Failed),
                    State::Done => Meeting::Duplicate,
                    State::Unknown if policy == Policy::Park => Meeting::SetAside,
                    State::Unknown => Meeting::Claim(Previous::Unknown),
                };
                let found = record(state);
                assert_eq!(
                    meet(&found, policy, &found.hash, found.ttl_secs - 1),
                    expected,
                    "{state:?} {policy:?}"
                );
                let other = meet(&found, policy, b"another payload", found.ttl_secs - 1);
                assert_eq!(other, Meeting::AnotherPayload, "{state:?} {policy:?}");
            }
        }
    }

    #[test]
    fn a_record_past_its_time_does_not_count_unless_somebody_may_be_working_on_it() {
        for policy in POLICIES {
            for state in State::ALL {
                let found = record(state);
                let met = meet(&found, policy, &found.hash, found.ttl_secs);
                let expected = match state {
                    State::Claimed => Meeting::Watch,
                    _ => Meeting::Claim(Previous::None),
                };
                assert_eq!(met, expected, "{state:?}");
            }
        }
    }
}
