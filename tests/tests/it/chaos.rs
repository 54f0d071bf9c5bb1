//! Chaos on real parts, in a small size; and whether its checker finds what is planted.

use std::{collections::BTreeSet, time::Duration};

use system_tests::chaos::{self, Plant, Settings};

/// Within what the test runner gives one test.
const DRAIN: Duration = Duration::from_secs(90);

fn settings(length: Duration) -> Settings {
    let seed = std::env::var("ONCEBOX_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut settings = Settings::new(length, seed.unwrap_or_else(Settings::any_seed));
    eprintln!("to see this run's faults again: ONCEBOX_SEED={}", settings.seed);
    settings.rate = 6.0;
    settings.relays = 2;
    settings.drain = DRAIN;
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_parts_under_random_faults_keep_every_promise() {
    let settings = settings(Duration::from_secs(40));
    let report = chaos::run(&settings, |line| eprintln!("{line}")).await.unwrap();
    assert!(report.is_well(), "\n{report}");
    assert!(report.summary.events > 40, "too few events to say anything\n{report}");
    assert!(
        report.faults.values().sum::<u64>() >= 3,
        "too few faults to say anything\n{report}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_that_is_planted_is_found_as_what_it_is_and_nothing_else() {
    let mut settings = settings(Duration::from_secs(20));
    settings.faults = false;
    settings.plants = Plant::ALL.into_iter().collect();
    let report = chaos::run(&settings, |line| eprintln!("{line}")).await.unwrap();
    let found: BTreeSet<&str> = report.kinds.iter().copied().collect();
    let planted: BTreeSet<&str> = Plant::ALL.into_iter().map(Plant::shows_as).collect();
    assert_eq!(found, planted, "\n{report}");
    assert!(!report.is_well());
    let folder = report.folder.unwrap();
    let kept = std::fs::read_to_string(folder.join("violations.txt")).unwrap();
    assert_eq!(kept.lines().count(), report.kinds.len());
    std::fs::remove_dir_all(folder).unwrap();
}
