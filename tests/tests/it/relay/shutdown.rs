//! SIGTERM.

use system_tests::{Moment, Request};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    delivered::{assert_keys_in_order, duplicates},
    scene::Scene,
};

#[tokio::test]
async fn sigterm_waits_for_what_is_in_flight_and_keeps_its_place() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let gate = scene.proxy.hold(1, Moment::BeforeReply, Request::is_send);
    let before = scene.database.enqueue_many(Some("a"), 4).await.unwrap();
    gate.reached(1).await.unwrap();
    relay.terminate().unwrap();
    relay.said("relay stops").await.unwrap();
    gate.release();
    let exit = relay.ended().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.printed);

    let _relay = scene.relay().await;
    let after = scene.database.enqueue_many(Some("a"), 4).await.unwrap();
    scene.published(&[before, after].concat()).await;
    let taken = scene.proxy.taken();
    assert_keys_in_order(&taken);
    assert_eq!(duplicates(&taken), 0, "a drained relay repeats nothing");
}

#[tokio::test]
async fn sigterm_ends_an_idle_relay_and_one_that_is_still_waiting_for_sqs() {
    let scene = Scene::fifo().await;
    let idle = scene.relay().await;
    assert_eq!(idle.stop().await.unwrap().code, Some(0));

    let relay = scene.relay().await;
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, Request::is_send);
    let committed = scene.database.enqueue_many(Some("a"), 3).await.unwrap();
    gate.reached(1).await.unwrap();
    // Nobody answers it: the drain has to have a bound.
    let exit = relay.stop().await.unwrap();
    assert!(exit.code.is_some(), "a signal ended it");
    gate.discard();
    scene.proxy.heal();

    let _relay = scene.relay().await;
    scene.published(&committed).await;
    assert_keys_in_order(&scene.proxy.taken());
}

#[tokio::test]
async fn sigterm_does_not_wait_for_an_http_client_that_says_nothing_more() {
    let scene = Scene::fifo().await;
    let relay = scene.relay().await;
    let address = relay.address().unwrap();
    let _silent = TcpStream::connect(&address).await.unwrap();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"GET /metr").await.unwrap();
    let exit = relay.stop().await.unwrap();
    assert_eq!(exit.code, Some(0), "{}", exit.printed);
}
