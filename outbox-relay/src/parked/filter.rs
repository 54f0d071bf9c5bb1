//! Which parked events a command is about.

use sqlx::{Postgres, postgres::PgArguments, query::Query};
use uuid::Uuid;

use crate::log::Seq;

/// Whether an event waits for a person or for the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for a person.
    Parked,
    /// The relay will send it again.
    Retry,
}

impl State {
    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Retry => "retry",
        }
    }
}

/// Which parked events a command is about: those that meet every condition. A condition with several
/// values is met by any of them; an empty one by all events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Names of sinks.
    pub sinks: Vec<String>,
    /// Ordering keys.
    pub keys: Vec<String>,
    /// SQL `LIKE` patterns of the type.
    pub types: Vec<String>,
    /// Tenants.
    pub tenants: Vec<String>,
    /// Classes or codes.
    pub reasons: Vec<String>,
    /// Ids of events.
    pub ids: Vec<Uuid>,
    /// Positions in the log.
    pub seqs: Vec<Seq>,
    /// One state.
    pub state: Option<State>,
}

impl Filter {
    /// Whether every parked event meets it.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// The condition on `oncebox.parked p`, as a literal for [`concat!`]; parameters 1 to 8 are those
/// that [`bind`] binds.
macro_rules! selected {
    () => {
        "($1::text[] is null or p.sink = any($1)) and ($2::text[] is null or p.key = any($2))
     and ($3::text[] is null or p.type like any($3)) and ($4::text[] is null or p.tenant = any($4))
     and ($5::text[] is null or p.class = any($5) or p.code = any($5)) and ($6::uuid[] is null or p.id = any($6))
     and ($7::bigint[] is null or p.seq = any($7)) and ($8::text is null or p.state = $8)"
    };
}
pub(super) use selected;

/// Binds the parameters of [`selected`].
pub(super) fn bind<'q>(query: Query<'q, Postgres, PgArguments>, filter: &Filter) -> Query<'q, Postgres, PgArguments> {
    fn some<T: Clone>(values: &[T]) -> Option<Vec<T>> {
        (!values.is_empty()).then(|| values.to_vec())
    }
    query
        .bind(some(&filter.sinks))
        .bind(some(&filter.keys))
        .bind(some(&filter.types))
        .bind(some(&filter.tenants))
        .bind(some(&filter.reasons))
        .bind(some(&filter.ids))
        .bind(some(&filter.seqs))
        .bind(filter.state.map(State::as_str))
}
