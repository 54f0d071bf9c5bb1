//! Type globs: `invoice.*` and the like.

/// Turns a glob over event types into a SQL `LIKE` pattern: `*` is any text, dots included, `?` one
/// character.
///
/// # Errors
/// What is wrong with the glob.
pub(crate) fn like(glob: &str) -> Result<String, &'static str> {
    if glob.is_empty() {
        return Err("an empty pattern matches no type; write `*` for all");
    }
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-*?".contains(c);
    if !glob.chars().all(is_allowed) {
        return Err("a pattern has lower-case letters, digits, `.`, `_`, `-`, `*` (any text) and `?` (one character)");
    }
    let mut like = String::with_capacity(glob.len() + 4);
    for c in glob.chars() {
        match c {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '_' => like.push_str("\\_"),
            other => like.push(other),
        }
    }
    Ok(like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_becomes_a_like_pattern() {
        assert_eq!(like("invoice.*").unwrap(), "invoice.%");
        assert_eq!(like("a_b.v?").unwrap(), "a\\_b.v_");
        for bad in ["", "Invoice.*", "a%", "a b", "[ab]", "a\\"] {
            assert!(like(bad).is_err(), "{bad}");
        }
    }
}
