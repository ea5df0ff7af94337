//! A file's bytes without reading them: pages come in when they are used, and can leave again.

use std::fs::File;
use std::io;
use std::path::Path;

use hone_tensor::Bytes;
use memmap2::Mmap;

/// Maps a whole file.
pub(super) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    // SAFETY: the map is only read. Weights are written whole and renamed into place, never changed in place; whoever does
    // change one under a running program ends that program: `cut_short` says so where pages are lost, and whoever
    // computes with the base asks `BaseWeights::check_unchanged`.
    let map = unsafe { Mmap::map(&file)? };
    super::pointer::refuse(&map)?;
    super::cut_short::watch(path, &map);
    Ok(Bytes::mapped(map))
}
