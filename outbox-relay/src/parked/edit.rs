//! Editing a parked event: the sink's copy, not the log.

use sqlx::{Connection as _, PgConnection, Row as _};
use uuid::Uuid;

use super::change::{Outcome, lock_cursors};
use crate::log::Seq;

/// Most bytes of new data. More than any target takes; it only bounds what one command sends.
pub const MAX_DATA_BYTES: usize = 8 * 1024 * 1024;

/// As at enqueue.
const MAX_HEADERS_BYTES: i32 = 16_384;

/// What to change of one parked event. Its id, type, key and place in the key stay.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// New data, as JSON.
    pub data: Option<String>,
    /// Attributes to set, with their JSON values, or to remove.
    pub headers: Vec<(String, Option<serde_json::Value>)>,
}

/// What an edit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The event's position in the log.
    pub seq: Seq,
    /// Its ordering key.
    pub key: Option<String>,
    /// Length of its data as text, before.
    pub bytes_before: i64,
    /// Length of its data as text, after.
    pub bytes_after: i64,
    /// Names of attributes whose value is another one now, in order.
    pub headers_changed: Vec<String>,
}

/// Why an event was not edited.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The sink has not parked it.
    #[error("sink `{sink}` has no parked event {id}")]
    NotFound {
        /// The sink.
        sink: String,
        /// The event's id.
        id: Uuid,
    },
    /// The log has several events with this id.
    #[error("sink `{sink}` has {count} parked events with id {id}; tell which with --seq")]
    Ambiguous {
        /// The sink.
        sink: String,
        /// The events' id.
        id: Uuid,
        /// How many.
        count: usize,
    },
    /// The relay may be sending it at this moment.
    #[error("event {id} is being sent again; wait until that has ended, or take it back with `parked hold`")]
    InRetry {
        /// The event's id.
        id: Uuid,
    },
    /// An attribute that cannot be carried.
    #[error("--header {name}: {fault}")]
    Header {
        /// The attribute.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// All attributes together.
    #[error("--header: the attributes would be {bytes} bytes long as text; at most {MAX_HEADERS_BYTES} are allowed")]
    Headers {
        /// Their length.
        bytes: i32,
    },
    /// JSON that Postgres cannot keep.
    #[error("the data cannot be kept: {0}")]
    Data(String),
    /// Whatever else the database says.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Edits the parked event `id` of `sink`; `seq` tells which, should there be several.
///
/// # Errors
/// See [`EditError`]; nothing is changed then.
///
/// # Cancel safety
/// All of it is changed or nothing.
pub async fn edit(
    connection: &mut PgConnection,
    sink: &str,
    id: Uuid,
    seq: Option<Seq>,
    edit: &Edit,
    outcome: Outcome,
) -> Result<Edited, EditError> {
    let mut transaction = connection.begin().await?;
    let found: Vec<(Seq, i16)> = sqlx::query_as(
        "select seq, shard from oncebox.parked where sink = $1 and id = $2 and ($3::bigint is null or seq = $3)",
    )
    .bind(sink)
    .bind(id)
    .bind(seq)
    .fetch_all(&mut *transaction)
    .await?;
    let sink = sink.to_owned();
    let (seq, shard) = match found.as_slice() {
        [one] => *one,
        [] => return Err(EditError::NotFound { sink, id }),
        several => {
            let count = several.len();
            return Err(EditError::Ambiguous { sink, id, count });
        }
    };
    lock_cursors(&mut transaction, std::slice::from_ref(&sink), &[shard]).await?;
    check_headers(&mut transaction, edit).await?;
    let state = sqlx::query_scalar("select state from oncebox.parked where sink = $1 and seq = $2 for update");
    let state: Option<String> = state.bind(&sink).bind(seq).fetch_optional(&mut *transaction).await?;
    match state.as_deref() {
        Some("parked") => {}
        Some(_) => return Err(EditError::InRetry { id }),
        None => return Err(EditError::NotFound { sink, id }),
    }
    let set: serde_json::Map<String, serde_json::Value> = edit
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
        .collect();
    let named: Vec<&String> = edit.headers.iter().map(|(name, _)| name).collect();
    let row = sqlx::query(
        "update oncebox.parked p
         set data = coalesce($3::text::jsonb, p.data), headers = (p.headers - $4::text[]) || $5::text::jsonb,
             edited_at = now(), edits = p.edits + 1
         from oncebox.parked before
         where p.sink = $1 and p.seq = $2 and before.sink = p.sink and before.seq = p.seq
         returning p.seq, p.key, octet_length(before.data::text)::bigint as bytes_before,
                   octet_length(p.data::text)::bigint as bytes_after,
                   octet_length(p.headers::text) as headers_bytes,
                   array(select name from unnest($4::text[]) as name
                         where before.headers -> name is distinct from p.headers -> name order by name) as changed",
    )
    .bind(&sink)
    .bind(seq)
    .bind(&edit.data)
    .bind(&named)
    .bind(serde_json::Value::Object(set).to_string())
    .fetch_one(&mut *transaction)
    .await
    .map_err(data_fault)?;
    let headers_bytes: i32 = row.try_get("headers_bytes")?;
    if headers_bytes > MAX_HEADERS_BYTES {
        return Err(EditError::Headers { bytes: headers_bytes });
    }
    match outcome {
        Outcome::Keep => transaction.commit().await?,
        Outcome::Undo => transaction.rollback().await?,
    }
    Ok(Edited {
        seq: row.try_get("seq")?,
        key: row.try_get("key")?,
        bytes_before: row.try_get("bytes_before")?,
        bytes_after: row.try_get("bytes_after")?,
        headers_changed: row.try_get("changed")?,
    })
}

/// The same rules as at the border, by the same function.
async fn check_headers(connection: &mut PgConnection, edit: &Edit) -> Result<(), EditError> {
    for (name, value) in &edit.headers {
        let fault = match value {
            _ if name == "sequence" => Some("an event keeps its place in its key".to_owned()),
            // Only the name can be wrong of what is removed.
            None => None,
            Some(value) => {
                sqlx::query_scalar("select oncebox.header_fault($1, $2::text::jsonb)")
                    .bind(name)
                    .bind(value.to_string())
                    .fetch_one(&mut *connection)
                    .await?
            }
        };
        if let Some(fault) = fault {
            let name = name.clone();
            return Err(EditError::Header { name, fault });
        }
    }
    Ok(())
}

/// Valid JSON that `jsonb` refuses, such as \u0000 or nesting without end, is the user's to mend.
fn data_fault(error: sqlx::Error) -> EditError {
    let sqlx::Error::Database(database) = &error else {
        return EditError::Database(error);
    };
    let code = database.code();
    // Class 22 is "data exception", 54 "program limit exceeded".
    let is_data = code.is_some_and(|code| code.starts_with("22") || code.starts_with("54"));
    if is_data {
        EditError::Data(database.message().to_owned())
    } else {
        EditError::Database(error)
    }
}
