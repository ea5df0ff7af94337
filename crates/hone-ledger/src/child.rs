//! Programs of strangers that are started and held to limits: so much memory, and an end together with all that they have
//! started.

use std::process::{Child, Command};

/// Starts with a group of its own, so that [`end_all`] ends what it starts as well.
pub fn in_own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Holds a child to so much address space, where the system can be asked for that: on Linux.
pub fn limit_memory(child: &Child, bytes: u64) {
    #[cfg(target_os = "linux")]
    if let Some(pid) = pid_of(child) {
        let limit = rustix::process::Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        let _ = rustix::process::prlimit(Some(pid), rustix::process::Resource::As, limit);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (child, bytes);
}

/// Ends a child of [`in_own_group`] and what it has started.
pub fn end_all(child: &mut Child) {
    #[cfg(unix)]
    if let Some(group) = pid_of(child) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(unix)]
fn pid_of(child: &Child) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(child.id()).ok()?)
}
