//! Writing what has become of events besides being published.

use super::{Changes, Edition, Refusal};
use crate::{
    database::{
        session::Session,
        statement::{Statement, statement},
    },
    log::Seq,
};

/// Longest reason that is kept, in characters.
const MAX_REASON: usize = 1_000;

/// Writes changes, and returns those of the `taken` events that may be sent: the others were edited or
/// taken back meanwhile. The caller's transaction holds the locks of the cursors' rows: commands that
/// change parked events of a shard take the same lock first.
///
/// What changes rows that are there comes first, and followers come last: whether one waits for a person
/// depends on what has become of those before it.
///
/// # Errors
/// Whatever the database says.
pub(in crate::log) async fn write(
    connection: &mut Session,
    sink: &str,
    changes: &Changes,
) -> Result<Vec<Seq>, sqlx::Error> {
    if !changes.unattended.is_empty() {
        statement(
            "update oncebox.parked
             set state = 'parked', code = 'Unconfirmed', attempts = attempts + 1, parked_at = now(),
                 reason = 'it was being sent when its relay ended: it may have arrived'
             where sink = $1 and shard = any($2) and state = 'sending'",
        )
        .bind(sink)
        .bind(&changes.unattended)
        .execute(&mut *connection)
        .await?;
    }
    if !changes.settled.is_empty() {
        let (seqs, editions) = unzip(&changes.settled);
        statement(
            "delete from oncebox.parked p using unnest($2::bigint[], $3::bigint[]) as sent (seq, edits)
             where p.sink = $1 and p.seq = sent.seq and p.edits = sent.edits",
        )
        .bind(sink)
        .bind(seqs)
        .bind(editions)
        .execute(&mut *connection)
        .await?;
    }
    if !changes.refused_again.is_empty() {
        let columns = Columns::of(changes.refused_again.iter().map(|(refusal, _)| refusal));
        let editions: Vec<Edition> = changes.refused_again.iter().map(|(_, edition)| *edition).collect();
        let again = statement(
            "update oncebox.parked p
             set state = 'parked', class = r.class, code = r.code, reason = r.reason,
                 attempts = p.attempts + r.attempts, parked_at = now()
             from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
                    as r (seq, class, code, reason, attempts, edits)
             where p.sink = $1 and p.seq = r.seq and p.edits = r.edits",
        );
        let again = columns.bind(again.bind(sink)).bind(editions);
        again.execute(&mut *connection).await?;
    }
    refuse(connection, sink, &changes.refused).await?;
    if !changes.returned.is_empty() {
        // Behind one that waits for a person it waits for a person too.
        statement(
            "update oncebox.parked p
             set state = case when p.state = 'parked' or exists (
                                select from oncebox.parked q
                                where q.sink = p.sink and q.key = p.key and q.seq < p.seq and q.state = 'parked')
                              then 'parked' else 'retry' end
             where p.sink = $1 and p.seq = any($2)",
        )
        .bind(sink)
        .bind(&changes.returned)
        .execute(&mut *connection)
        .await?;
    }
    let taken = take(connection, sink, &changes.taken).await?;
    if !changes.followers.is_empty() {
        // The last parked event of the key may have been sent again or skipped since the follower was
        // read. Then it is this one's turn.
        statement(
            "insert into oncebox.parked (sink, seq, shard, id, type, key, key_seq, tenant, kind, source, time, headers, data,
                                         state, class, code, reason, attempts)
             select $1, e.seq, e.bucket >> 4, e.id, e.type, e.key, e.key_seq, e.tenant, e.kind, e.source, e.time, e.headers,
                    e.data,
                    case when exists (select from oncebox.parked p
                                      where p.sink = $1 and p.key = e.key and p.state = 'parked')
                         then 'parked' else 'retry' end,
                    'follows', 'Follows', 'an earlier event of its key is parked', 0
             from oncebox.event e where e.seq = any($2)
             on conflict (sink, seq) do nothing",
        )
        .bind(sink)
        .bind(&changes.followers)
        .execute(&mut *connection)
        .await?;
    }
    Ok(taken)
}

async fn refuse(connection: &mut Session, sink: &str, refused: &[Refusal]) -> Result<(), sqlx::Error> {
    if refused.is_empty() {
        return Ok(());
    }
    let parked = statement(
        "insert into oncebox.parked (sink, seq, shard, id, type, key, key_seq, tenant, kind, source, time, headers, data,
                                     class, code, reason, attempts)
         select $1, e.seq, e.bucket >> 4, e.id, e.type, e.key, e.key_seq, e.tenant, e.kind, e.source, e.time, e.headers,
                e.data, r.class, r.code, r.reason, r.attempts
         from unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[])
                as r (seq, class, code, reason, attempts)
         join oncebox.event e using (seq)
         on conflict (sink, seq) do update
         set state = 'parked', class = excluded.class, code = excluded.code, reason = excluded.reason,
             attempts = oncebox.parked.attempts + excluded.attempts, parked_at = now()",
    );
    let parked = Columns::of(refused).bind(parked.bind(sink));
    parked.execute(&mut *connection).await?;
    Ok(())
}

/// Marks events as being sent, before they are: who finds the mark later does not send them again.
async fn take(connection: &mut Session, sink: &str, taken: &[(Seq, Edition)]) -> Result<Vec<Seq>, sqlx::Error> {
    if taken.is_empty() {
        return Ok(Vec::new());
    }
    let (seqs, editions) = unzip(taken);
    statement(
        "update oncebox.parked p set state = 'sending'
         from unnest($2::bigint[], $3::bigint[]) as read (seq, edits)
         where p.sink = $1 and p.seq = read.seq and p.edits = read.edits and p.state = 'retry'
         returning p.seq",
    )
    .bind(sink)
    .bind(seqs)
    .bind(editions)
    .fetch_values(connection)
    .await
}

fn unzip(events: &[(Seq, Edition)]) -> (Vec<Seq>, Vec<Edition>) {
    events.iter().copied().unzip()
}

struct Columns {
    seqs: Vec<Seq>,
    classes: Vec<&'static str>,
    codes: Vec<String>,
    reasons: Vec<String>,
    attempts: Vec<i64>,
}

impl Columns {
    fn of<'a>(refusals: impl IntoIterator<Item = &'a Refusal>) -> Self {
        let refusals: Vec<&Refusal> = refusals.into_iter().collect();
        Self {
            seqs: refusals.iter().map(|refusal| refusal.seq).collect(),
            classes: refusals.iter().map(|refusal| refusal.class.as_str()).collect(),
            codes: refusals.iter().map(|refusal| text(&refusal.code, 128)).collect(),
            reasons: refusals
                .iter()
                .map(|refusal| text(&refusal.reason, MAX_REASON))
                .collect(),
            attempts: refusals.iter().map(|refusal| i64::from(refusal.attempts)).collect(),
        }
    }

    fn bind(self, statement: Statement) -> Statement {
        statement
            .bind(self.seqs)
            .bind(self.classes)
            .bind(self.codes)
            .bind(self.reasons)
            .bind(self.attempts)
    }
}

/// What Postgres can keep of a foreign text: no NUL, bounded.
fn text(text: &str, max: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(max).collect()
}
