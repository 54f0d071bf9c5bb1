//! A caller that puts names of its own before Postgres' own.

use sqlx::{Executor as _, PgConnection, postgres::PgDatabaseError};

use crate::database::Database;

/// For each function, operator and type that a function of the outbox could mean, one of the same
/// name in schema `hostile`, which raises an error when it is used.
const SHADOWS: &str = r#"
create schema hostile;
do $do$
declare
  known constant oid[] := array['text', 'name', 'bool', 'int2', 'int4', 'int8', 'float8', 'numeric', 'bytea', 'uuid',
    'jsonb', 'xid8', 'regclass', 'oid', 'timestamptz', 'interval', 'text[]']::regtype[]::oid[];
  trap constant text := 'language plpgsql as $trap$ begin raise exception ''a shadow was used''; end $trap$';
  f record;
begin
  for f in
    select proname, oidvectortypes(proargtypes) as arguments, format_type(prorettype, null) as result
    from pg_proc
    where pronamespace = 'pg_catalog'::regnamespace and prokind = 'f' and not proretset
      and proargtypes::oid[] <@ known and prorettype = any (known)
  loop
    execute format('create or replace function hostile.%I(%s) returns %s %s', f.proname, f.arguments, f.result, trap);
  end loop;
  for f in
    select o.oid, oprname, oprkind, format_type(oprleft, null) as l, format_type(oprright, null) as r, format_type(oprresult, null) as result
    from pg_operator o
    where oprnamespace = 'pg_catalog'::regnamespace and oprresult = any (known) and oprright = any (known)
      and (oprkind = 'l' or oprleft = any (known))
  loop
    if f.oprkind = 'b' then
      execute format('create function hostile.operator_%s(%s, %s) returns %s %s', f.oid, f.l, f.r, f.result, trap);
      execute format('create operator hostile.%s (leftarg = %s, rightarg = %s, function = hostile.operator_%s)', f.oprname, f.l, f.r, f.oid);
    else
      execute format('create function hostile.operator_%s(%s) returns %s %s', f.oid, f.r, f.result, trap);
      execute format('create operator hostile.%s (rightarg = %s, function = hostile.operator_%s)', f.oprname, f.r, f.oid);
    end if;
  end loop;
  for f in select unnest(array['text', 'uuid', 'jsonb', 'regclass', 'int4', 'int8', 'bool', 'bytea']) as name loop
    execute format('create domain hostile.%I as pg_catalog.%1$I check (false)', f.name);
  end loop;
end $do$;
"#;

const TRACE_PARENT: &str = r#"{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;

struct Call {
    event_type: &'static str,
    key: Option<&'static str>,
    source: Option<&'static str>,
    headers: &'static str,
}

async fn enqueue(connection: &mut PgConnection, call: &Call) -> Result<(), sqlx::Error> {
    let statement = "select oncebox.enqueue($1, '{\"n\": 1}'::pg_catalog.jsonb, key => $2, source => $3,
                                            headers => $4::pg_catalog.text::pg_catalog.jsonb)";
    let query = sqlx::query(statement).bind(call.event_type).bind(call.key);
    let query = query.bind(call.source).bind(call.headers);
    query.execute(connection).await.map(drop)
}

#[tokio::test]
async fn a_callers_search_path_puts_no_code_of_its_own_into_enqueue() {
    let database = Database::migrated().await;
    let mut connection = database.connect().await;
    connection.execute(SHADOWS).await.unwrap();
    connection
        .execute("set search_path = hostile, pg_catalog")
        .await
        .unwrap();
    let shadow = connection.execute("select 1 operator(hostile.+) 1").await.unwrap_err();
    assert!(shadow.to_string().contains("a shadow was used"), "{shadow}");
    assert!(connection.execute("select 1 + 1").await.is_err(), "shadows come first");

    let plain = Call {
        event_type: "a.v1",
        key: None,
        source: Some("/s"),
        headers: "{}",
    };
    let good = [
        Call { ..plain },
        Call { source: None, ..plain },
        Call {
            headers: TRACE_PARENT,
            ..plain
        },
        Call {
            headers: r#"{"correlationid": "c", "attempt": 2}"#,
            ..plain
        },
        Call {
            key: Some("k"),
            ..plain
        },
        Call {
            key: Some("k"),
            headers: TRACE_PARENT,
            ..plain
        },
        Call {
            key: Some("k"),
            headers: r#"{"sequence": 7}"#,
            ..plain
        },
        Call {
            key: Some("größe"),
            source: None,
            headers: r#"{"expirytime": "2030-01-01T00:00:00Z"}"#,
            ..plain
        },
    ];
    // More than the five executions after which Postgres keeps a plan.
    for call in good.iter().cycle().take(8 * good.len()) {
        enqueue(&mut connection, call).await.unwrap();
    }
    let bad = [
        Call {
            event_type: "A",
            ..plain
        },
        Call {
            headers: r#"{"traceparent": "00"}"#,
            ..plain
        },
        Call {
            key: Some("\u{1}"),
            ..plain
        },
    ];
    for call in &bad {
        let error = enqueue(&mut connection, call).await.unwrap_err();
        let code = error
            .as_database_error()
            .unwrap()
            .downcast_ref::<PgDatabaseError>()
            .code();
        assert_eq!(code, "22023", "{error}");
    }

    connection.execute("reset search_path").await.unwrap();
    let written: (i64, i64, i64) =
        sqlx::query_as("select count(*), max(key_seq) filter (where key = 'k'), count(distinct id) from oncebox.event")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(written, (64, 16, 64));
    database.drop().await;
}
