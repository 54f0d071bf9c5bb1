//! The relay and the consumer as models of which every state is visited.

use system_tests::model::{
    COMES_TO_ITS_END, Explored, explore,
    relay::{self, Relays, Setting},
};

const NONE: Setting = Setting { relays: 2, keyed: 1, is_written: true, has_old: false, crashes: 0, stops: 0, disconnects: 0 };

#[test]
fn probe() {
    for (name, setting) in [
        ("none", NONE),
        ("one full log", Setting { relays: 1, keyed: 2, is_written: false, has_old: true, crashes: 1, disconnects: 1, ..NONE }),
        ("stop", Setting { stops: 1, ..NONE }),
        ("crash", Setting { crashes: 1, ..NONE }),
        ("disc", Setting { disconnects: 1, ..NONE }),
        ("two keyed", Setting { keyed: 2, ..NONE }),
    ] {
        let begin = std::time::Instant::now();
        let explored = explore(&Relays::new(setting, None));
        eprintln!("{name}: {} states {} transitions depth {} {:?} {:?}", explored.states, explored.transitions, explored.depth, explored.shown, begin.elapsed());
        if let Some(c) = explored.counterexample { eprintln!("{c:?}"); }
    }
}
