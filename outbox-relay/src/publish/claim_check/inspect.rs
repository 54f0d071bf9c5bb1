//! Whether a claim check's bucket is there.

use aws_sdk_s3::error::ProvideErrorMetadata as _;

use super::ClaimCheck;
use crate::publish::inspect::Remark;

impl ClaimCheck {
    /// Writes nothing: the relay needs no more than `s3:PutObject`, and that shows only by putting.
    pub(in crate::publish) async fn inspect(&self) -> Remark {
        let bucket = &self.bucket;
        let asked = self.client.head_bucket().bucket(bucket).send().await;
        let Err(error) = asked else {
            return Remark::ok(format!(
                "the claim check's bucket {bucket} is there; whether s3:PutObject is allowed shows with the first object"
            ));
        };
        // HEAD has no body, so the status is all that is said.
        let status = error.raw_response().map(|response| response.status().as_u16());
        match status {
            Some(404) => Remark::fault(format!(
                "the claim check's bucket {bucket} does not exist; create it or correct claim_check.bucket"
            )),
            Some(301) => Remark::fault(format!(
                "the claim check's bucket {bucket} is in another region; name one in the relay's region"
            )),
            Some(403) => Remark::warning(format!(
                "the claim check's bucket {bucket} may not be looked at; allow s3:ListBucket to have it checked (the \
                 relay itself needs s3:PutObject alone)"
            )),
            Some(_) | None => Remark::warning(format!(
                "the claim check's bucket {bucket} could not be looked at ({})",
                error.code().unwrap_or("no answer")
            )),
        }
    }
}
