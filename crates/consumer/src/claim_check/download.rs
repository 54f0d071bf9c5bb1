//! Whether what is downloaded is what the envelope refers to. Pure.

use oncebox_envelope::DataRef;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Reason};

/// The data so far; never more than the envelope says.
pub(crate) struct Download<'a> {
    expected: &'a DataRef,
    bytes: Vec<u8>,
}

impl<'a> Download<'a> {
    /// A download of an object that has `found_length` bytes, if the store says how many.
    ///
    /// # Errors
    /// Another length than the envelope's: nothing needs to be read.
    pub(crate) fn begin(expected: &'a DataRef, found_length: Option<u64>) -> Result<Self, Failure> {
        match found_length {
            Some(found) if found != expected.length() => Err(wrong_length(found, expected)),
            Some(_) | None => Ok(Self {
                expected,
                bytes: Vec::new(),
            }),
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// More than the envelope says; stop reading.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let found = length(&self.bytes).saturating_add(length(bytes));
        if found > self.expected.length() {
            return Err(mismatch(format!(
                "the object at `dataref` has more than the {} bytes of `datalength`",
                self.expected.length()
            )));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The data, after the last byte.
    ///
    /// # Errors
    /// Too few bytes, other bytes than the envelope says, or no JSON.
    pub(crate) fn finish(self) -> Result<Box<RawValue>, Failure> {
        let found = length(&self.bytes);
        if found != self.expected.length() {
            return Err(wrong_length(found, self.expected));
        }
        if Sha256::digest(&self.bytes)[..] != self.expected.sha256()[..] {
            return Err(mismatch(
                "the object at `dataref` is not the one of `datasha256`; it was changed",
            ));
        }
        let json = String::from_utf8(self.bytes).ok();
        json.and_then(|json| RawValue::from_string(json).ok())
            .ok_or_else(|| mismatch("the object at `dataref` is not JSON; the data of an event is"))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn wrong_length(found: u64, expected: &DataRef) -> Failure {
    mismatch(format!(
        "the object at `dataref` has {found} bytes and not the {} of `datalength`",
        expected.length()
    ))
}

fn mismatch(text: impl std::fmt::Display) -> Failure {
    Failure::permanent(Reason::ClaimCheck, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(data: &[u8]) -> DataRef {
        let sha256 = Sha256::digest(data).into();
        DataRef::new("s3://bucket/key", length(data), sha256).unwrap()
    }

    fn fault(download: Result<Box<RawValue>, Failure>) -> String {
        match download.unwrap_err() {
            Failure::Permanent(Reason::ClaimCheck, text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn run(expected: &DataRef, chunks: &[&[u8]]) -> Result<Box<RawValue>, Failure> {
        let mut download = Download::begin(expected, None)?;
        for chunk in chunks {
            download.push(chunk)?;
        }
        download.finish()
    }

    #[test]
    fn the_right_bytes_are_the_data_in_whatever_pieces_they_come() {
        let expected = reference(br#"{"n":1}"#);
        for chunks in [&[&br#"{"n":1}"#[..]][..], &[&b"{"[..], b"", br#""n":1}"#]] {
            assert_eq!(run(&expected, chunks).unwrap().get(), r#"{"n":1}"#);
        }
    }

    #[test]
    fn other_bytes_are_refused_and_the_fault_says_why() {
        let expected = reference(br#"{"n":1}"#);
        assert_eq!(
            fault(run(&expected, &[br#"{"n":2}"#])),
            "the object at `dataref` is not the one of `datasha256`; it was changed"
        );
        assert_eq!(
            fault(run(&expected, &[br#"{"n":"#])),
            "the object at `dataref` has 5 bytes and not the 7 of `datalength`"
        );
        assert_eq!(
            fault(run(&expected, &[br#"{"n":1}"#, b" "])),
            "the object at `dataref` has more than the 7 bytes of `datalength`"
        );
        for other in [&b"{n:1}"[..], b"\xff\xfe"] {
            assert_eq!(
                fault(run(&reference(other), &[other])),
                "the object at `dataref` is not JSON; the data of an event is"
            );
        }
    }

    #[test]
    fn a_length_that_is_known_to_be_wrong_ends_it_before_the_first_byte() {
        let expected = reference(br#"{"n":1}"#);
        for (found, is_good) in [(Some(7), true), (None, true), (Some(6), false), (Some(u64::MAX), false)] {
            assert_eq!(Download::begin(&expected, found).is_ok(), is_good, "{found:?}");
        }
    }
}
