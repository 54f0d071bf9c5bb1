//! The claim check: where large data is held, and what it must look like when it is fetched.

use std::fmt::Write as _;

use super::{AttributeError, check_text};
use crate::EnvelopeError;

/// `dataref`, `datalength` and `datasha256`: the data lies in Amazon S3 and not in the envelope.
///
/// The three stand together or not at all, and `data` is absent where they stand. `dataref` alone
/// would be a place and no content: whoever may write to the bucket could change what was said.
///
/// On the wire `datalength` is a JSON number (a `CloudEvents` integer has 32 bits) and `datasha256`
/// is 64 lower-case hexadecimal digits; both are of the data's JSON text, byte by byte as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataRef {
    uri: String,
    bucket_end: usize,
    length: i32,
    sha256: [u8; 32],
}

impl DataRef {
    /// Most bytes that data may have: the largest `CloudEvents` integer (1.0 §3.1).
    pub const MAX_LENGTH: u64 = i32::MAX as u64;
    /// Most bytes of the URI: the scheme, a bucket and a key (Amazon S3 user guide, "Bucket naming
    /// rules" and "Naming Amazon S3 objects").
    const MAX_URI_BYTES: usize = SCHEME.len() + 63 + 1 + 1_024;

    /// Data of `length` bytes with the hash `sha256` at `s3://bucket/key`.
    ///
    /// The key is of S3's safe characters: letters, digits and `/ ! - _ . * ' ( )`. So it stands in
    /// the URI as it is, and there is nothing to escape.
    ///
    /// # Errors
    /// [`EnvelopeError::Invalid`] with the attribute that breaks its rule.
    pub fn new(uri: impl Into<String>, length: u64, sha256: [u8; 32]) -> Result<Self, EnvelopeError> {
        let uri = uri.into();
        check_text(&uri, Self::MAX_URI_BYTES).map_err(|reason| EnvelopeError::invalid("dataref", reason))?;
        let bucket_end = bucket_end(&uri).ok_or_else(|| {
            let expected = "`s3://bucket/key` with a key of letters, digits and `/ ! - _ . * ' ( )`";
            EnvelopeError::invalid("dataref", AttributeError::Format { expected })
        })?;
        let length = i32::try_from(length).ok().filter(|length| *length > 0);
        let length = length.ok_or_else(|| EnvelopeError::invalid("datalength", LENGTH))?;
        Ok(Self {
            uri,
            bucket_end,
            length,
            sha256,
        })
    }

    /// From the three attributes as they stand on the wire.
    pub(crate) fn from_wire(uri: String, length: &serde_json::Value, sha256: &str) -> Result<Self, EnvelopeError> {
        let length = length
            .as_u64()
            .ok_or_else(|| EnvelopeError::invalid("datalength", LENGTH))?;
        let sha256 = from_hex(sha256).ok_or_else(|| {
            let expected = "64 lower-case hexadecimal digits";
            EnvelopeError::invalid("datasha256", AttributeError::Format { expected })
        })?;
        Self::new(uri, length, sha256)
    }

    /// `dataref`, such as `s3://bucket/key`.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.uri[SCHEME.len()..self.bucket_end]
    }

    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.uri[self.bucket_end + 1..]
    }

    /// `datalength`: bytes of the data's JSON text, 1 to [`MAX_LENGTH`](Self::MAX_LENGTH).
    #[must_use]
    pub fn length(&self) -> u64 {
        u64::from(self.length.unsigned_abs())
    }

    /// `datasha256`, as bytes.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// `datasha256`, as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

const SCHEME: &str = "s3://";
const LENGTH: AttributeError = AttributeError::Format {
    expected: "a whole number of bytes from 1 to 2147483647",
};

/// Where the bucket's name ends, if the whole is an S3 URI.
fn bucket_end(uri: &str) -> Option<usize> {
    let (bucket, key) = uri.strip_prefix(SCHEME)?.split_once('/')?;
    let is_edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_bucket = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|b| is_edge(&b) || b == b'-' || b == b'.')
        && bucket.as_bytes().first().is_some_and(is_edge)
        && bucket.as_bytes().last().is_some_and(is_edge);
    let is_key = (1..=1_024).contains(&key.len())
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/!-_.*'()".contains(&b));
    // An HTTP client may take `.` and `..` for steps on a path, and ask for another object.
    let has_steps = key.split('/').any(|step| step == "." || step == "..");
    (is_bucket && is_key && !has_steps).then_some(SCHEME.len() + bucket.len())
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_falls_apart_into_bucket_and_key() {
        let good = DataRef::new("s3://my-bucket.eu/oncebox/2026/a_b!.json", 2, [0xab; 32]).unwrap();
        assert_eq!((good.bucket(), good.key()), ("my-bucket.eu", "oncebox/2026/a_b!.json"));
        assert_eq!((good.length(), good.sha256_hex()), (2, "ab".repeat(32)));
        assert!(DataRef::new(format!("s3://{}/{}", "b".repeat(63), "k".repeat(1_024)), 1, [0; 32]).is_ok());
    }

    #[test]
    fn what_is_no_s3_uri_is_refused() {
        for bad in [
            "",
            "bucket/key",
            "S3://bucket/key",
            "https://bucket/key",
            "s3://bucket",
            "s3://bucket/",
            "s3:///key",
            "s3://ab/key",
            "s3://Bucket/key",
            "s3://-bucket/key",
            "s3://bucket./key",
            "s3://bucket/a key",
            "s3://bucket/a%20key",
            "s3://bucket/k?versionId=1",
            "s3://bucket/k#f",
            "s3://bucket/../other/key",
            "s3://bucket/a/./b",
            "s3://bucket/ké",
            &format!("s3://bucket/{}", "k".repeat(1_025)),
            &format!("s3://{}/key", "b".repeat(64)),
        ] {
            assert!(DataRef::new(bad, 1, [0; 32]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_length_is_at_least_one_byte_and_fits_a_cloudevents_integer() {
        for (length, is_good) in [
            (0, false),
            (1, true),
            (DataRef::MAX_LENGTH, true),
            (DataRef::MAX_LENGTH + 1, false),
        ] {
            assert_eq!(
                DataRef::new("s3://bucket/key", length, [0; 32]).is_ok(),
                is_good,
                "{length}"
            );
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let hex: String = "0123456789abcdef".repeat(4);
        assert_eq!(from_hex(&hex).map(|bytes| bytes[..2].to_vec()), Some(vec![0x01, 0x23]));
        for bad in [
            "",
            &hex[1..],
            &hex[2..],
            &hex.to_uppercase(),
            &hex.replace('0', "g"),
            &format!("{hex}00"),
        ] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }
}
