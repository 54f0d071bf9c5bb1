//! Tidying up from a `Drop`, which cannot await.

use std::{future::Future, thread, time::Duration};

use aws_config::SdkConfig;

const LIMIT: Duration = Duration::from_secs(15);

/// As [`run`], with a client configuration of that thread's own: connections of the test's clients
/// are served by the test's runtime, which waits for this very `Drop`.
pub(crate) fn run_with_aws<F>(endpoint: String, work: impl FnOnce(SdkConfig) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    run(async move || work(aws_config::from_env().endpoint_url(endpoint).load().await).await);
}

/// Runs `work` to its end on a thread of its own, for at most 15 seconds. Best effort: a stack is
/// thrown away after its run, and a failure here must not hide the test's.
pub(crate) fn run<F>(work: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let tidying = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            let _ = runtime.block_on(async { tokio::time::timeout(LIMIT, work()).await });
        }
    });
    let _ = tidying.join();
}
