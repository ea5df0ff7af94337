//! How much may still be written somewhere.

use std::path::Path;

/// Bytes that may still be written where this path is or will be; `None` where the system does not tell.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|place| place.exists());
    // The empty path is the parent of a relative one: the current directory.
    let existing = existing.filter(|place| *place != Path::new(""));
    #[cfg(unix)]
    {
        let of = rustix::fs::statvfs(existing.unwrap_or(Path::new("."))).ok()?;
        Some(of.f_frsize.saturating_mul(of.f_bavail))
    }
    #[cfg(not(unix))]
    existing.and(None)
}
