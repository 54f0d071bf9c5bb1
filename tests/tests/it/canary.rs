//! Secrets and payloads are in nothing that a process says, whatever its level of logging.
//!
//! A text of its own is planted in each place that holds something secret. Then everything that a process
//! prints, serves or writes beside its messages is searched for it, also in the forms that programs print bytes in.

mod commands;
mod functions;
mod relay;

use std::fmt::Write as _;

use uuid::Uuid;

/// Texts that are planted, each with the place where it stands.
#[derive(Debug, Default)]
pub(crate) struct Canaries(Vec<(&'static str, String)>);

impl Canaries {
    /// A new one, for this place. Letters and digits, so that no protocol has to escape it.
    pub(crate) fn plant(&mut self, place: &'static str) -> String {
        let text = format!("canary{}", Uuid::new_v4().simple());
        self.keep(place, &text);
        text
    }

    /// A text that stands there for reasons of its own.
    pub(crate) fn keep(&mut self, place: &'static str, text: &str) {
        self.0.push((place, text.to_owned()));
    }

    /// The one of this place.
    pub(crate) fn text(&self, place: &str) -> String {
        let planted = self.0.iter().find(|(planted, _)| *planted == place);
        planted.map(|(_, text)| text.clone()).unwrap()
    }

    /// None of them is in this.
    pub(crate) fn assert_absent(&self, from: &str, said: &str) {
        self.assert_absent_but(&[], from, said);
    }

    /// As [`Canaries::assert_absent`], but for these places: what is shown there because it was asked for.
    pub(crate) fn assert_absent_but(&self, shown: &[&str], from: &str, said: &str) {
        let looked_for = self.0.iter().filter(|(place, _)| !shown.contains(place));
        let leaks: Vec<String> = looked_for
            .filter_map(|(place, text)| {
                let at = forms(text).iter().find_map(|form| said.find(form.as_str()))?;
                let line = said[..at].rfind('\n').map_or(0, |end| end + 1);
                let line = said[line..].lines().next().unwrap_or_default();
                Some(format!("the {place} stands in {from}: {line:.2000}"))
            })
            .collect();
        assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    }
}

/// A text as it stands, and as programs print its bytes: hexadecimal, as a list of numbers, in base 64.
fn forms(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    let hex = |upper: bool| {
        text.bytes().fold(String::new(), |mut all, byte| {
            let _ = if upper {
                write!(all, "{byte:02X}")
            } else {
                write!(all, "{byte:02x}")
            };
            all
        })
    };
    forms.extend([hex(false), hex(true)]);
    let numbers: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
    forms.extend([numbers.join(", "), numbers.join(",")]);
    forms.extend((0..3).map(|before| base64_within(text.as_bytes(), before)));
    forms
}

/// What stays the same of a text in base 64 when `before` bytes modulo three stand before it.
fn base64_within(text: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = text[(3 - before) % 3..].chunks_exact(3);
    whole
        .flat_map(|three| {
            let bits = three.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
            [18, 12, 6, 0].map(|shift| char::from(DIGITS[bits >> shift & 63]))
        })
        .collect()
}

#[test]
fn a_canary_is_found_in_every_form_that_programs_print() {
    let mut canaries = Canaries::default();
    canaries.keep("data", "canary");
    for said in [
        "a\nb canary c",
        "{\\\"data\\\":\\\"canary\\\"}",
        "63616e617279",
        "63616E617279",
        "[1, 99, 97, 110, 97, 114, 121, 2]",
        "[99,97,110,97,114,121]",
        "Y2FuYXJ5",     // canary
        "LWNhbmFyeQ==", // -canary
        "LS1jYW5hcnk=", // --canary
    ] {
        let found = std::panic::catch_unwind(|| canaries.assert_absent("a log", said));
        assert!(found.is_err(), "{said}");
    }
    canaries.assert_absent("a log", "nothing");
    canaries.assert_absent_but(&["data"], "a log", "canary");
}
