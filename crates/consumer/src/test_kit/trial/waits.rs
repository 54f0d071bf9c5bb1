//! The waits of a function: where it may die, stand still, or be met by another one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

use crate::{
    dynamodb::store::{Item, ItemKey, Page, Store, Transacted, Write},
    test_kit::gate::Gate,
};

/// A store that lets its user wait once before and once after each request, also one in memory.
pub(super) struct Pausing {
    pub(super) inner: Arc<dyn Store>,
    pub(super) gate: Arc<Gate>,
}

impl Pausing {
    fn around<'a, T: Send + 'a>(&'a self, request: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        async {
            self.gate.pause().await;
            let answer = request.await;
            self.gate.pause().await;
            answer
        }
        .boxed()
    }
}

impl Store for Pausing {
    fn transact<'a>(&'a self, token: &'a str, writes: &'a [Write]) -> BoxFuture<'a, Transacted> {
        self.around(self.inner.transact(token, writes))
    }

    fn read<'a>(&'a self, keys: &'a [ItemKey]) -> BoxFuture<'a, Result<Vec<Option<Item>>, String>> {
        self.around(self.inner.read(keys))
    }

    fn query<'a>(
        &'a self,
        partition: &'a ItemKey,
        after: Option<&'a Item>,
        limit: u16,
    ) -> BoxFuture<'a, Result<Page, String>> {
        self.around(self.inner.query(partition, after, limit))
    }
}

/// Works until `work` waits for the `wait`th time, and returns `None` then; it may be gone on with.
///
/// # Cancel safety
/// Safe: `work` stays as it is.
pub(super) async fn until_wait<T>(mut work: Pin<&mut impl Future<Output = T>>, wait: usize) -> Option<T> {
    let mut waits = 0;
    std::future::poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending => {
            waits += 1;
            if waits < wait { Poll::Pending } else { Poll::Ready(None) }
        }
    })
    .await
}

/// Work that tells when it waits for the `wait`th time (0: when it begins), or has ended before.
pub(super) struct Telling<F> {
    work: Pin<Box<F>>,
    wait: usize,
    waits: usize,
    /// Whether it came so far.
    tell: Option<oneshot::Sender<bool>>,
}

impl<F: Future> Telling<F> {
    pub(super) fn new(work: F, wait: usize) -> (Self, oneshot::Receiver<bool>) {
        let (tell, told) = oneshot::channel();
        let telling = Self {
            work: Box::pin(work),
            wait,
            waits: 0,
            tell: Some(tell),
        };
        (telling, told)
    }

    fn tell(&mut self, came_so_far: bool) {
        if let Some(tell) = self.tell.take() {
            // Nobody may wait for it.
            let _ = tell.send(came_so_far);
        }
    }
}

impl<F: Future> Future for Telling<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.wait == 0 {
            self.tell(true);
        }
        let polled = self.work.as_mut().poll(context);
        if polled.is_ready() {
            self.tell(false);
        } else {
            self.waits += 1;
            if self.waits >= self.wait {
                self.tell(true);
            }
        }
        polled
    }
}
