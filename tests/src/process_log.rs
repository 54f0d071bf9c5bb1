//! What a process prints, kept for questions and for the failure's text.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    task::JoinHandle,
};

const SHOWN_LINES: usize = 60;

/// The lines that a process has printed so far.
#[derive(Clone, Default)]
pub(crate) struct ProcessLog(Arc<Mutex<Vec<String>>>);

impl ProcessLog {
    /// Reads `output` to its end in a task, which the process's end ends.
    pub(crate) fn follow(&self, output: impl AsyncRead + Unpin + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                log.lock().push(line);
            }
        })
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ProcessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for ProcessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lock();
        let skipped = lines.len().saturating_sub(SHOWN_LINES);
        if skipped > 0 {
            writeln!(f, "  … {skipped} lines before")?;
        }
        lines.iter().skip(skipped).try_for_each(|line| writeln!(f, "  {line}"))
    }
}
