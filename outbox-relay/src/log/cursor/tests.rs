//! The reading rule against a model of Postgres: transactions get an xid, take numbers, commit or
//! roll back in any order; the reader looks and reads at any moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Write(usize),
    Commit(usize),
    RollBack(usize),
    /// Read the sequence, then let the rest of the steps go on; the snapshot comes at the next look.
    Look,
    /// Forget the run that is under way and start again from what is stored.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Begin),
        6 => any::<usize>().prop_map(Step::Write),
        3 => any::<usize>().prop_map(Step::Commit),
        1 => any::<usize>().prop_map(Step::RollBack),
        4 => Just(Step::Look),
        1 => Just(Step::Crash),
    ]
}

/// Postgres as far as the reading rule knows it.
struct Model {
    next_xid: Xid,
    last_ended: Xid,
    last_seq: Seq,
    running: BTreeSet<Xid>,
    /// Every row, of running transactions and rolled-back ones too.
    rows: BTreeMap<Seq, Xid>,
    rolled_back: BTreeSet<Xid>,
}

impl Model {
    fn snapshot(&self) -> Snapshot {
        // As GetSnapshotData does it: xmax is the last transaction that ended, plus one, so running
        // transactions above it are not named.
        let xmax = self.last_ended + 1;
        let named = self.running.range(..xmax);
        let xip: Vec<String> = named.clone().map(ToString::to_string).collect();
        let xmin = named.min().copied().unwrap_or(xmax);
        format!("{xmin}:{xmax}:{}", xip.join(",")).parse().unwrap()
    }

    fn end(&mut self, xid: Xid) {
        self.running.remove(&xid);
        self.last_ended = self.last_ended.max(xid);
    }

    fn pick(&self, n: usize) -> Option<Xid> {
        let running: Vec<&Xid> = self.running.iter().collect();
        (!running.is_empty()).then(|| *running[n % running.len()])
    }

    /// The rows that a page query finds, by the same bounds and no others.
    fn read(&self, run: &Run, span: Seq) -> Vec<Seq> {
        let mut found = Vec::new();
        let (late, open) = (run.late_xids(), run.open_xids());
        let mut position = run.start();
        while let Some(stretch) = run.next_stretch(position, span) {
            let (up_to, is_late) = match stretch {
                Stretch::Late { up_to } => (up_to, true),
                Stretch::New { up_to } => (up_to, false),
            };
            let visible = |xid: &Xid| !self.running.contains(xid) && !self.rolled_back.contains(xid);
            let is_named = |xid: &Xid| late.contains(xid) || (open.contains(xid) && run.target.snapshot.sees(*xid));
            let wanted = |xid: &Xid| if is_late { is_named(xid) } else { run.covers(*xid) };
            let rows = self.rows.range(position + 1..=up_to);
            found.extend(rows.filter(|(_, xid)| visible(xid) && wanted(xid)).map(|(seq, _)| *seq));
            position = up_to;
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_committed_row_is_read_once_and_no_other(
        steps in proptest::collection::vec(step(), 1..120),
        span in 1_i64..20,
    ) {
        let mut model = Model {
            next_xid: 700,
            last_ended: 699,
            last_seq: 0,
            running: BTreeSet::new(),
            rows: BTreeMap::new(),
            rolled_back: BTreeSet::new(),
        };
        let mut base = Base::beginning();
        let mut seq_before = 0;
        let mut read: Vec<Seq> = Vec::new();
        let mut steps = steps;
        steps.extend([Step::Look, Step::Look]);
        for step in steps {
            match step {
                Step::Begin => {
                    model.running.insert(model.next_xid);
                    model.next_xid += 1;
                }
                Step::Write(n) => if let Some(xid) = model.pick(n) {
                    model.last_seq += 1;
                    model.rows.insert(model.last_seq, xid);
                },
                Step::Commit(n) => if let Some(xid) = model.pick(n) {
                    model.end(xid);
                },
                Step::RollBack(n) => if let Some(xid) = model.pick(n) {
                    model.end(xid);
                    model.rolled_back.insert(xid);
                },
                Step::Look => {
                    let target = Horizon {
                        snapshot: model.snapshot(),
                        next_xid: model.next_xid,
                        seq_before,
                        seq_after: model.last_seq,
                    };
                    seq_before = model.last_seq;
                    let run = Run { base, target };
                    let found = model.read(&run, span);
                    prop_assert!(found.is_sorted(), "a run is read in the order of seq");
                    read.extend(found);
                    base = run.completed();
                }
                // The base is what is stored; the sequence is read anew before the next look.
                Step::Crash => seq_before = model.last_seq,
            }
        }
        let visible = |xid: &Xid| !model.running.contains(xid) && !model.rolled_back.contains(xid);
        let committed: Vec<Seq> = model.rows.iter().filter(|(_, xid)| visible(xid)).map(|(seq, _)| *seq).collect();
        read.sort_unstable();
        prop_assert_eq!(read, committed);
    }
}

#[test]
fn a_base_at_the_end_skips_what_was_committed_and_not_what_was_running() {
    let horizon = |snapshot: &str, next_xid, seq_before, seq_after| Horizon {
        snapshot: snapshot.parse().unwrap(),
        next_xid,
        seq_before,
        seq_after,
    };
    let base = Base::at(horizon("700:703:700,701", 705, 40, 41));
    let run = Run {
        base,
        target: horizon("701:706:701", 707, 41, 45),
    };
    assert!(run.covers(700) && run.covers(703));
    assert!(!run.covers(702) && !run.covers(701) && !run.covers(699));
    assert_eq!(run.start(), 0, "transactions 700, 703 and 704 may have written before");
    assert_eq!(run.open_xids(), 703..705);
    let next = run.completed();
    assert_eq!((next.floors, next.open_floor, next.seq), (vec![0], 40, 41));
}
