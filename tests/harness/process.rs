//! Processes as `/proc` shows them: whose they are, what they used, how to end them.
//!
//! A process belongs to a test when its environment names the test's temporary home, however it was
//! started and whoever its parent is now. Only Linux has `/proc`; elsewhere nothing is found.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Clock ticks per second of the times in `/proc/<pid>/stat` (`USER_HZ`, fixed at 100 in Linux's ABI).
const TICKS_PER_SECOND: f64 = 100.0;

/// How long killed processes may take to disappear.
const END: Duration = Duration::from_secs(10);

/// What the kernel says of one process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat {
    /// Its id.
    pub pid: i32,
    /// Its parent's id.
    pub parent: i32,
    /// One letter, as `ps` shows it: `R`, `S`, `T` (stopped), `Z` (dead, not yet reaped).
    pub state: char,
    /// Processor seconds it used itself.
    pub own: f64,
    /// Processor seconds of its children that ended and were reaped.
    pub children: f64,
}

/// Returns every process that can be seen.
pub fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Returns what the kernel says of `pid`, or nothing when it is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: i32, text: &str) -> Option<Stat> {
    // The second field is the program's name in parentheses and may hold anything, even `)`.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    let seconds = |first: usize| -> Option<f64> {
        let user: f64 = fields.get(first)?.parse().ok()?;
        let system: f64 = fields.get(first + 1)?.parse().ok()?;
        Some((user + system) / TICKS_PER_SECOND)
    };
    Some(Stat {
        pid,
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        own: seconds(11)?,
        children: seconds(13)?,
    })
}

/// Returns the live processes that descend from `root`, without it.
pub fn descendants(root: i32) -> Vec<Stat> {
    let all = all();
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for stat in all.iter().filter(|stat| stat.parent == parent) {
            parents.push(stat.pid);
            found.push(*stat);
        }
    }
    found
}

/// Returns the live processes whose environment says `HOME=<home>`.
pub fn with_home(home: &Path) -> Vec<Stat> {
    let wanted = format!("HOME={}", home.display());
    let mine = |stat: &Stat| {
        fs::read(format!("/proc/{}/environ", stat.pid))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
    };
    all().into_iter().filter(mine).collect()
}

/// Returns the resident memory of a process in bytes.
pub fn resident(pid: i32) -> Option<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Returns the most resident memory that a process ever had, in bytes.
pub fn peak(pid: i32) -> Option<u64> {
    status_bytes(pid, "VmHWM:")
}

/// Forgets the most resident memory that a process had until now, when the kernel allows it.
pub fn forget_peak(pid: i32) {
    // See proc_pid_clear_refs(5). Without it the peak is that of the whole life, which is no less.
    fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
}

/// Returns the bytes of memory that a process keeps for itself: without what it shares with the files that it runs.
pub fn private(pid: i32) -> Option<u64> {
    status_bytes(pid, "RssAnon:")
}

fn status_bytes(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Returns the name of the program that a process runs.
pub fn name(pid: i32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim_end().to_owned())
}

/// Sends a signal; a process that is already gone is fine.
pub fn signal(pid: i32, signal: Signal) {
    let Some(pid) = Pid::from_raw(pid) else { return };
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("cannot send {signal:?} to process {}: {error}", pid.as_raw_nonzero()),
    }
}

/// Kills a process and returns whether it lived until then.
pub fn kill(pid: i32) -> bool {
    let lives = stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'));
    lives && Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// Kills every process of that home and waits until none is left.
pub fn end_all(home: &Path) {
    let deadline = Instant::now() + END;
    loop {
        let left: Vec<Stat> = with_home(home).into_iter().filter(|stat| stat.state != 'Z').collect();
        if left.is_empty() {
            return;
        }
        for stat in &left {
            signal(stat.pid, Signal::KILL);
        }
        assert!(Instant::now() < deadline, "processes of {} do not end: {left:?}", home.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `true` comes; polls, because the kernel announces none of this.
///
/// # Panics
/// When it does not come within `limit`; `what` says what was waited for.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) R 1 (b) S 42 7 7 0 -1 4194304 0 0 0 0 150 50 200 100 20 0 1 0 0 0 0";
        let stat = parse(7, line).expect("a line of /proc");
        assert_eq!(stat, Stat { pid: 7, parent: 42, state: 'S', own: 2.0, children: 3.0 });
    }
}
