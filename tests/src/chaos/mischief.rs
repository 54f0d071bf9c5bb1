//! How the faults of the plan are done.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Fault, Request,
    chaos::{
        Deed, Side, Target, Trouble,
        books::Books,
        plan::{Plan, Planned},
        processes::Processes,
        relays::Relays,
        source::Sources,
        stage::Stage,
    },
    until,
};

/// Beyond what is written, the room on the disk that is about to be full.
const ROOM_BYTES: u64 = 150_000;
/// Data files are not to be hit: their size when a run is long.
const DATA_BYTES: u64 = 12_000_000;
/// A server that does not come up within this time has no room to do so.
const START: Duration = Duration::from_secs(5);
const REQUESTS: usize = 12;

pub(super) struct Mischief {
    stage: Stage,
    books: Books,
    functions: Processes,
}

impl Mischief {
    pub(super) fn new(stage: Stage, books: &Books, sources: &Sources) -> Self {
        Self {
            stage,
            books: books.clone(),
            functions: sources.processes.clone(),
        }
    }

    pub(super) fn into_stage(self) -> Stage {
        self.stage
    }

    /// Does what is planned until the end has come.
    pub(super) async fn until(
        &mut self,
        end: Instant,
        plan: Plan,
        relays: &mut Relays,
        tell: &impl Fn(&str),
    ) -> Result<()> {
        let begun = Instant::now();
        for planned in plan {
            if Instant::now() + planned.wait >= end {
                sleep(end.saturating_duration_since(Instant::now())).await;
                break;
            }
            sleep(planned.wait).await;
            relays.tend(&self.stage)?;
            let second = begun.elapsed().as_secs();
            tell(&format!(
                "{second:>5} s  {} ({} ms)",
                planned.deed,
                planned.length.as_millis()
            ));
            let done = self.carry_out(&planned, relays).await;
            done.with_context(|| format!("while doing `{}`", planned.deed))?;
        }
        Ok(())
    }

    /// Ends all that is wrong.
    pub(super) async fn heal(&mut self) -> Result<()> {
        self.stage.heal_aws();
        for side in [Side::Relays, Side::Functions, Side::Writers] {
            self.stage.way_to_postgres(side).let_go();
        }
        self.functions.signal_all(Signal::CONT);
        self.answering().await
    }

    async fn carry_out(&mut self, planned: &Planned, relays: &mut Relays) -> Result<()> {
        let (length, whom) = (planned.length, planned.whom);
        let is_full = matches!(planned.deed, Deed::FillDisk);
        if !is_full {
            self.books.fault(planned.deed.to_string());
        }
        match planned.deed {
            Deed::KillRelay => relays.kill(whom, &self.stage).await,
            Deed::FreezeRelay => relays.freeze(whom, length).await,
            Deed::ReplaceRelay => relays.replace(whom, &self.stage).await,
            Deed::KillFunction => {
                self.functions.signal_some(whom, Signal::KILL);
                Ok(())
            }
            Deed::FreezeFunction => {
                if let Some(id) = self.functions.signal_some(whom, Signal::STOP) {
                    sleep(length).await;
                    self.functions.signal(id, Signal::CONT);
                }
                Ok(())
            }
            Deed::RestartPostgres => {
                self.stage.server.stop().await?;
                sleep(length).await;
                self.launched().await
            }
            Deed::CrashPostgres => {
                self.stage.server.crash().await?;
                sleep(length).await;
                self.launched().await
            }
            Deed::KillBackend => self.kill_backend().await,
            Deed::FillDisk => self.fill_disk(planned).await,
            Deed::Cut(side) => {
                self.stage.way_to_postgres(side).cut();
                Ok(())
            }
            Deed::LoseAnswers(side) => {
                let way = self.stage.way_to_postgres(side);
                way.hold();
                sleep(length).await;
                way.cut();
                way.let_go();
                Ok(())
            }
            Deed::Aws(target, trouble) => {
                self.disturb(target, trouble);
                sleep(length).await;
                self.stage.heal_aws();
                Ok(())
            }
        }
    }

    async fn launched(&mut self) -> Result<()> {
        self.stage.server.launch(None).await?;
        self.answering().await
    }

    async fn answering(&self) -> Result<()> {
        until("Postgres to answer", async || {
            sqlx::query("select 1").execute(&self.stage.database.pool).await?;
            Ok(())
        })
        .await
    }

    async fn kill_backend(&self) -> Result<()> {
        let pid: Option<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
              order by random() limit 1",
        )
        .fetch_optional(&self.stage.database.pool)
        .await?;
        if let Some(pid) = pid {
            // It may have ended by itself meanwhile.
            let _ = self.stage.server.kill_backend(pid);
        }
        self.answering().await
    }

    /// The write-ahead log cannot grow past a place in its file, as on a full disk. A fault only if that place is
    /// reached.
    async fn fill_disk(&mut self, planned: &Planned) -> Result<()> {
        let written: i32 = sqlx::query_scalar("select file_offset from pg_walfile_name_offset(pg_current_wal_lsn())")
            .fetch_one(&self.stage.database.pool)
            .await?;
        let before = self.stage.server.log().len();
        self.stage.server.stop().await?;
        let room = u64::try_from(written)?.max(DATA_BYTES) + ROOM_BYTES;
        let _ = timeout(START, self.stage.server.launch(Some(room))).await;
        self.books.fault(planned.deed.to_string());
        sleep(planned.length).await;
        let log = self.stage.server.log();
        if !log.get(before..).unwrap_or_default().contains("File too large") {
            self.books.fault("postgres: restart with little room".to_owned());
            self.books.not_after_all(&planned.deed.to_string());
        }
        let _ = self.stage.server.crash().await;
        self.launched().await
    }

    fn disturb(&self, target: Target, trouble: Trouble) {
        let faults = match trouble {
            Trouble::LoseReply => vec![Fault::LoseReply],
            Trouble::Throttle if target == Target::Functions => vec![Fault::Refused(400, "ThrottlingException")],
            Trouble::Throttle => vec![Fault::Throttled],
            Trouble::ServerError => vec![Fault::Status(500), Fault::Status(503)],
            Trouble::FailEntries => vec![Fault::fail(|entry| entry.sequence.is_none_or(|number| number % 2 == 0))],
            Trouble::ForgetEntries => vec![Fault::forget(|entry| {
                entry.sequence.is_none_or(|number| number % 3 == 0)
            })],
        };
        let (proxy, operation) = match target {
            Target::Sqs => (&self.stage.relay_aws, "SendMessageBatch"),
            Target::Sns => (&self.stage.relay_aws, "PublishBatch"),
            Target::EventBridge => (&self.stage.relay_aws, "PutEvents"),
            Target::Functions => (&self.stage.function_aws, ""),
        };
        let is_meant = move |request: &Request| operation.is_empty() || request.operation == operation;
        for fault in faults {
            proxy.inject(REQUESTS, fault, is_meant);
        }
    }
}
