//! The schema, and what the relay's role may do with it: exactly what `run` does.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Row as _};

use super::finding::{Area, Findings};
use crate::config::Retention;

/// Kind, name, and the rights that `run` uses.
const USED: [(&str, &str, &[&str]); 10] = [
    ("table", "event", &["select"]),
    ("sequence", "event_seq", &["select"]),
    ("table", "cursor", &["select", "insert", "update"]),
    ("table", "relay", &["select", "insert", "update", "delete"]),
    ("table", "parked", &["select", "insert", "update", "delete"]),
    ("function", "incarnation", &["execute"]),
    ("procedure", "require_incarnation", &["execute"]),
    ("function", "ensure_partitions", &["execute"]),
    ("function", "partition_status", &["execute"]),
    ("function", "drop_partitions", &["execute"]),
];

/// Checks both; returns whether the schema can be read.
pub(super) async fn check(
    connection: &mut PgConnection,
    retention: Retention,
    findings: &mut Findings,
) -> Result<bool, sqlx::Error> {
    if !check_version(connection, findings).await? {
        return Ok(false);
    }
    let used = USED.iter().filter(|(_, name, _)| {
        let is_for_retention = *name == "drop_partitions";
        !is_for_retention || retention != Retention::ForEver
    });
    let used = used.flat_map(|(kind, name, rights)| rights.iter().map(move |right| (*kind, *name, *right)));
    let used: Vec<(&str, &str, &str)> = used.collect();
    let column = |of: fn(&(&str, &str, &str)) -> String| used.iter().map(of).collect::<Vec<String>>();
    let rows = sqlx::query(
        "select u.kind, u.name, u.may, o.oid is not null as is_there,
                case when o.oid is null then false
                     when u.kind = 'table' then has_table_privilege(o.oid, u.may)
                     when u.kind = 'sequence' then has_sequence_privilege(o.oid, u.may)
                     else has_function_privilege(o.oid, u.may) end as is_granted
         from unnest($1::text[], $2::text[], $3::text[]) as u (kind, name, may)
         left join lateral (
           select c.oid from pg_class c where c.relnamespace = to_regnamespace('oncebox') and c.relname = u.name
              and u.kind in ('table', 'sequence')
           union all
           select p.oid from pg_proc p where p.pronamespace = to_regnamespace('oncebox') and p.proname = u.name
              and u.kind in ('function', 'procedure')
           limit 1) o on true",
    )
    .bind(column(|(kind, _, _)| (*kind).to_owned()))
    .bind(column(|(_, name, _)| (*name).to_owned()))
    .bind(column(|(_, _, right)| (*right).to_owned()))
    .fetch_all(&mut *connection)
    .await?;
    let mut missing: Vec<String> = Vec::new();
    let mut denied: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &rows {
        let (kind, name): (String, String) = (row.try_get("kind")?, row.try_get("name")?);
        if !row.try_get::<bool, _>("is_there")? {
            missing.push(format!("oncebox.{name}"));
        } else if !row.try_get::<bool, _>("is_granted")? {
            let object = match kind.as_str() {
                "function" | "procedure" => format!("{kind} oncebox.{name}"),
                _ => format!("oncebox.{name}"),
            };
            denied.entry(object).or_default().push(row.try_get("may")?);
        }
    }
    missing.dedup();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        findings.fault(
            Area::Database,
            format!("schema oncebox is older than this relay: there is no {missing}; run `outbox-relay migrate`"),
        );
        return Ok(false);
    }
    findings.ok(Area::Database, "schema oncebox has all that this relay uses");
    check_grants(connection, denied, findings).await
}

async fn check_grants(
    connection: &mut PgConnection,
    denied: BTreeMap<String, Vec<String>>,
    findings: &mut Findings,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "select quote_ident(current_user) as role, has_schema_privilege('oncebox', 'usage') as may_use,
                has_function_privilege('pg_catalog.pg_control_system()', 'execute') as may_identify",
    )
    .fetch_one(connection)
    .await?;
    let role: String = row.try_get("role")?;
    let mut grants = Vec::new();
    if !row.try_get::<bool, _>("may_use")? {
        grants.push(format!("grant usage on schema oncebox to {role};"));
    }
    if !row.try_get::<bool, _>("may_identify")? {
        grants.push(format!(
            "grant execute on function pg_catalog.pg_control_system to {role};"
        ));
    }
    let tables_are_readable = grants.is_empty() && !denied.values().flatten().any(|right| right == "select");
    let denied = denied.into_iter();
    grants.extend(denied.map(|(object, rights)| format!("grant {} on {object} to {role};", rights.join(", "))));
    if grants.is_empty() {
        findings.ok(Area::Database, format!("role {role} has all rights that `run` uses"));
    } else {
        let grants = grants.join(" ");
        findings.fault(Area::Database, format!("role {role} lacks rights: {grants}"));
    }
    Ok(tables_are_readable)
}

/// Compares the migrations' own record, where there is one that may be read: a schema that was applied by
/// hand has none.
async fn check_version(connection: &mut PgConnection, findings: &mut Findings) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "select to_regnamespace('oncebox') is not null as is_there,
                (select has_table_privilege(c.oid, 'select') from pg_class c
                  where c.relnamespace = to_regnamespace('oncebox') and c.relname = 'migration')
                and has_schema_privilege(to_regnamespace('oncebox')::oid, 'usage') as is_recorded",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !row.try_get::<bool, _>("is_there")? {
        findings.fault(
            Area::Database,
            "there is no schema oncebox; run `outbox-relay migrate` with a role that may create it",
        );
        return Ok(false);
    }
    if row.try_get::<Option<bool>, _>("is_recorded")? != Some(true) {
        return Ok(true);
    }
    let applied: Option<i64> = sqlx::query_scalar("select max(version) from oncebox.migration where success")
        .fetch_one(connection)
        .await?;
    let (applied, known) = (applied.unwrap_or(0), oncebox_outbox::latest_migration());
    if applied < known {
        findings.fault(
            Area::Database,
            format!(
                "schema oncebox is at migration {applied} and this relay needs {known}; run `outbox-relay migrate`"
            ),
        );
    } else if applied > known {
        findings.warning(
            Area::Database,
            format!(
                "schema oncebox is at migration {applied}, which this relay (up to {known}) does not know; update it"
            ),
        );
    }
    Ok(applied >= known)
}
