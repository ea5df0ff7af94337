//! Pointers of Git LFS: what lies in place of a large file where a repository was cloned without fetching those.
//!
//! A pointer is a small text and no damage, so it is named as what it is wherever a file of a model is read.

use std::io;

/// How a pointer begins.
const BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Bytes that are a pointer in place of the file.
#[derive(Debug, thiserror::Error)]
#[error("it is a pointer of Git LFS in place of the file")]
struct Pointer;

/// Refuses bytes that are a pointer.
pub(super) fn refuse(bytes: &[u8]) -> io::Result<()> {
    match bytes.starts_with(BEGINS) {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, Pointer)),
        false => Ok(()),
    }
}

/// What to do where this, or a directory in its place, is why a file cannot be read.
pub(super) fn hint(error: &io::Error) -> Option<String> {
    if error.kind() == io::ErrorKind::IsADirectory {
        return Some(
            "give the directory another name, or take it away: a file is looked for there"
                .to_owned(),
        );
    }
    let inner = error.get_ref()?;
    inner.is::<Pointer>().then(|| {
        "fetch the files themselves: git lfs pull in that folder, or hone pull with the model's hub id".to_owned()
    })
}
