//! What cannot be published to says so at start.

use system_tests::{Bus, EVERYTHING, Queue, Relay, RelayConfig, Topic};

use super::scene::{EVERY_EVENT, SINK, Scene};

async fn refused(config: RelayConfig) -> String {
    let exit = Relay::spawn(&config).unwrap().quiet().ended().await.unwrap();
    assert_eq!(exit.code, Some(2), "it printed:\n{}", exit.printed);
    assert!(
        exit.printed.lines().count() <= 12,
        "too much to read:\n{}",
        exit.printed
    );
    exit.printed
}

fn assert_has(printed: &str, words: &[&str]) {
    for word in words {
        assert!(printed.contains(word), "nothing about `{word}` in:\n{printed}");
    }
}

#[tokio::test]
async fn a_topic_or_a_bus_that_does_not_exist_is_named() {
    let scene = Scene::new().await;
    for (lines, key) in [
        ("sns = { topic = \"no-such-target\" }", "sns.topic"),
        (
            "sns = { topic = \"arn:aws:sns:us-east-1:000000000000:no-such-target\" }",
            "sns.topic",
        ),
        ("eventbridge = { bus = \"no-such-target\" }", "eventbridge.bus"),
    ] {
        let printed = refused(scene.config(lines)).await;
        assert_has(&printed, &[key, "no-such-target", "does not exist"]);
    }
}

#[tokio::test]
async fn bundles_for_a_bus_are_refused() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, EVERY_EVENT, &queue).await.unwrap();
    let lines = format!(
        "eventbridge = {{ bus = \"{}\" }}\nbundle = {{ max_events = 5 }}",
        bus.name
    );
    let printed = refused(scene.config(&lines)).await;
    assert_has(&printed, &[SINK, "bundle", "eventbridge", "leave `bundle` out"]);
}

#[tokio::test]
async fn two_sinks_of_one_target_are_named_however_it_is_written() {
    let scene = Scene::new().await;
    let queue = Queue::standard(&scene.stack).await.unwrap();
    let topic = Topic::standard(&scene.stack).await.unwrap();
    let bus = Bus::to_queue(&scene.stack, r#"{ "source": ["/tests"] }"#, &queue)
        .await
        .unwrap();
    for (key, one, other) in [
        ("sqs = { queue", &queue.name, &queue.url),
        ("sqs = { queue", &queue.url, &queue.arn),
        ("sns = { topic", &topic.name, &topic.arn),
        ("eventbridge = { bus", &bus.name, &bus.arn),
        ("eventbridge = { bus", &bus.name, &bus.name),
    ] {
        let config = scene.config(&format!("{key} = \"{one}\" }}")).sink_table(
            "another",
            EVERYTHING,
            &format!("{key} = \"{other}\" }}"),
        );
        let printed = refused(config).await;
        assert_has(&printed, &[SINK, "another", "give each its own target"]);
    }
}

#[tokio::test]
async fn a_sink_with_two_targets_or_none_is_named() {
    let scene = Scene::new().await;
    let printed = refused(scene.config("sqs = { queue = \"q\" }\nsns = { topic = \"t\" }")).await;
    assert_has(&printed, &["sink[0]", "sqs and sns"]);
    let printed = refused(scene.config("")).await;
    assert_has(&printed, &["sink[0]", "sqs", "sns", "eventbridge"]);
}
