//! What the services say.

use super::request::Service;

/// An answer's status and type; its body is written beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: &'static str,
    pub(super) content_type: &'static str,
}

const JSON: &str = "application/x-amz-json-1.0";
const XML: &str = "text/xml";
pub(super) const OK_JSON: Head = Head::ok(JSON);
pub(super) const OK_XML: Head = Head::ok(XML);
pub(super) const OK_BINARY: Head = Head::ok("application/octet-stream");
pub(super) const BAD_REQUEST: Head = Head {
    status: "400 Bad Request",
    content_type: JSON,
};
const UNAVAILABLE: &str = "503 Service Unavailable";

impl Head {
    const fn ok(content_type: &'static str) -> Self {
        Self {
            status: "200 OK",
            content_type,
        }
    }

    /// Of an answer to a batch.
    pub(super) fn of(service: Service) -> Self {
        match service {
            Service::Sqs | Service::EventBridge => OK_JSON,
            Service::Sns => OK_XML,
        }
    }
}

/// 503, as the service says it.
pub(super) fn unavailable(service: Service, body: &mut Vec<u8>) -> Head {
    let (content_type, text): (_, &[u8]) = match service {
        Service::Sqs | Service::EventBridge => {
            (JSON, br#"{"__type":"com.amazonaws#ServiceUnavailable","message":"on purpose"}"#)
        }
        Service::Sns => (
            XML,
            b"<ErrorResponse><Error><Type>Receiver</Type><Code>ServiceUnavailable</Code><Message>on purpose</Message></Error><RequestId>r</RequestId></ErrorResponse>",
        ),
    };
    body.extend_from_slice(text);
    Head {
        status: UNAVAILABLE,
        content_type,
    }
}

/// Writes the answer to a batch: begin, an entry each, end. Failures are gathered meanwhile, since
/// SQS and SNS list them apart.
pub(super) struct Batch {
    service: Service,
    is_fifo: bool,
    failed: Vec<u8>,
    failures: usize,
    entries: usize,
}

// The SDK checks no digest of a reply; constants of the right length make it as long as a real one.
const SQS_SUCCESS: &[u8] = br#"","MessageId":"5fea7756-0ea4-451a-a703-a558b933e274","MD5OfMessageBody":"fafb00f5732ab283681e124bf8747ed1","MD5OfMessageAttributes":"3ae8f24a165a8cedc005670c81a27295""#;
const SQS_SEQUENCE: &[u8] = br#","SequenceNumber":"18849496460467696128""#;

impl Batch {
    pub(super) fn begin(service: Service, is_fifo: bool, body: &mut Vec<u8>) -> Self {
        body.extend_from_slice(match service {
            Service::Sqs => br#"{"Successful":["#,
            Service::EventBridge => br#"{"Entries":["#,
            Service::Sns => br#"<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult><Successful>"#.as_slice(),
        });
        Self {
            service,
            is_fifo,
            failed: Vec::new(),
            failures: 0,
            entries: 0,
        }
    }

    pub(super) fn success(&mut self, id: &[u8], body: &mut Vec<u8>) {
        self.entries += 1;
        let is_first = self.entries - self.failures == 1;
        match self.service {
            Service::Sqs => {
                body.extend_from_slice(if is_first {
                    br#"{"Id":""#
                } else {
                    br#",{"Id":""#.as_slice()
                });
                body.extend_from_slice(id);
                body.extend_from_slice(SQS_SUCCESS);
                if self.is_fifo {
                    body.extend_from_slice(SQS_SEQUENCE);
                }
                body.push(b'}');
            }
            Service::EventBridge => {
                self.separate(body);
                body.extend_from_slice(br#"{"EventId":"11710aed-b79e-4468-a20b-bb3c0c3b4860"}"#);
            }
            Service::Sns => member(body, id, b"<MessageId>5fea7756-0ea4-451a-a703-a558b933e274</MessageId>"),
        }
    }

    pub(super) fn failure(&mut self, id: &[u8], body: &mut Vec<u8>) {
        self.entries += 1;
        self.failures += 1;
        match self.service {
            Service::Sqs => {
                if self.failures > 1 {
                    self.failed.push(b',');
                }
                self.failed.extend_from_slice(br#"{"Id":""#);
                self.failed.extend_from_slice(id);
                self.failed
                    .extend_from_slice(br#"","SenderFault":false,"Code":"InternalError","Message":"on purpose"}"#);
            }
            Service::EventBridge => {
                self.separate(body);
                body.extend_from_slice(br#"{"ErrorCode":"InternalFailure","ErrorMessage":"on purpose"}"#);
            }
            Service::Sns => member(
                &mut self.failed,
                id,
                b"<Code>InternalFailure</Code><Message>on purpose</Message><SenderFault>false</SenderFault>",
            ),
        }
    }

    pub(super) fn end(self, body: &mut Vec<u8>) {
        match self.service {
            Service::Sqs if self.failures == 0 => body.extend_from_slice(b"]}"),
            Service::Sqs => {
                body.extend_from_slice(br#"],"Failed":["#);
                body.extend_from_slice(&self.failed);
                body.extend_from_slice(b"]}");
            }
            Service::EventBridge => {
                body.extend_from_slice(format!(r#"],"FailedEntryCount":{}}}"#, self.failures).as_bytes());
            }
            Service::Sns => {
                body.extend_from_slice(b"</Successful><Failed>");
                body.extend_from_slice(&self.failed);
                body.extend_from_slice(b"</Failed></PublishBatchResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishBatchResponse>");
            }
        }
    }

    fn separate(&self, body: &mut Vec<u8>) {
        if self.entries > 1 {
            body.push(b',');
        }
    }
}

fn member(body: &mut Vec<u8>, id: &[u8], rest: &[u8]) {
    body.extend_from_slice(b"<member><Id>");
    body.extend_from_slice(id);
    body.extend_from_slice(b"</Id>");
    body.extend_from_slice(rest);
    body.extend_from_slice(b"</member>");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(service: Service) -> String {
        let mut body = Vec::new();
        let mut batch = Batch::begin(service, true, &mut body);
        batch.failure(b"0", &mut body);
        batch.success(b"1", &mut body);
        batch.failure(b"2", &mut body);
        batch.success(b"3", &mut body);
        batch.end(&mut body);
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn each_entry_is_answered_in_the_services_own_form() {
        let sqs: serde_json::Value = serde_json::from_str(&written(Service::Sqs)).unwrap();
        let ids = |list: &str| {
            sqs[list]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["Id"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (ids("Successful"), ids("Failed")),
            (vec!["1".into(), "3".into()], vec!["0".into(), "2".into()])
        );

        let events: serde_json::Value = serde_json::from_str(&written(Service::EventBridge)).unwrap();
        assert_eq!(events["FailedEntryCount"], 2);
        let failed = events["Entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e.get("ErrorCode").is_some());
        assert_eq!(failed.collect::<Vec<_>>(), [true, false, true, false]);

        let sns = written(Service::Sns);
        let (successful, failed) = sns.split_once("<Failed>").unwrap();
        for (part, ids) in [(successful, ["1", "3"]), (failed, ["0", "2"])] {
            assert_eq!(part.matches("<Id>").count(), 2, "{sns}");
            assert!(ids.iter().all(|id| part.contains(&format!("<Id>{id}</Id>"))), "{sns}");
        }
    }
}
