//! Numbers in the pages of a anonymous temporary file: when memory is short the system writes them there, and the run goes on.

use std::io;
use std::path::Path;

use memmap2::MmapMut;

/// A buffer of zeros at first, gone with its file when dropped.
#[derive(Debug)]
pub struct Paged {
    pages: MmapMut,
    len: usize,
}

impl Paged {
    /// Room for `len` numbers in a file under `dir`.
    pub fn zeros(dir: &Path, len: usize) -> io::Result<Self> {
        let mut file = tempfile::tempfile_in(dir)?;
        // Written, not only made long: a full disk is told here, and not by a signal in the middle of a step.
        let bytes = 4 * len.max(1) as u64;
        io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
        // SAFETY: the file has no name, so nobody else can reach it to change or shorten it.
        let pages = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { pages, len })
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.pages)[..self.len]
    }

    /// The numbers, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.pages)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_what_is_written_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut paged = Paged::zeros(dir.path(), 5000).unwrap();
        assert_eq!(paged.as_slice(), [0.0; 5000]);
        paged.as_mut_slice()[4999] = 1.5;
        assert_eq!(paged.as_slice()[4999], 1.5);
        drop(paged);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(Paged::zeros(&dir.path().join("absent"), 1).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn pages_belong_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let paged = Paged::zeros(dir.path(), 5000).unwrap();
        let address = format!("{:x}-", paged.as_slice().as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&address));
        let line = line.expect("a map of its own");
        assert!(line.contains(" rw-s "), "shared with its file: {line}");
    }
}
