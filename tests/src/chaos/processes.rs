//! The functions' processes, for those who mean them ill.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};

/// The processes that run. A process stands here only while whoever started it has not waited for it: no other one
/// can have its id.
#[derive(Debug, Clone, Default)]
pub(super) struct Processes(Arc<Mutex<Vec<u32>>>);

impl Processes {
    pub(super) fn enter(&self, id: u32) {
        self.lock().push(id);
    }

    pub(super) fn leave(&self, id: u32) {
        self.lock().retain(|other| *other != id);
    }

    /// Sends a signal to one of them; returns which.
    pub(super) fn signal_some(&self, whom: usize, signal: Signal) -> Option<u32> {
        let running = self.lock();
        let id = *running.get(whom % running.len().max(1))?;
        send(id, signal).then_some(id)
    }

    /// Sends a signal to this one, if it still runs.
    pub(super) fn signal(&self, id: u32, signal: Signal) {
        let running = self.lock();
        if running.contains(&id) {
            send(id, signal);
        }
    }

    pub(super) fn signal_all(&self, signal: Signal) {
        for id in self.lock().iter() {
            send(*id, signal);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(id: u32, signal: Signal) -> bool {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| kill_process(id, signal).is_ok())
}
