//! Waits where there would be none, so that a function can die or stand still there.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

/// Holds up the requests of one function until everything else in it waits too.
#[derive(Default)]
pub(crate) struct Gate(Mutex<Vec<(Arc<AtomicBool>, Waker)>>);

impl Gate {
    /// Waits once: whatever drives only a part of the function cannot go on by itself.
    pub(crate) async fn pause(&self) {
        let is_open = Arc::new(AtomicBool::new(false));
        std::future::poll_fn(|context| {
            if is_open.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            self.waiting().push((Arc::clone(&is_open), context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Does the work of the function, and opens the gate whenever all of it waits.
    pub(crate) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        std::future::poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            let waiting = std::mem::take(&mut *self.waiting());
            for (is_open, waker) in waiting {
                is_open.store(true, Ordering::SeqCst);
                waker.wake();
            }
            polled
        })
        .await
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(Arc<AtomicBool>, Waker)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
