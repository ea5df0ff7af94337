//! A model that is spread over several GGUF files, as `llama-gguf-split` writes them: `NAME-00001-of-00003.gguf` and so on.
//!
//! The first part has the metadata, every part has some of the tensors and says which part of how many it is. The others
//! are found by their names beside the one that is given, whichever that is.

use std::path::{Path, PathBuf};

use super::{Gguf, GgufError, Malformed};

/// The name of a part: what the parts have in common, which one it is, counted from 1, and how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartName {
    stem: String,
    /// Which part it is, counted from 1.
    pub number: usize,
    /// How many parts there are.
    pub count: usize,
}

impl PartName {
    /// Reads the name of a file; `None` if it is not the name of a part.
    pub fn parse(name: &str) -> Option<Self> {
        let rest = name.strip_suffix(".gguf")?;
        let (rest, count) = rest.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let read = |digits: &str| {
            let is_padded = digits.len() >= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<usize>().ok().filter(|_| is_padded)
        };
        let (number, count) = (read(number)?, read(count)?);
        let is_one = (1..=count).contains(&number) && count <= MOST_PARTS;
        is_one.then(|| Self {
            stem: stem.to_owned(),
            number,
            count,
        })
    }

    /// The name of another part of the same model.
    pub fn other(&self, number: usize) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.count)
    }

    /// The names of all parts, in their order.
    pub fn all(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| self.other(number))
    }
}

/// More parts than this are a mistake; GGUF counts them in 16 bits.
const MOST_PARTS: usize = u16::MAX as usize;

/// Which part of how many a file says it is, counted from 1.
struct Part {
    number: usize,
    count: usize,
}

impl Gguf {
    /// `None` for a file that is a whole model.
    fn part(&self) -> Result<Option<Part>, Malformed> {
        const NUMBER: &str = "split.no";
        let count = self.u32("split.count")?.unwrap_or(0) as usize;
        if count <= 1 {
            return Ok(None);
        }
        let missing = || Malformed::MissingKey { key: NUMBER.into() };
        let number = self.u32(NUMBER)?.ok_or_else(missing)? as usize + 1;
        match number <= count {
            true => Ok(Some(Part { number, count })),
            false => Err(Malformed::PartNumber { number, count }),
        }
    }

    /// The whole model, if this file is a part of one: the other parts lie beside it.
    pub(super) fn with_other_parts(self, path: &Path) -> Result<Self, GgufError> {
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |problem| GgufError { path, problem }
        };
        let Some(Part { number, count }) = self.part().map_err(fail(path))? else {
            return Ok(self);
        };
        let file = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let file = file.unwrap_or_default();
        let named =
            PartName::parse(&file).filter(|name| (name.number, name.count) == (number, count));
        let name = named.ok_or(Malformed::PartName { number, count });
        let name = name.map_err(fail(path))?;
        let mut given = Some(self);
        let mut whole: Option<Self> = None;
        for (at, beside) in name.all().enumerate() {
            let beside: PathBuf = path.with_file_name(&beside);
            let part = match given.take_if(|_| at + 1 == number) {
                Some(part) => part,
                None if !beside.exists() => {
                    return Err(fail(path)(Malformed::MissingPart {
                        number,
                        count,
                        missing: name.other(at + 1),
                    }));
                }
                None => Self::open_one(&beside)?,
            };
            match part.part().map_err(fail(&beside))? {
                Some(part) if (part.number, part.count) == (at + 1, count) => {}
                _ => {
                    return Err(fail(&beside)(Malformed::OtherPart {
                        number: at + 1,
                        count,
                    }));
                }
            }
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.take_tensors(part).map_err(fail(&beside))?,
            }
        }
        let mut whole = whole.expect("a model of several parts has a first one");
        let counted = whole.u32("split.tensors.count").map_err(fail(path))?;
        let found = whole.tensors.len();
        if let Some(counted) = counted.filter(|counted| *counted as usize != found) {
            return Err(fail(path)(Malformed::PartTensors {
                counted: counted as usize,
                found,
            }));
        }
        // What is written of it is one file.
        whole.metadata.retain(|key, _| !key.starts_with("split."));
        Ok(whole)
    }

    /// The files that it was opened from, one of which is `path`.
    pub(crate) fn files(&self, path: &Path) -> Vec<PathBuf> {
        let name = path.file_name().and_then(|name| name.to_str());
        match name.and_then(PartName::parse) {
            Some(name) if self.parts.len() > 1 => {
                name.all().map(|part| path.with_file_name(part)).collect()
            }
            _ => vec![path.to_path_buf()],
        }
    }

    fn take_tensors(&mut self, part: Self) -> Result<(), Malformed> {
        let place = self.parts.len();
        self.parts.extend(part.parts);
        for (name, mut entry) in part.tensors {
            if self.tensors.contains_key(&name) {
                return Err(Malformed::Duplicate {
                    what: "tensor",
                    name,
                });
            }
            entry.part = place;
            self.tensors.insert(name, entry);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::{BaseWeights, GgufTensor, GgufWriter, Typed};

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama.gguf")
    }

    /// Spreads the fixture over parts: metadata in the first one, tensors in turn.
    fn spread(dir: &Path, count: usize) -> Vec<PathBuf> {
        let whole = Gguf::open(&fixture()).unwrap();
        let name = PartName {
            stem: "tiny".into(),
            number: 1,
            count,
        };
        let write = |at: usize| {
            let path = dir.join(name.other(at + 1));
            let tensors = whole.tensors().enumerate();
            let mine = tensors.filter(|(tensor, _)| tensor % count == at);
            let headers: Vec<GgufTensor> = mine
                .map(|(_, (name, entry))| GgufTensor {
                    name: name.into(),
                    dims: entry.dims.clone(),
                    format: entry.format,
                })
                .collect();
            let mut rows = vec![
                ("split.no".to_owned(), Typed::U16(at as u16)),
                ("split.count".to_owned(), Typed::U16(count as u16)),
                (
                    "split.tensors.count".to_owned(),
                    Typed::I32(whole.tensors().count() as i32),
                ),
            ];
            if at == 0 {
                let keys = whole.keys().filter(|key| *key != "general.alignment");
                rows.extend(keys.map(|key| (key.to_owned(), whole.typed(key).unwrap())));
            }
            let mut writer = GgufWriter::create(&path, &rows, &headers).unwrap();
            for header in &headers {
                let matrix = whole.matrix(&header.name).unwrap().unwrap();
                matrix.read_rows(|row| writer.append(&header.name, row).unwrap());
            }
            writer.finish().unwrap();
            path
        };
        (0..count).map(write).collect()
    }

    #[test]
    fn any_part_opens_the_model_that_is_spread_over_them() {
        let dir = tempfile::tempdir().unwrap();
        let whole = BaseWeights::open(&fixture()).unwrap();
        for count in [2, 3] {
            for part in spread(dir.path(), count) {
                let spread = BaseWeights::open(&part).unwrap();
                assert_eq!(spread.fingerprint().unwrap(), whole.fingerprint().unwrap());
                assert_eq!(spread.config(), whole.config());
                let (spread, whole) = (spread.gguf().unwrap(), whole.gguf().unwrap());
                assert!(spread.keys().all(|key| !key.starts_with("split.")));
                for key in whole.keys().filter(|key| *key != "general.alignment") {
                    assert_eq!(spread.typed(key), whole.typed(key), "{key}");
                }
            }
        }
    }

    #[test]
    fn a_missing_part_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let parts = spread(dir.path(), 3);
        std::fs::remove_file(&parts[1]).unwrap();
        let error = Gguf::open(&parts[2]).unwrap_err().to_string();
        assert!(
            error.ends_with("tiny-00003-of-00003.gguf: this is part 3 of 3, and tiny-00002-of-00003.gguf is not beside it"),
            "{error}"
        );
    }

    #[test]
    fn parts_are_known_by_their_names_and_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let parts = spread(dir.path(), 2);
        let renamed = dir.path().join("model.gguf");
        std::fs::copy(&parts[1], &renamed).unwrap();
        let error = Gguf::open(&renamed).unwrap_err().to_string();
        assert!(
            error.ends_with("this is part 2 of 2, and the others are found by the name NAME-00002-of-00002.gguf, which this file does not have"),
            "{error}"
        );
        // A part in the place of another.
        std::fs::copy(&parts[0], &parts[1]).unwrap();
        let error = Gguf::open(&parts[0]).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "00002-of-00002.gguf: this is not part 2 of 2 of the model, as its name says"
            ),
            "{error}"
        );
    }

    #[test]
    fn names_of_parts_have_numbers_of_five_digits() {
        let name = PartName::parse("a-b-Q4_0-00002-of-00010.gguf").unwrap();
        assert_eq!((name.number, name.count), (2, 10));
        assert_eq!(name.other(10), "a-b-Q4_0-00010-of-00010.gguf");
        for other in [
            "a.gguf",
            "a-00003-of-00002.gguf",
            "a-00000-of-00002.gguf",
            "a-1-of-2.gguf",
            "a-00001-of-00002.bin",
            "a-00001-of-99999999999999999999.gguf",
        ] {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
    }
}
