//! The end of the process: nothing more is begun, what runs may end, the rest is abandoned.
//!
//! Abandoned is safe: an event has its whole effect with its record or neither, and its message comes again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task,
    time::Duration,
};

use futures::future::BoxFuture;
use lambda_runtime::{
    LambdaInvocation,
    tower::{Layer, Service},
};
use tokio::{sync::watch, time::timeout};

/// Lambda kills a process 500 ms after SIGTERM when it has an internal extension only (AWS Lambda
/// Developer Guide, "Lambda execution environment", shutdown phase); some of it is left for the exit.
const GRACE: Duration = Duration::from_millis(400);

/// Set by Lambda in every execution environment (AWS Lambda Developer Guide, "Defined runtime environment
/// variables"). Local emulators without it have no Extensions API either, and registering would fail.
const INITIALIZATION_TYPE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// What is running, and whether more may begin.
#[derive(Default)]
pub(crate) struct Shutdown {
    is_stopping: AtomicBool,
    running: watch::Sender<usize>,
}

/// One invocation, until Lambda has its answer.
struct Running(Arc<Shutdown>);

impl Shutdown {
    /// Whether nothing more is to be begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Asks Lambda for a SIGTERM before the end (it sends one where an extension is registered), and drains
    /// when it comes.
    ///
    /// # Panics
    /// When the Extensions API that Lambda promises refuses the registration.
    pub(crate) async fn on_sigterm(shutdown: &Arc<Self>) {
        if std::env::var_os(INITIALIZATION_TYPE).is_none() {
            return;
        }
        let shutdown = Arc::clone(shutdown);
        lambda_runtime::spawn_graceful_shutdown_handler(move || async move {
            let is_drained = shutdown.drain().await;
            tracing::info!(is_drained, "stopped");
        })
        .await;
    }

    async fn drain(&self) -> bool {
        self.is_stopping.store(true, Ordering::Relaxed);
        let mut running = self.running.subscribe();
        timeout(GRACE, running.wait_for(|running| *running == 0))
            .await
            .is_ok_and(|waited| waited.is_ok())
    }

    fn begin(shutdown: &Arc<Self>) -> Running {
        shutdown.running.send_modify(|running| *running += 1);
        Running(Arc::clone(shutdown))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

/// Counts invocations from their arrival to the moment that Lambda has the answer.
pub(crate) struct Counting(pub(crate) Arc<Shutdown>);

#[derive(Clone)]
pub(crate) struct Counted<S> {
    shutdown: Arc<Shutdown>,
    inner: S,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            shutdown: Arc::clone(&self.0),
            inner,
        }
    }
}

impl<S> Service<LambdaInvocation> for Counted<S>
where
    S: Service<LambdaInvocation, Response = ()>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<(), S::Error>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let running = Shutdown::begin(&self.shutdown);
        let answered = self.inner.call(invocation);
        Box::pin(async move {
            let result = answered.await;
            drop(running);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_what_runs_and_not_for_ever() {
        let shutdown = Arc::new(Shutdown::default());
        let first = Shutdown::begin(&shutdown);
        assert!(!shutdown.drain().await, "it is still running");
        assert!(shutdown.is_stopping());
        let draining = tokio::spawn({
            let shutdown = Arc::clone(&shutdown);
            async move { shutdown.drain().await }
        });
        drop(first);
        assert!(draining.await.unwrap());
    }
}
