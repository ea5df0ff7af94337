//! What disturbs a command, and what its user does next.

use std::fmt;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::judge::{self, Next};
use super::work::{Bench, OUT, Place, Reference, resume, wait};
use super::{Fault, Kind};

/// Numbers that a seed fixes (SplitMix64).
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit.max(1)
    }
}

/// What happens to a command.
#[derive(Clone, Debug)]
pub enum Disturbance {
    /// SIGKILL in place of a call that changes a file.
    KillAt { call: u64 },
    /// SIGKILL after some time.
    KillAfter { milliseconds: u64 },
    /// From a call on, all calls that change a file fail.
    Fail {
        call: u64,
        name: &'static str,
        errno: i32,
    },
    /// Another process with the same `--out`.
    Second { milliseconds: u64, resumes: bool },
    /// A file of the result is damaged after a kill or at the end.
    Damage {
        call: Option<u64>,
        how: &'static str,
    },
}

const ERRORS: [(&str, i32); 4] = [("ENOSPC", 28), ("EIO", 5), ("EACCES", 13), ("EDQUOT", 122)];
const DAMAGES: [&str; 5] = [
    "removed",
    "emptied",
    "cut in half",
    "one bit turned",
    "lengthened",
];

impl Disturbance {
    pub const NAMES: [&'static str; 5] = [
        "kills at a call",
        "kills at some time",
        "failing disks",
        "second writers",
        "damaged files",
    ];

    pub fn kind(&self) -> usize {
        match self {
            Self::KillAt { .. } => 0,
            Self::KillAfter { .. } => 1,
            Self::Fail { .. } => 2,
            Self::Second { .. } => 3,
            Self::Damage { .. } => 4,
        }
    }

    pub fn draw(draw: &mut Draw, reference: &Reference) -> Self {
        let call = 1 + draw.below(reference.calls);
        let milliseconds = draw.below((1200.0 * reference.seconds) as u64);
        match draw.below(10) {
            0..=3 => Self::KillAt { call },
            4 => Self::KillAfter { milliseconds },
            5..=7 => {
                let (name, errno) = ERRORS[draw.below(4) as usize];
                Self::Fail { call, name, errno }
            }
            8 if reference.work.is_training => Self::Damage {
                call: (draw.below(3) > 0).then_some(call),
                how: DAMAGES[draw.below(5) as usize],
            },
            _ => Self::Second {
                milliseconds: milliseconds / 2,
                resumes: reference.work.is_training && draw.below(2) == 0,
            },
        }
    }

    /// A round: the command disturbed, what its user does next, and what is wrong after that.
    pub fn run(
        &self,
        bench: &Bench,
        reference: &Reference,
        place: &Place,
        draw: &mut Draw,
    ) -> Result<Vec<Fault>> {
        let arguments = &reference.work.arguments;
        let kill = |call: u64| [("FAULTS_KILL_AT", call.to_string())];
        let mut faults = Vec::new();
        match self {
            Self::KillAt { call } => {
                bench.run(place, arguments, &kill(*call))?;
            }
            Self::KillAfter { milliseconds } => {
                let mut child = bench.command(place, arguments, &[]).spawn()?;
                thread::sleep(Duration::from_millis(*milliseconds));
                child.kill()?;
                wait(child)?;
            }
            Self::Fail { call, errno, .. } => {
                let fails = [
                    ("FAULTS_FAIL_AT", call.to_string()),
                    ("FAULTS_ERRNO", errno.to_string()),
                ];
                let ran = bench.run(place, arguments, &fails)?;
                judge::ending(&ran, "the failing command", &mut faults);
                if ran.status.success() {
                    judge::results(bench, reference, place, &mut faults)?;
                }
            }
            Self::Second {
                milliseconds,
                resumes,
            } => {
                let first = bench.command(place, arguments, &[]).spawn()?;
                thread::sleep(Duration::from_millis(*milliseconds));
                let second = match resumes {
                    true => bench.command(place, &resume(), &[]).spawn()?,
                    false => bench.command(place, arguments, &[]).spawn()?,
                };
                let (first, second) = (wait(first), wait(second));
                let (first, second) = (first?, second?);
                judge::ending(&first, "the first writer", &mut faults);
                judge::ending(&second, "the second writer", &mut faults);
                if !first.status.success() && !second.status.success() {
                    let what = format!(
                        "both writers failed: {} {}",
                        judge::message(&first),
                        judge::message(&second)
                    );
                    faults.push(Fault {
                        kind: Kind::Stuck,
                        what,
                    });
                }
            }
            Self::Damage { call, how } => {
                match call {
                    Some(call) => bench.run(place, arguments, &kill(*call))?,
                    None => bench.run(place, arguments, &[])?,
                };
                let file = damage(bench, place, how, draw)?;
                let next = judge::go_on(bench, reference, place, &mut faults)?;
                // What says that it cannot go on, and why, has done its duty: the damage is not the product's.
                if matches!(next, Next::Done) {
                    judge::damaged(bench, reference, place, file.as_deref(), &mut faults)?;
                }
                return Ok(faults);
            }
        }
        match judge::go_on(bench, reference, place, &mut faults)? {
            Next::Done => judge::all(bench, reference, place, &mut faults)?,
            Next::Refused(why) => faults.push(Fault {
                kind: Kind::Stuck,
                what: why,
            }),
        }
        Ok(faults)
    }
}

/// Damages a file of the run; says which, if there is one.
fn damage(bench: &Bench, place: &Place, how: &str, draw: &mut Draw) -> Result<Option<String>> {
    let out = format!("{OUT}/");
    let paths = bench.left(place)?.paths;
    let files: Vec<&String> = paths
        .iter()
        .filter(|path| path.starts_with(&out) && place.dir.join(path).is_file())
        .collect();
    if files.is_empty() {
        return Ok(None);
    }
    let name = files[draw.below(files.len() as u64) as usize];
    let path = place.dir.join(name);
    let mut bytes = fs::read(&path)?;
    match how {
        "removed" => fs::remove_file(&path)?,
        "emptied" => fs::write(&path, b"")?,
        "cut in half" => fs::write(&path, &bytes[..bytes.len() / 2])?,
        "lengthened" => fs::write(&path, [bytes.as_slice(), b"\0\0garbage"].concat())?,
        _ if bytes.is_empty() => {}
        _ => {
            let at = draw.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << draw.below(8);
            fs::write(&path, bytes)?;
        }
    }
    Ok(Some(name.clone()))
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillAt { call } => write!(f, "killed at call {call}"),
            Self::KillAfter { milliseconds } => write!(f, "killed after {milliseconds} ms"),
            Self::Fail { call, name, .. } => write!(f, "{name} from call {call} on"),
            Self::Second {
                milliseconds,
                resumes,
            } => {
                let what = if *resumes {
                    "--resume"
                } else {
                    "the same command"
                };
                write!(f, "{what} beside it after {milliseconds} ms")
            }
            Self::Damage { call, how } => match call {
                Some(call) => write!(f, "a file {how} after a kill at call {call}"),
                None => write!(f, "a file {how} after its end"),
            },
        }
    }
}
