//! What cannot run says so: one clear error and the documented exit code.

use system_tests::{EVERYTHING, Exit, Relay, RelayConfig};

use super::scene::{SINK, Scene};

const BAD_CONFIGURATION: Option<i32> = Some(2);
const UNREACHABLE_DATABASE: Option<i32> = Some(3);

async fn refused(config: RelayConfig) -> Exit {
    Relay::spawn(&config).unwrap().quiet().ended().await.unwrap()
}

/// It ended with this code and one error that says all of this.
fn assert_says(exit: &Exit, code: Option<i32>, words: &[&str]) {
    assert_eq!(exit.code, code, "it printed:\n{}", exit.printed);
    for word in words {
        assert!(
            exit.printed.contains(word),
            "nothing about `{word}` in:\n{}",
            exit.printed
        );
    }
    assert!(!exit.printed.contains("panicked"), "{}", exit.printed);
    let errors = exit
        .printed
        .lines()
        .filter(|line| line.to_lowercase().contains("error"))
        .count();
    assert!(errors <= 1, "{errors} errors instead of one:\n{}", exit.printed);
    assert!(
        exit.printed.lines().count() <= 12,
        "too much to read:\n{}",
        exit.printed
    );
}

async fn changed(change: impl FnOnce(String) -> String) -> Exit {
    let scene = Scene::standard().await;
    let whole = scene.config();
    let changed = RelayConfig::from_toml(&change(whole.toml().to_owned()))
        .env("DATABASE_URL", scene.database.url.as_str())
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    refused(changed).await
}

#[tokio::test]
async fn an_unknown_key_is_named() {
    let exit = changed(|toml| toml.replace("match =", "mach =")).await;
    assert_says(&exit, BAD_CONFIGURATION, &["mach"]);
}

#[tokio::test]
async fn a_sink_without_a_queue_is_named() {
    let exit = changed(|toml| {
        let lines = toml.lines().filter(|line| !line.starts_with("sqs"));
        lines.collect::<Vec<_>>().join("\n")
    })
    .await;
    assert_says(&exit, BAD_CONFIGURATION, &["sqs"]);
}

#[tokio::test]
async fn a_queue_that_does_not_exist_is_named() {
    let scene = Scene::standard().await;
    let config = RelayConfig::new(&scene.database)
        .sink_to(SINK, EVERYTHING, "no-such-queue")
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    let exit = refused(config).await;
    assert_says(&exit, BAD_CONFIGURATION, &["no-such-queue"]);
}

#[tokio::test]
async fn a_wrong_database_url_is_an_error_of_the_configuration() {
    let exit = changed(|toml| toml.replace("env:DATABASE_URL", "htp:/nonsense")).await;
    assert_says(&exit, BAD_CONFIGURATION, &["database.url"]);
}

#[tokio::test]
async fn a_wrong_queue_url_is_an_error_of_the_configuration() {
    let scene = Scene::standard().await;
    let config = RelayConfig::new(&scene.database)
        .sink_to(SINK, EVERYTHING, "https://")
        .env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    assert_says(&refused(config).await, BAD_CONFIGURATION, &["https://"]);
}

#[tokio::test]
async fn two_sinks_of_one_name_are_named() {
    let scene = Scene::standard().await;
    let exit = refused(scene.config().sink(SINK, EVERYTHING, &scene.queue)).await;
    assert_says(&exit, BAD_CONFIGURATION, &[SINK]);
}

#[tokio::test]
async fn a_variable_that_is_not_set_is_named() {
    let exit = changed(|toml| toml.replace("env:DATABASE_URL", "env:NO_SUCH_VARIABLE")).await;
    assert_says(&exit, BAD_CONFIGURATION, &["NO_SUCH_VARIABLE"]);
}

#[tokio::test]
async fn a_database_that_is_not_there_has_an_exit_code_of_its_own() {
    let scene = Scene::standard().await;
    // Port 1 is nobody's.
    let exit = refused(
        scene
            .config()
            .env("DATABASE_URL", "postgres://oncebox:secret@127.0.0.1:1/none"),
    )
    .await;
    assert_says(
        &exit,
        UNREACHABLE_DATABASE,
        &["database `none` at 127.0.0.1:1 cannot be reached"],
    );
    assert!(
        !exit.printed.contains("secret"),
        "a password has nothing to do in a message:\n{}",
        exit.printed
    );
}

#[tokio::test]
async fn a_database_without_the_schema_says_how_to_get_it() {
    let scene = Scene::standard().await;
    let empty = system_tests::Database::create_empty(&scene.stack).await.unwrap();
    let exit = refused(scene.config().env("DATABASE_URL", empty.url.as_str())).await;
    assert_says(&exit, UNREACHABLE_DATABASE, &["outbox-relay migrate"]);
}
