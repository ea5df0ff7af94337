//! Values of options that are of this program alone, and what the machine and the base say about options.

use crate::data_flags::as_text;
use clap::ValueEnum;
use hone_train::WidthRate;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the frozen base is held while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// As stored on disk.
    Lora,
    /// In NF4 with double quantisation, made on load.
    Qlora,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lora => "lora",
            Self::Qlora => "qlora",
        })
    }
}

/// Work that is left out because it would change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shortcut {
    /// Beginnings that examples of a batch have in common are computed once.
    SharedPrefix,
    /// The first layer projects each distinct token once.
    DistinctTokens,
    /// The last layer computes only rows that feed a supervised token.
    LastLayer,
    /// The head computes supervised rows only.
    SupervisedHead,
    /// The backward pass ends at the lowest adapted layer.
    LowestLayer,
    /// What enters the lowest adapted layer is kept from epoch to epoch.
    ActivationCache,
}

/// What this machine offers; measured once by the caller, so that resolving stays a pure function.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Processor threads.
    pub threads: usize,
    /// Memory that is free for us.
    pub memory: Size,
}

/// What the base says about options, once it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BaseFacts {
    /// The tokens that it was made for.
    pub context: Option<usize>,
    /// The learning rate that suits its width.
    pub rate: Option<WidthRate>,
}

/// A number of its own for some projections, written `down_proj=32`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Own {
    /// Name of projections, or the path of one.
    pub name: String,
    /// Their number.
    pub value: f64,
}

impl std::str::FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` gives no number; write it like down_proj=32");
        let (name, value) = text.split_once('=').ok_or_else(refuse)?;
        let value: f64 = value.trim().parse().map_err(|_| refuse())?;
        match name.trim() {
            "" => Err(refuse()),
            name if value.is_finite() => Ok(Self {
                name: name.to_owned(),
                value,
            }),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

as_text!(Own);

/// A number of bytes, written `1500MB`, `2GB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    /// The number of bytes.
    pub bytes: u64,
}

/// Units of a [`Size`], longest suffix first so that `GiB` is not read as `B`.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("B", 1),
];

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a size; write it like 1500MB, 2GB or 2GiB");
        let split = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
        let (number, factor) = split.unwrap_or((text, 1));
        let number: f64 = number.trim().parse().map_err(|_| refuse())?;
        let bytes = number * factor as f64;
        if !bytes.is_finite() || bytes < 1.0 {
            return Err(refuse());
        }
        Ok(Self {
            bytes: bytes as u64,
        })
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        format!("{}B", size.bytes)
    }
}

impl fmt::Display for Size {
    /// Three digits are enough to compare with what a machine has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.bytes {
            n if n >= 1_000_000_000 => format!("{:.2} GB", n as f64 / 1e9),
            n if n >= 100_000_000 => format!("{:.0} MB", n as f64 / 1e6),
            n if n >= 1_000_000 => format!("{} MB", (n as f64 / 1e5).round() / 10.0),
            n if n >= 1_000 => format!("{:.0} kB", n as f64 / 1e3),
            n => format!("{n} B"),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let bytes = |text: &str| text.parse::<Size>().map(|size| size.bytes);
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
        assert_eq!(bytes("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(bytes("512 MB"), Ok(512_000_000));
        assert_eq!(bytes("77"), Ok(77));
        let shown = |bytes| Size { bytes }.to_string();
        assert_eq!(shown(21_560_000), "21.6 MB");
        assert_eq!(shown(1_000_000), "1 MB");
        assert_eq!(shown(1_234_000_000), "1.23 GB");
        for bad in ["", "GB", "-1GB", "0", "many", "nan", "inf"] {
            assert!(bytes(bad).unwrap_err().contains("1500MB"), "{bad}");
        }
    }
}
