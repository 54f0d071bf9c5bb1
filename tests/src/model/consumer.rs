//! Claim, effect and completion: two consumers.
