//! What each sink's filter lets through, beside a wire tap that sees everything.

use std::collections::HashSet;

use system_tests::{EVERYTHING, Queue, Relay, RelayConfig};

use super::{settled, taken_by};
use crate::{
    relay::delivered::{assert_keys_in_order, duplicates, ids},
    targets::scene::Scene,
};

const TENANTS: [&str; 3] = ["acme", "globex", "default"];
const KINDS: [&str; 4] = ["event", "command", "query", "reply"];
const TYPES: [&str; 2] = ["invoice.created.v1", "order.placed.v1"];

/// An event as a filter sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    tenant: &'static str,
    kind: &'static str,
    event_type: &'static str,
}

/// A sink's name, its `match`, and whether it wants an event.
type Case = (&'static str, &'static str, fn(Seen) -> bool);

/// The first [`PARTS`] share everything out between them.
const CASES: [Case; 6] = [
    ("acme", "{ tenant = \"acme\" }", |seen| seen.tenant == "acme"),
    ("globex-events", "{ tenant = \"globex\", kind = \"event\" }", |seen| {
        seen.tenant == "globex" && seen.kind == "event"
    }),
    (
        "rest",
        "{ tenant = [\"globex\", \"default\"], kind = [\"command\", \"query\", \"reply\"] }",
        |seen| seen.tenant != "acme" && seen.kind != "event",
    ),
    ("default-events", "{ tenant = \"default\", kind = \"event\" }", |seen| {
        seen.tenant == "default" && seen.kind == "event"
    }),
    (
        "acme-invoices",
        "{ tenant = \"acme\", kind = [\"event\", \"command\"], type = \"invoice.*\" }",
        |seen| {
            seen.tenant == "acme"
                && ["event", "command"].contains(&seen.kind)
                && seen.event_type.starts_with("invoice.")
        },
    ),
    ("tap", EVERYTHING, |_| true),
];
const PARTS: usize = 4;

async fn enqueue(scene: &Scene, seen: Seen) -> String {
    let id: uuid::Uuid = sqlx::query_scalar(
        "select oncebox.enqueue(type => $1, data => '{}', kind => $2, tenant => $3, key => $2 || '-' || $3)",
    )
    .bind(seen.event_type)
    .bind(seen.kind)
    .bind(seen.tenant)
    .fetch_one(&scene.database.pool)
    .await
    .unwrap();
    id.to_string()
}

#[tokio::test]
async fn sinks_by_tenant_and_kind_get_their_events_and_a_wire_tap_gets_the_union() {
    let scene = Scene::new().await;
    let mut config = RelayConfig::new(&scene.database).env("AWS_ENDPOINT_URL", &scene.proxy.endpoint);
    let mut queues = Vec::new();
    for (name, matching, _) in CASES {
        let queue = Queue::fifo(&scene.stack).await.unwrap();
        config = config.sink(name, matching, &queue);
        queues.push(queue);
    }
    let _relay = Relay::start(&config).await.unwrap();
    let mut committed = Vec::new();
    for _ in 0..2 {
        for tenant in TENANTS {
            for kind in KINDS {
                for event_type in TYPES {
                    let seen = Seen {
                        tenant,
                        kind,
                        event_type,
                    };
                    committed.push((enqueue(&scene, seen).await, seen));
                }
            }
        }
    }
    for ((name, _, wants), queue) in CASES.iter().zip(&queues) {
        settled(&scene, name).await;
        let taken = taken_by(&scene, &queue.name);
        let wanted = committed.iter().filter(|(_, seen)| wants(*seen));
        let wanted: HashSet<String> = wanted.map(|(id, _)| id.clone()).collect();
        assert!(!wanted.is_empty());
        assert_eq!(ids(&taken), wanted, "sink {name}");
        assert_eq!(duplicates(&taken), 0, "sink {name}");
    }
    let tap = taken_by(&scene, &queues[CASES.len() - 1].name);
    assert_keys_in_order(&tap);
    let parts = queues[..PARTS].iter().map(|queue| taken_by(&scene, &queue.name));
    let parts: Vec<_> = parts.flatten().collect();
    assert_eq!(duplicates(&parts), 0, "the parts share nothing");
    assert_eq!(ids(&parts), ids(&tap));
    assert_eq!(tap.len(), committed.len());
}
