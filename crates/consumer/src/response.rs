//! What a handler answers, kept in the record for whoever asks again.

use serde::{Serialize, de::DeserializeOwned};

/// Most bytes of a response, as JSON. An item of DynamoDB takes 400 KB, and a reply of Lambda 6 MB.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// What a handler answered when the event had its effect.
///
/// A duplicate gets the same one, for as long as the record is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Response(Kept);

#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Json(String),
    /// The effect happened, but its response could not be kept, for this reason.
    Nothing(String),
}

/// Why there is no response to be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// It was too large or no JSON. The effect has happened all the same.
    #[error("the effect happened, but its response was not kept: {why}")]
    NotKept {
        /// What was wrong with it.
        why: String,
    },
    /// It is not of the shape that was asked for.
    #[error("the response is not of the shape asked for, at line {line}, column {column}")]
    Shape {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

impl Response {
    /// Of what a handler returned; `None` for one that answers nothing (`()` or `None`).
    pub(crate) fn of(value: &impl Serialize) -> Option<Self> {
        // Never an error of the handler: its effect has happened.
        Some(Self(match serde_json::to_string(value) {
            Ok(json) if json == "null" => return None,
            Ok(json) if json.len() <= MAX_RESPONSE_BYTES => Kept::Json(json),
            Ok(json) => Kept::Nothing(format!(
                "it has {} bytes as JSON; at most {MAX_RESPONSE_BYTES} are kept: answer with a reference instead",
                json.len()
            )),
            // The error of serde may quote a value.
            Err(_) => Kept::Nothing("it cannot be written as JSON".to_owned()),
        }))
    }

    /// As JSON.
    ///
    /// # Errors
    /// [`ResponseError::NotKept`].
    pub fn json(&self) -> Result<&str, ResponseError> {
        match &self.0 {
            Kept::Json(json) => Ok(json),
            Kept::Nothing(why) => Err(ResponseError::NotKept { why: why.clone() }),
        }
    }

    /// As the type that the handler returned.
    ///
    /// # Errors
    /// [`ResponseError::NotKept`]; [`ResponseError::Shape`], which names the place and no value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ResponseError> {
        serde_json::from_str(self.json()?).map_err(|error| ResponseError::Shape {
            line: error.line(),
            column: error.column(),
        })
    }

    /// As it stands in a record: JSON, or why there is none.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn stored(&self) -> Result<&str, &str> {
        match &self.0 {
            Kept::Json(json) => Ok(json),
            Kept::Nothing(why) => Err(why),
        }
    }

    /// From a record.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn from_stored(stored: Result<&str, &str>) -> Self {
        Self(match stored {
            Ok(json) => Kept::Json(json.to_owned()),
            Err(why) => Kept::Nothing(why.to_owned()),
        })
    }
}

/// Without its content: a response may hold what no log shows.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kept::Json(json) => write!(f, "Response({} bytes)", json.len()),
            Kept::Nothing(why) => write!(f, "Response({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_what_was_returned_and_nothing_is_none() {
        let response = Response::of(&("paid", 7)).unwrap();
        assert_eq!(response.json(), Ok(r#"["paid",7]"#));
        assert_eq!(response.read::<(String, u32)>(), Ok(("paid".to_owned(), 7)));
        assert_eq!(Response::of(&()), None);
        assert_eq!(Response::of(&None::<u32>), None);
    }

    #[test]
    fn a_response_that_is_too_large_says_how_large_it_is_and_how_large_it_may_be() {
        let fits = "x".repeat(MAX_RESPONSE_BYTES - 2);
        assert!(Response::of(&fits).unwrap().json().is_ok());
        let error = Response::of(&format!("{fits}x"))
            .unwrap()
            .json()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("65537 bytes") && error.contains("at most 65536"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_shape_names_the_place_and_never_the_value() {
        let response = Response::of(&"secret").unwrap();
        let error = response.read::<u32>().unwrap_err();
        assert!(matches!(error, ResponseError::Shape { .. }) && !error.to_string().contains("secret"));
        assert!(!format!("{response:?}").contains("secret"));
    }
}
