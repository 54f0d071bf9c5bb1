//! A `pg_snapshot` as the database writes it.

use outbox_relay::log::snapshot::Snapshot;

/// Whatever is taken for a snapshot is written as one that means the same: what had ended, what had not begun, what was running.
pub fn snapshot(bytes: &[u8]) {
    let Some(snapshot) = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<Snapshot>().ok())
    else {
        return;
    };
    let written = snapshot.to_string();
    assert_eq!(written.parse().as_ref(), Ok(&snapshot), "{written}");
    let xmin = written
        .split(':')
        .next()
        .and_then(|xmin| xmin.parse().ok())
        .expect("a number");
    assert!(xmin <= snapshot.xmax() && !snapshot.sees(snapshot.xmax()));
    assert!(snapshot.sees(xmin - 1), "everything below xmin has ended");
    assert!(snapshot.xip().iter().all(|running| !snapshot.sees(*running)));
    for xid in (xmin..snapshot.xmax()).take(100) {
        let is_running = snapshot.xip().contains(&xid);
        assert_eq!(snapshot.sees(xid), !is_running, "{xid} in {written}");
    }
}
