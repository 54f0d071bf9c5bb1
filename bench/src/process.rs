//! Processes and what they used: time, memory, and the clock that all of them share.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

/// The machine's monotonic clock, the same in all processes.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// CPU seconds that a process has used since it began, all its threads, user and system. The kernel
/// counts in hundredths.
pub(crate) fn cpu_secs(pid: u32) -> Result<f64> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // proc(5): utime and stime are fields 14 and 15; the name before the last `)` may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<u32>).collect::<Result<Vec<_>, _>>()?;
    let per_second = u32::try_from(rustix::param::clock_ticks_per_second())?;
    Ok(ticks.iter().map(|ticks| f64::from(*ticks)).sum::<f64>() / f64::from(per_second))
}

/// The most memory that a process has had at once, in MiB (`VmHWM`).
pub(crate) fn peak_rss_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmHWM")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}
