//! The bytes of one file: gathered beside their place, resumed where they broke off, and given their name once they are the
//! promised ones.
//!
//! A blob is named by its etag. For large files that is the sha256 of the bytes, for small ones git's sha1 of them; some
//! mirrors send the plain sha1. Other etags tell nothing about the bytes, which then only have to be of the promised size.

use super::cache::RepoCache;
use super::client::{Answer, Client, Etag, Trouble, next};
use super::files::is_readable;
use crate::base::watch::{PullEvent, PullWatch};
use hone_ledger::WriteError;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A file that the hub has described.
#[derive(Debug)]
pub struct Wanted {
    /// Its path in the repository.
    pub file: String,
    /// Its address on the hub.
    pub address: String,
    /// The name of its content.
    pub etag: Etag,
    /// Its size in bytes.
    pub size: u64,
}

/// Attempts after which it is given up, unless one of them has brought something.
const MOST_FRUITLESS: u32 = 3;

/// Fewer bytes than this before a connection breaks or falls silent are as good as none: a server that lets drops fall would
/// otherwise be waited for all night.
const SOMETHING_BYTES: u64 = 1 << 16;

/// How often another program's lock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asks again as long as the trouble may pass and a few attempts have not been in vain. `attempt` says how many bytes are
/// there, which is what tells progress from none.
pub fn insist<T>(
    what: &str,
    watch: &mut dyn PullWatch,
    mut attempt: impl FnMut(&mut dyn PullWatch, &mut u64) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let (mut fruitless, mut reached) = (0, 0);
    loop {
        let before = reached;
        let trouble = match attempt(watch, &mut reached) {
            Err(trouble) if trouble.may_pass() => trouble,
            ended => return ended,
        };
        let has_brought = reached.saturating_sub(before) >= SOMETHING_BYTES;
        fruitless = if has_brought { 1 } else { fruitless + 1 };
        if fruitless >= MOST_FRUITLESS {
            return Err(trouble);
        }
        watch.tell(PullEvent::AskingAgain {
            what,
            because: &trouble.to_string(),
        });
        pause(trouble.pause(fruitless), watch)?;
    }
}

/// Sleeps, unless the user wants to stop.
fn pause(time: Duration, watch: &dyn PullWatch) -> Result<(), Trouble> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if watch.is_stopped() {
            return Err(Trouble::Stopped);
        }
        sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
    Ok(())
}

/// Puts the bytes of a file into its blob, unless they are there.
pub fn fetch(
    client: &Client,
    cache: &RepoCache,
    wanted: &Wanted,
    watch: &mut dyn PullWatch,
) -> Result<(), Trouble> {
    let mut has_told = false;
    let _lock = cache.lock(&wanted.etag, || {
        if !has_told {
            watch.tell(PullEvent::Waiting { what: &wanted.file });
            has_told = true;
        }
        pause(LOOK_EVERY, watch)
    })?;
    let place = cache.blob(&wanted.etag);
    if is_here(&place, wanted, watch)? {
        return Ok(());
    }
    let partial = cache.partial(&wanted.etag);
    let mut gathered = Gathered::begin(&partial, wanted)?;
    let began_with = gathered.len;
    let mut ended = insist(&wanted.file, watch, |watch, reached| {
        let ended = gathered.gather(client, watch);
        *reached = gathered.len;
        ended
    })
    .and_then(|()| gathered.check());
    // What an earlier pull has left may be of other bytes: once more, from the first byte.
    if began_with > 0 && matches!(ended, Err(Trouble::WrongBytes { .. })) {
        gathered.forget()?;
        ended = insist(&wanted.file, watch, |watch, reached| {
            let ended = gathered.gather(client, watch);
            *reached = gathered.len;
            ended
        })
        .and_then(|()| gathered.check());
    }
    if matches!(ended, Err(Trouble::WrongBytes { .. })) {
        // Nothing can be made of them, and the next pull must not go on from there.
        let _ = fs::remove_file(&partial);
    }
    ended?;
    let write = gathered
        .file
        .sync_all()
        .and_then(|()| fs::rename(&partial, &place));
    write.map_err(|source| Trouble::Write(WriteError::new(&place, 0, source)))
}

/// Whether a file is there, and is what the hub has described, as far as its etag tells.
pub fn is_here(path: &Path, wanted: &Wanted, watch: &mut dyn PullWatch) -> Result<bool, Trouble> {
    let is_likely = is_of_size(path, wanted.size) && is_readable(path, &wanted.file);
    Ok(is_likely && is_intact(path, wanted, watch)?)
}

/// Whether the bytes of a file are those that its etag names; an etag that is no hash names any.
pub fn is_intact(path: &Path, wanted: &Wanted, watch: &mut dyn PullWatch) -> Result<bool, Trouble> {
    let mut hashes = Hashes::new(wanted);
    if matches!(hashes, Hashes::Untold) {
        return Ok(true);
    }
    // What cannot be read is not here.
    let Ok(mut file) = File::open(path) else {
        return Ok(false);
    };
    let (mut buffer, mut done) = (vec![0; 1 << 20], 0);
    loop {
        if watch.is_stopped() {
            return Err(Trouble::Stopped);
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hashes.check(&wanted.etag).is_ok()),
            Ok(n) => {
                hashes.update(&buffer[..n]);
                done += n as u64;
                watch.tell(PullEvent::Bytes {
                    file: &wanted.file,
                    done,
                    total: wanted.size,
                });
            }
            Err(_) => return Ok(false),
        }
    }
}

/// Whether a file is there and as long as it should be.
pub fn is_of_size(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}

/// The bytes so far.
struct Gathered<'a> {
    wanted: &'a Wanted,
    path: &'a Path,
    file: File,
    len: u64,
    hashes: Hashes,
}

impl<'a> Gathered<'a> {
    /// Takes up what an earlier pull has left.
    fn begin(path: &'a Path, wanted: &'a Wanted) -> Result<Self, Trouble> {
        let open = || {
            // A link leads to a file of somebody's.
            if path.is_symlink() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            let mut file = options.open(path)?;
            let mut hashes = Hashes::new(wanted);
            let mut len = 0;
            let mut buffer = vec![0; 1 << 20];
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => {
                        hashes.update(&buffer[..n]);
                        len += n as u64;
                    }
                }
            }
            Ok(Self {
                wanted,
                path,
                file,
                len,
                hashes,
            })
        };
        let mut gathered =
            open().map_err(|source| Trouble::Write(WriteError::new(path, 0, source)))?;
        if gathered.len > wanted.size {
            gathered.forget()?;
        }
        Ok(gathered)
    }

    /// Begins with the first byte.
    fn forget(&mut self) -> Result<(), Trouble> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|source| self.unwritten(source))?;
        (self.len, self.hashes) = (0, Hashes::new(self.wanted));
        Ok(())
    }

    fn unwritten(&self, source: std::io::Error) -> Trouble {
        Trouble::Write(WriteError::new(self.path, 0, source))
    }

    /// Asks for what is missing and takes what comes.
    fn gather(&mut self, client: &Client, watch: &mut dyn PullWatch) -> Result<(), Trouble> {
        self.tell(watch);
        if self.len == self.wanted.size {
            return Ok(());
        }
        let answer = client.open(&self.wanted.address, self.len, watch)?;
        if answer.status == 416 {
            // The server's file ends before ours: these are not its bytes.
            return Err(self.wrong_size(self.len));
        }
        let answer = answer.successful()?;
        self.continue_where(&answer)?;
        let chunks = Client::chunks(answer.body);
        let mut pace = client.pace();
        while self.len < self.wanted.size {
            let chunk = match next(&chunks, watch)? {
                Some(Ok(chunk)) if !chunk.is_empty() => chunk,
                Some(Err(error)) => return Err(client.explain_reading(error)),
                Some(Ok(_)) | None => {
                    let (len, size) = (self.len, self.wanted.size);
                    return Err(Trouble::Cut(format!("after {len} of {size} bytes")));
                }
            };
            let n = chunk.len();
            if self.len + n as u64 > self.wanted.size {
                return Err(self.wrong_size(self.len + n as u64));
            }
            let written = self.file.write_all(&chunk);
            written.map_err(|source| self.unwritten(source))?;
            self.hashes.update(&chunk);
            self.len += n as u64;
            self.tell(watch);
            // What is whole is not slow any more.
            if self.len < self.wanted.size {
                pace.took(n as u64)?;
            }
        }
        Ok(())
    }

    /// Makes sure that an answer's first byte is the next one of ours.
    fn continue_where(&mut self, answer: &Answer) -> Result<(), Trouble> {
        if !answer.is_plain() {
            let coded = "it sends the file compressed, though it was asked not to";
            return Err(Trouble::Unsound(coded.into()));
        }
        if answer.status == 200 {
            return if self.len > 0 { self.forget() } else { Ok(()) };
        }
        let (first, total) = answer
            .range()
            .ok_or_else(|| Trouble::Unsound("it sends a part and does not say which".into()))?;
        if first != self.len {
            let asked = self.len;
            return Err(Trouble::Unsound(format!(
                "it sends bytes from {first} on, asked for those from {asked} on"
            )));
        }
        match total.filter(|total| *total != self.wanted.size) {
            Some(total) => Err(self.wrong_size(total)),
            None => Ok(()),
        }
    }

    fn wrong_size(&self, found: u64) -> Trouble {
        let at_least = if found > self.wanted.size {
            "at least "
        } else {
            ""
        };
        Trouble::WrongBytes {
            what: "size",
            found: format!("{at_least}{found}"),
            expected: self.wanted.size.to_string(),
        }
    }

    fn check(&mut self) -> Result<(), Trouble> {
        std::mem::replace(&mut self.hashes, Hashes::new(self.wanted)).check(&self.wanted.etag)
    }

    fn tell(&self, watch: &mut dyn PullWatch) {
        watch.tell(PullEvent::Bytes {
            file: &self.wanted.file,
            done: self.len,
            total: self.wanted.size,
        });
    }
}

/// The hashes that an etag may be.
enum Hashes {
    Sha256(Box<Sha256>),
    Sha1 { git: Sha1, plain: Sha1 },
    Untold,
}

impl Hashes {
    fn new(wanted: &Wanted) -> Self {
        let etag = wanted.etag.as_ref();
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if is_hex => Self::Sha256(Box::default()),
            40 if is_hex => {
                let mut git = Sha1::new();
                git.update(format!("blob {}\0", wanted.size));
                Self::Sha1 {
                    git,
                    plain: Sha1::new(),
                }
            }
            _ => Self::Untold,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha1 { git, plain } => {
                git.update(bytes);
                plain.update(bytes);
            }
            Self::Untold => {}
        }
    }

    fn check(self, etag: &Etag) -> Result<(), Trouble> {
        let hex = |hash: &[u8]| -> String { hash.iter().map(|b| format!("{b:02x}")).collect() };
        let expected = etag.as_ref().to_ascii_lowercase();
        let (what, found) = match self {
            Self::Sha256(hash) => ("sha256", vec![hex(&hash.finalize())]),
            Self::Sha1 { git, plain } => {
                let found = vec![hex(&git.finalize()), hex(&plain.finalize())];
                ("git hash", found)
            }
            Self::Untold => return Ok(()),
        };
        if found.contains(&expected) {
            return Ok(());
        }
        Err(Trouble::WrongBytes {
            what,
            found: found.into_iter().next().unwrap_or_default(),
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(etag: &str, bytes: &[u8]) -> Result<(), String> {
        let wanted = Wanted {
            file: "a".into(),
            address: String::new(),
            etag: Etag::parse(etag).unwrap(),
            size: bytes.len() as u64,
        };
        let mut hashes = Hashes::new(&wanted);
        hashes.update(bytes);
        hashes.check(&wanted.etag).map_err(|e| e.to_string())
    }

    #[test]
    fn bytes_are_held_against_every_hash_that_an_etag_may_be() {
        // `printf hello | git hash-object --stdin`, sha1sum and sha256sum.
        for etag in [
            "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",
            "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "anything-else",
        ] {
            assert_eq!(verdict(etag, b"hello"), Ok(()), "{etag}");
            let is_hash = etag != "anything-else";
            assert_eq!(verdict(etag, b"hullo").is_err(), is_hash, "{etag}");
        }
    }
}
