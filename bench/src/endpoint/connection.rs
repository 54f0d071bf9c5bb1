//! One HTTP/1.1 connection: a request, its answer, the next request.

use std::{io, rc::Rc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    answer::{self, Head},
    request::{self, Action, Service},
    settings::Settings,
};
use crate::process::monotonic_ns;

const MAX_HEADERS: usize = 64;
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// What a request's head says.
struct RequestHead {
    length: usize,
    content_length: usize,
    is_post: bool,
    path: String,
    target: Option<Vec<u8>>,
    host: String,
}

/// Serves a connection until the client closes it.
pub(super) async fn run(mut socket: TcpStream, shared: Rc<Shared>) -> io::Result<()> {
    let mut input = Vec::with_capacity(64 * 1024);
    let (mut body, mut output) = (Vec::new(), Vec::new());
    loop {
        let Some(head) = read_head(&mut socket, &mut input).await? else {
            return Ok(());
        };
        let end = head.length + head.content_length;
        if end > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        while input.len() < end {
            input.reserve(end - input.len());
            if socket.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        body.clear();
        let said = serve(&shared, &head, &input[head.length..end], &mut body).await;
        output.clear();
        output.extend_from_slice(b"HTTP/1.1 ");
        output.extend_from_slice(said.status.as_bytes());
        output.extend_from_slice(b"\r\ncontent-type: ");
        output.extend_from_slice(said.content_type.as_bytes());
        output.extend_from_slice(b"\r\nx-amzn-requestid: 7a62c49f-347e-4fc4-9331-6e8e7a96aa73\r\ncontent-length: ");
        output.extend_from_slice(body.len().to_string().as_bytes());
        output.extend_from_slice(b"\r\n\r\n");
        output.extend_from_slice(&body);
        socket.write_all(&output).await?;
        input.drain(..end);
    }
}

/// Reads until the head is complete; `None` when the client has closed the connection.
async fn read_head(socket: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Option<RequestHead>> {
    loop {
        if let Some(head) = parse_head(input).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            return Ok(Some(head));
        }
        input.reserve(32 * 1024);
        if input.len() > MAX_REQUEST || socket.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

fn parse_head(input: &[u8]) -> Result<Option<RequestHead>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = request.parse(input)? else {
        return Ok(None);
    };
    let mut head = RequestHead {
        length,
        content_length: 0,
        is_post: request.method == Some("POST"),
        path: request.path.unwrap_or_default().to_owned(),
        target: None,
        host: String::new(),
    };
    for header in request.headers.iter() {
        let text = || std::str::from_utf8(header.value).unwrap_or_default();
        if header.name.eq_ignore_ascii_case("content-length") {
            head.content_length = text().trim().parse().unwrap_or(0);
        } else if header.name.eq_ignore_ascii_case("x-amz-target") {
            head.target = Some(header.value.to_vec());
        } else if header.name.eq_ignore_ascii_case("host") {
            text().clone_into(&mut head.host);
        }
    }
    Ok(Some(head))
}

async fn serve(shared: &Shared, head: &RequestHead, request: &[u8], body: &mut Vec<u8>) -> Head {
    let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
    if path == "/stats" && !head.is_post {
        body.extend(serde_json::to_vec(&shared.ledger.borrow().stats).unwrap_or_default());
        return answer::OK_JSON;
    }
    if path == "/arrivals" && !head.is_post {
        *body = shared.ledger.borrow().arrivals();
        return answer::OK_BINARY;
    }
    if path == "/reset" && head.is_post {
        let Some(settings) = Settings::from_query(query) else {
            return answer::BAD_REQUEST;
        };
        *shared.settings.borrow_mut() = settings;
        *shared.ledger.borrow_mut() = super::Ledger::default();
        return answer::OK_JSON;
    }
    match request::action(head.target.as_deref(), request) {
        Action::Send(service) => take(shared, service, request, body).await,
        lookup => {
            shared.ledger.borrow_mut().stats.lookups += 1;
            look_up(lookup, &head.host, request, body)
        }
    }
}

/// Takes a batch: notes what comes, waits, says what became of each entry.
async fn take(shared: &Shared, service: Service, request: &[u8], body: &mut Vec<u8>) -> Head {
    let (settings, now_ns) = (*shared.settings.borrow(), monotonic_ns());
    let answer_at = Instant::now() + settings.latency_time();
    let is_unavailable = settings.is_unavailable();
    let is_fifo = is_fifo(service, request);
    // Keys of a FIFO target: nobody else may send an event of theirs until this one is answered.
    let mut unanswered: Vec<&[u8]> = Vec::new();
    {
        let mut ledger = shared.ledger.borrow_mut();
        ledger.stats.requests += 1;
        ledger.stats.bytes += request.len() as u64;
        if ledger.stats.first_ns == 0 {
            ledger.stats.first_ns = now_ns;
        }
        if is_unavailable {
            ledger.stats.unavailable += 1;
        } else {
            let mut batch = answer::Batch::begin(service, is_fifo, body);
            for entry in shared.scanners.entries(service, request) {
                if settings.entry_fails() {
                    ledger.stats.failed += 1;
                    batch.failure(entry.id, body);
                    continue;
                }
                ledger.stats.entries += 1;
                batch.success(entry.id, body);
                for event in shared.scanners.events(service, &entry) {
                    ledger.arrived(&event, is_fifo, now_ns);
                    unanswered.extend(event.place.filter(|_| is_fifo).map(|(key, _)| key));
                }
            }
            batch.end(body);
            for key in &unanswered {
                ledger.waits(key);
            }
        }
    }
    if settings.latency_ms > 0 {
        sleep_until(answer_at).await;
    }
    let mut ledger = shared.ledger.borrow_mut();
    for key in unanswered {
        ledger.answered(key);
    }
    ledger.stats.last_ns = monotonic_ns();
    if is_unavailable {
        answer::unavailable(service, body)
    } else {
        Head::of(service)
    }
}

fn is_fifo(service: Service, request: &[u8]) -> bool {
    match service {
        // QueueUrl and TopicArn come first or last, so both ends are looked at and not the whole.
        Service::Sqs | Service::Sns => {
            let (start, end) = (
                &request[..request.len().min(512)],
                &request[request.len().saturating_sub(512)..],
            );
            let marker: &[u8] = if service == Service::Sqs { b".fifo\"" } else { b".fifo&" };
            memchr::memmem::find(start, marker).is_some()
                || memchr::memmem::find(end, marker).is_some()
                || request.ends_with(b".fifo")
        }
        Service::EventBridge => false,
    }
}

fn look_up(action: Action, host: &str, request: &[u8], body: &mut Vec<u8>) -> Head {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    let (head, said) = match action {
        Action::GetQueueUrl => {
            let name = text(request::json_value(request, br#""QueueName":""#));
            (answer::OK_JSON, format!(r#"{{"QueueUrl":"http://{host}/000000000000/{name}"}}"#))
        }
        Action::GetQueueAttributes => {
            let url = text(request::json_value(request, br#""QueueUrl":""#));
            let name = url.rsplit('/').next().unwrap_or_default();
            let arn = format!("arn:aws:sqs:us-east-1:000000000000:{name}");
            let is_fifo = name.ends_with(".fifo");
            (
                answer::OK_JSON,
                format!(r#"{{"Attributes":{{"QueueArn":"{arn}","FifoQueue":"{is_fifo}","MaximumMessageSize":"1048576"}}}}"#),
            )
        }
        Action::GetTopicAttributes => {
            let arn = text(request::form_value(request, b"TopicArn=")).replace("%3A", ":");
            (
                answer::OK_XML,
                format!("<GetTopicAttributesResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><GetTopicAttributesResult><Attributes><entry><key>TopicArn</key><value>{arn}</value></entry></Attributes></GetTopicAttributesResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetTopicAttributesResponse>"),
            )
        }
        Action::DescribeEventBus => {
            let name = text(request::json_value(request, br#""Name":""#));
            let name = name.rsplit('/').next().unwrap_or_default();
            (
                answer::OK_JSON,
                format!(r#"{{"Name":"{name}","Arn":"arn:aws:events:us-east-1:000000000000:event-bus/{name}"}}"#),
            )
        }
        Action::Send(_) | Action::Unknown => (
            answer::BAD_REQUEST,
            r#"{"__type":"com.amazonaws#UnsupportedOperation","message":"the benchmark's endpoint does not know this action"}"#.to_owned(),
        ),
    };
    body.extend_from_slice(said.as_bytes());
    head
}
