//! The lists, read from an endpoint that hands out a hundred elements a page.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

use super::*;
use crate::publish::clients::Clients;

const ELEMENTS: usize = 230;
const PAGE: usize = 100;

/// Clients of an endpoint that refuses the page that begins at `broken`.
async fn clients(broken: Option<usize>) -> Clients {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(move |request: Request| answer(request, broken));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let credentials = SharedCredentialsProvider::new(Credentials::new("key", "secret", None, None, "test"));
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint);
    Clients::new(&config.build(), Duration::from_secs(10))
}

async fn answer(request: Request, broken: Option<usize>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let operation = parts
        .headers
        .get("x-amz-target")
        .map_or("", |name| name.to_str().unwrap());
    let query = parts.uri.query().unwrap_or_default();
    let marker = in_form(query.as_bytes(), "Marker");
    let is_lambda = parts.method == axum::http::Method::GET;
    let token = match (is_lambda, operation.is_empty()) {
        (true, _) => marker,
        (false, true) => in_form(&body, "NextToken"),
        (false, false) => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            body["NextToken"].as_str().map(ToOwned::to_owned)
        }
    };
    let start = token.map_or(0, |token| token.parse().unwrap());
    if broken == Some(start) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let end = ELEMENTS.min(start + PAGE);
    let next = (end < ELEMENTS).then(|| end.to_string());
    let elements = start..end;
    if is_lambda {
        let elements: Vec<Value> = elements.map(|n| json!({ "UUID": n.to_string() })).collect();
        return json_answer(&json!({ "EventSourceMappings": elements, "NextMarker": next }));
    }
    if operation.is_empty() {
        let members: String = elements
            .map(|n| format!("<member><SubscriptionArn>{n}</SubscriptionArn></member>"))
            .collect();
        let next = next.map_or_else(String::new, |next| format!("<NextToken>{next}</NextToken>"));
        let body = format!(
            "<ListSubscriptionsByTopicResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
             <ListSubscriptionsByTopicResult><Subscriptions>{members}</Subscriptions>{next}\
             </ListSubscriptionsByTopicResult></ListSubscriptionsByTopicResponse>"
        );
        return ([(CONTENT_TYPE, "text/xml")], body).into_response();
    }
    let is_rules = operation.ends_with("ListRules");
    let elements: Vec<Value> = elements
        .map(|n| match is_rules {
            true => json!({ "Name": n.to_string() }),
            false => json!({ "Id": n.to_string(), "Arn": n.to_string() }),
        })
        .collect();
    let name = if is_rules { "Rules" } else { "Targets" };
    json_answer(&json!({ name: elements, "NextToken": next }))
}

fn in_form(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form).find_map(|(found, value)| (found == name).then(|| value.into_owned()))
}

fn json_answer(body: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What is told of each element, by list.
async fn read(clients: &Clients) -> [(Vec<String>, bool); 4] {
    let subscriptions = subscriptions(&clients.sns, "t").await;
    let rules = rules(&clients.eventbridge, "b").await;
    let targets = targets(&clients.eventbridge, "b", "r").await;
    let mappings = mappings(&clients.lambda, "arn:aws:sqs:r:1:q").await;
    let names = |names: Vec<Option<String>>| names.into_iter().flatten().collect();
    [
        (
            names(
                subscriptions
                    .elements
                    .into_iter()
                    .map(|one| one.subscription_arn)
                    .collect(),
            ),
            subscriptions.error.is_some(),
        ),
        (
            names(rules.elements.into_iter().map(|one| one.name).collect()),
            rules.error.is_some(),
        ),
        (
            targets.elements.into_iter().map(|one| one.arn).collect(),
            targets.error.is_some(),
        ),
        (
            names(mappings.elements.into_iter().map(|one| one.uuid).collect()),
            mappings.error.is_some(),
        ),
    ]
}

#[tokio::test]
async fn each_list_is_read_to_its_end_and_each_element_once() {
    let expected: Vec<String> = (0..ELEMENTS).map(|n| n.to_string()).collect();
    for (elements, is_broken) in read(&clients(None).await).await {
        assert_eq!((elements, is_broken), (expected.clone(), false));
    }
}

#[tokio::test]
async fn of_a_list_that_breaks_off_is_told_what_came_and_that_it_broke_off() {
    for (elements, is_broken) in read(&clients(Some(2 * PAGE)).await).await {
        assert_eq!((elements.len(), is_broken), (2 * PAGE, true));
    }
}

#[tokio::test]
async fn a_server_that_never_comes_to_an_end_is_not_asked_for_ever() {
    let same = all(|_| async { Ok::<_, ()>((Some(vec![1]), Some("same".to_owned()))) }).await;
    assert_eq!(same.elements.len(), 2);
    let mut page = 0;
    let endless = all(|_| {
        page += 1;
        std::future::ready(Ok::<_, ()>((Some(vec![page]), Some(page.to_string()))))
    });
    assert_eq!(endless.await.elements.len(), MAX_PAGES);
    let empty_token = all(|_| async { Ok::<_, ()>((Some(vec![1]), Some(String::new()))) }).await;
    assert_eq!(empty_token.elements.len(), 1);
}
