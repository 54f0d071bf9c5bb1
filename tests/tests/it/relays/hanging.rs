//! A relay that no longer hears from its database.

use anyhow::ensure;
use system_tests::{AwsProxy, DatabaseProxy, Moment, Relay, Request, until};

use super::{SINK, Scene};
use crate::relay::delivered::{assert_keys_in_order, ids};

#[tokio::test]
async fn a_relay_whose_statements_hang_sends_nothing_once_others_may() {
    let scene = Scene::new().await;
    let way = DatabaseProxy::start(&scene.database.url).await.unwrap();
    // One request in flight: the rest waits in the relay's memory.
    let config = scene.config(&scene.proxy, 2, 1);
    let relay = Relay::start(&config.env("DATABASE_URL", way.url.as_str()))
        .await
        .unwrap();
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    let committed = scene.commit_some().await;
    gate.reached(1).await.unwrap();
    way.hold();

    let own = AwsProxy::start(&scene.stack).await.unwrap();
    let heir = Relay::start(&scene.config(&own, 2, 16)).await.unwrap();
    heir.said("was silent for its whole lease").await.unwrap();
    scene.until_settled().await;
    let sent = scene.proxy.sends().len();
    gate.release();
    // It hears of its request (or gives it up) and has the next one in hand.
    until("the request to be over", async || {
        let in_flight = relay.metric("oncebox_sink_requests_in_flight", SINK).await?;
        ensure!(in_flight == 0.0, "{in_flight} in flight");
        Ok(())
    })
    .await
    .unwrap();
    way.let_go();
    relay.said("it joins anew").await.unwrap();
    scene.until_shares_are(&[8, 8]).await;
    assert_eq!(scene.proxy.sends().len(), sent, "no lease, no request");
    let published = [scene.proxy.taken(), own.taken()].concat();
    assert_eq!(ids(&published), committed.into_iter().collect());
    assert_keys_in_order(&published);
}
