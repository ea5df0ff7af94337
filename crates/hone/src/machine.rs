//! What this machine has: threads, free memory, and what this process uses of it.
//!
//! Read from the kernel where it tells (Linux: `/proc` and the control group); elsewhere a careful default stands in,
//! so that a plan is never built on a guess that is too large.

use crate::plan::{Machine, Size};
use std::fs;
use std::path::Path;

/// Assumed to be free where the system does not tell.
const CAREFUL_DEFAULT: Size = Size {
    bytes: 4_000_000_000,
};

impl Machine {
    /// Looks at this machine.
    pub fn measure() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = free_memory().map_or(CAREFUL_DEFAULT, |bytes| Size { bytes });
        Self { threads, memory }
    }
}

/// Memory that can be had without swapping, within the control group's limit.
fn free_memory() -> Option<u64> {
    let free = field_of(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let read = |name: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/{name}"))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let in_group = read("memory.max")
        .zip(read("memory.current"))
        .map(|(max, used)| max.saturating_sub(used));
    Some(free.min(in_group.unwrap_or(u64::MAX)))
}

/// What may still be written where this path is or will be; `None` where the system does not tell.
pub fn free_disk(path: &Path) -> Option<Size> {
    hone_finetune::free_bytes(path).map(|bytes| Size { bytes })
}

/// Memory that all of this program takes once every page of it was touched; a round figure where the system does not tell.
pub fn loaded_bytes() -> usize {
    const ROUND: usize = 32 << 20;
    let program = std::env::current_exe().ok();
    let maps = fs::read_to_string("/proc/self/maps").ok();
    let (Some(program), Some(maps)) = (program, maps) else {
        return ROUND;
    };
    let program = program.display().to_string();
    let ours = maps.lines().filter(|line| line.ends_with(&program));
    match ours.filter_map(span_of).sum() {
        0 => ROUND,
        bytes => bytes,
    }
}

/// The length of an `address-address …` line.
fn span_of(line: &str) -> Option<usize> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    let address = |digits| usize::from_str_radix(digits, 16).ok();
    address(to)?.checked_sub(address(from)?)
}

/// The most memory this process has had at once; zero where the system does not tell.
pub fn peak_memory_bytes() -> u64 {
    status_field("VmHWM:")
}

/// The memory this process has now; zero where the system does not tell.
pub fn memory_bytes() -> u64 {
    status_field("VmRSS:")
}

fn status_field(name: &str) -> u64 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| field_of(&status, name))
        .unwrap_or(0)
}

/// A `Name:  123 kB` line in bytes.
fn field_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_fields_are_read_as_kibibytes() {
        let text = "MemTotal:       24689764 kB\nMemAvailable:   22012345 kB\n";
        assert_eq!(field_of(text, "MemAvailable:"), Some(22_012_345 * 1024));
        assert_eq!(field_of(text, "Swap:"), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_place_that_does_not_exist_yet_has_the_room_of_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let here = free_disk(dir.path()).unwrap();
        let there = free_disk(&dir.path().join("not/yet")).unwrap();
        // Others write to the same disk meanwhile.
        assert!(here.bytes > 0 && here.bytes.abs_diff(there.bytes) < 1 << 30);
        assert!(free_disk(Path::new("not-yet")).is_some());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_big_allocation_shows_in_the_peak() {
        let before = peak_memory_bytes();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(
            peak_memory_bytes() >= before.min(memory_bytes()),
            "the peak is below what is in use"
        );
        assert!(memory_bytes() > block.len() as u64);
    }
}
