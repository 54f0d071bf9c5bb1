//! `oncebox-consumer` where the tables' answers do not arrive, or two people act at once.

use std::{process::Stdio, time::Duration};

use serde_json::{Value, json};
use system_tests::{AwsProxy, Fault, Moment, Request, Stack, Tables, binary};
use tokio::process::Command;

struct Scene {
    tables: Tables,
    proxy: AwsProxy,
}

/// What a run of the binary came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Scene {
    async fn new() -> Self {
        let stack = Stack::from_env().await.unwrap();
        Self {
            tables: Tables::create(&stack).await.unwrap(),
            proxy: AwsProxy::start(&stack).await.unwrap(),
        }
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(binary("oncebox-consumer").unwrap())
            .args(arguments)
            .args([
                "--key",
                "order-7",
                "--json",
                "--consumer",
                "c",
                "--table",
                &self.tables.dedupe,
            ])
            .env("AWS_ENDPOINT_URL", &self.proxy.endpoint)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(120), output).await;
        let output = output.expect("an end").unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn skip(&self, sequence: &str) -> Ran {
        self.run(&["gap", "skip", "--yes", "--sequence", sequence]).await
    }

    /// How far the key has come and what was passed by, in truth.
    async fn standing(&self) -> [Value; 2] {
        self.proxy.heal();
        let shown = self.run(&["gap", "show"]).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        [shown["last"].clone(), shown["missed"].clone()]
    }
}

fn is_write(request: &Request) -> bool {
    request.operation == "TransactWriteItems"
}

fn is_read(request: &Request) -> bool {
    !is_write(request)
}

#[tokio::test]
async fn a_skip_whose_reply_is_lost_is_done_once_and_told_as_done() {
    // Once, and the SDK asks again; or every time, and the watermark has to tell.
    for times in [1, usize::MAX] {
        let scene = Scene::new().await;
        scene.proxy.inject(times, Fault::LoseReply, is_write);
        let skipped = scene.skip("1").await;
        assert_eq!(skipped.code, Some(0), "{times}: {skipped:?}");
        let told: Value = serde_json::from_str(&skipped.stdout).unwrap();
        assert_eq!((&told["last"], &told["skipped"]), (&json!(1), &json!(1)));
        assert_eq!(scene.standing().await, [json!(1), json!([1])]);
    }
}

#[tokio::test]
async fn a_skip_of_which_nobody_can_tell_whether_it_was_applied_says_so() {
    let scene = Scene::new().await;
    scene.proxy.inject(usize::MAX, Fault::LoseReply, is_write);
    // The command reads twice before it writes.
    scene.proxy.inject(2, Fault::None, is_read);
    scene.proxy.inject(usize::MAX, Fault::Status(500), is_read);
    let skipped = scene.skip("1").await;
    assert_eq!(skipped.code, Some(3), "{skipped:?}");
    assert!(skipped.stderr.contains("is not known"), "{skipped:?}");
    assert_eq!(skipped.stdout, "");
    assert_eq!(scene.standing().await, [json!(1), json!([1])]);
    // Whoever does it again skips nothing else.
    let again = scene.skip("1").await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("waits for sequence 2"), "{again:?}");
    assert_eq!(scene.standing().await, [json!(1), json!([1])]);
}

#[tokio::test]
async fn of_two_skips_at_once_one_is_done_and_the_other_told_that_it_came_too_late() {
    let scene = Scene::new().await;
    let gate = scene.proxy.hold(usize::MAX, Moment::BeforeApplied, is_write);
    let both_have_looked = async {
        gate.reached(2).await.unwrap();
        gate.release();
    };
    let (first, second, ()) = tokio::join!(scene.skip("1"), scene.skip("1"), both_have_looked);
    let mut ran = [first, second];
    ran.sort_by_key(|ran| ran.code);
    assert_eq!(ran.each_ref().map(|ran| ran.code), [Some(0), Some(1)], "{ran:?}");
    assert_eq!(ran[1].stdout, "");
    assert!(ran[1].stderr.contains("meanwhile"), "{ran:?}");
    assert_eq!(
        scene.standing().await,
        [json!(1), json!([1])],
        "one is skipped, not two"
    );
}
