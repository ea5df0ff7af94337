//! Safetensors out: one `model.safetensors`, or shards with an index, as transformers saves them.
//!
//! Names, types and shapes are known before the first number is, so the headers are laid out at once and tensors
//! follow one by one; a model larger than memory goes through in parts. Files take their names together at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hone_ledger::{SealedFile, write_whole};
use safetensors::Dtype;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::sections::{Section, Sections, WriterError};
use super::shards::{INDEX, SINGLE};

/// A tensor to be written: what the header says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Extent of each axis, slowest first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Bytes it takes; `None` when that is more than can be addressed.
    pub fn size_bytes(&self) -> Option<u64> {
        let count = self
            .shape
            .iter()
            .try_fold(1_u64, |count, axis| count.checked_mul(*axis as u64))?;
        let bits = count.checked_mul(self.dtype.bitsize() as u64)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }
}

/// Writes a model's tensors into a directory, in the order of [`tensors`](Self::tensors).
///
/// Dropped before [`finish`](Self::finish), it leaves nothing.
#[derive(Debug)]
pub struct ShardsWriter {
    dir: PathBuf,
    metadata: BTreeMap<String, String>,
    shards: Vec<Shard>,
    tensors: Vec<TensorSpec>,
    is_synced: bool,
    /// The shard that is being written; the ones before it are sealed.
    current: Option<Sections>,
    sealed: Vec<SealedFile>,
}

#[derive(Debug)]
struct Shard {
    name: String,
    tensors: Vec<TensorSpec>,
}

impl ShardsWriter {
    /// Begins a model in `dir`, which exists and holds none. A new shard begins where one would pass
    /// `max_shard_bytes` of numbers (transformers: 5 GB); a tensor larger than that has a shard of its own.
    /// `metadata` goes into every header; `format = pt` is added, which transformers asks for.
    pub fn create(
        dir: &Path,
        tensors: Vec<TensorSpec>,
        max_shard_bytes: u64,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, WriterError> {
        check_empty(dir)?;
        check_tensors(dir, &tensors)?;
        let shards = named(split(tensors, max_shard_bytes));
        let mut metadata = metadata.clone();
        metadata.entry("format".into()).or_insert("pt".into());
        let mut writer = Self {
            dir: dir.to_path_buf(),
            metadata,
            tensors: shards
                .iter()
                .flat_map(|shard| shard.tensors.clone())
                .collect(),
            shards,
            is_synced: true,
            current: None,
            sealed: Vec::new(),
        };
        writer.begin_shard()?;
        Ok(writer)
    }

    /// Does not wait for the disk at the end: for a directory that waits for all its files before it takes its name.
    pub fn unsynced(self) -> Self {
        Self {
            is_synced: false,
            current: self.current.map(Sections::unsynced),
            ..self
        }
    }

    /// The tensors in the order in which their numbers are awaited: as given, but within a shard wider types first,
    /// so that each begins at a multiple of its width.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// The next numbers of a tensor, little-endian and row-major: all of it, or a part.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), WriterError> {
        // A shard of tensors without numbers is complete from the start.
        while self.sealed.len() + 1 < self.shards.len() && self.is_complete() {
            self.seal()?;
            self.begin_shard()?;
        }
        match &mut self.current {
            Some(shard) => shard.append(name, bytes),
            None => unreachable!("a shard is begun at once, and the last one stays until the end"),
        }
    }

    /// Gives every file its name once all numbers are there, and writes the index of several. Returns the files.
    pub fn finish(mut self) -> Result<Vec<PathBuf>, WriterError> {
        self.seal()?;
        while self.sealed.len() < self.shards.len() {
            self.begin_shard()?;
            self.seal()?;
        }
        for file in std::mem::take(&mut self.sealed) {
            file.take_the_name()?;
        }
        let mut paths: Vec<PathBuf> = self
            .shards
            .iter()
            .map(|shard| self.dir.join(&shard.name))
            .collect();
        if self.shards.len() > 1 {
            // Last: without an index the shards are not a model.
            let index = self.dir.join(INDEX);
            let text = serde_json::to_string_pretty(&self.index()).expect("strings and numbers");
            write_whole(&index, format!("{text}\n").as_bytes())?;
            paths.push(index);
        }
        Ok(paths)
    }

    fn is_complete(&self) -> bool {
        self.current.as_ref().is_some_and(Sections::is_complete)
    }

    fn begin_shard(&mut self) -> Result<(), WriterError> {
        let shard = &self.shards[self.sealed.len()];
        let sections = shard.tensors.iter().map(|tensor| Section {
            name: tensor.name.clone(),
            size_bytes: size_of(tensor),
        });
        let header = header(&shard.tensors, &self.metadata);
        let path = self.dir.join(&shard.name);
        let begun = Sections::begin(&path, &header, sections, 1)?;
        self.current = Some(match self.is_synced {
            true => begun,
            false => begun.unsynced(),
        });
        Ok(())
    }

    fn seal(&mut self) -> Result<(), WriterError> {
        if let Some(shard) = self.current.take() {
            self.sealed.push(shard.seal()?);
        }
        Ok(())
    }

    fn index(&self) -> Json {
        let mut weight_map = BTreeMap::new();
        for shard in &self.shards {
            for tensor in &shard.tensors {
                weight_map.insert(&tensor.name, &shard.name);
            }
        }
        let total_size: u64 = self.tensors.iter().map(size_of).sum();
        json!({"metadata": {"total_size": total_size}, "weight_map": weight_map})
    }
}

fn size_of(tensor: &TensorSpec) -> u64 {
    tensor.size_bytes().expect("sizes are checked first")
}

/// Files of another model in the same directory would be read together with this one, or instead of it.
fn check_empty(dir: &Path) -> Result<(), WriterError> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let found = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| {
            name == SINGLE
                || name == INDEX
                || name.starts_with("model-") && name.ends_with(".safetensors")
        });
    match found {
        Some(found) => Err(WriterError::Occupied {
            dir: dir.to_path_buf(),
            found,
        }),
        None => Ok(()),
    }
}

fn check_tensors(dir: &Path, tensors: &[TensorSpec]) -> Result<(), WriterError> {
    let mut names = BTreeSet::new();
    let mut total = Some(0_u64);
    for tensor in tensors {
        let unwritable = |problem: String| WriterError::Unwritable {
            path: dir.to_path_buf(),
            name: tensor.name.clone(),
            problem,
        };
        if tensor.name == "__metadata__" {
            return Err(unwritable("is a name that the header needs itself".into()));
        }
        if !names.insert(&tensor.name) {
            return Err(WriterError::Twice {
                path: dir.to_path_buf(),
                name: tensor.name.clone(),
            });
        }
        total = total.and_then(|total| total.checked_add(tensor.size_bytes()?));
        if total.is_none() {
            return Err(unwritable(format!(
                "of shape {:?} is larger than a file can be, or not a whole number of bytes",
                tensor.shape
            )));
        }
    }
    Ok(())
}

/// Tensors in their order, cut where a shard would become too large.
fn split(tensors: Vec<TensorSpec>, max_shard_bytes: u64) -> Vec<Vec<TensorSpec>> {
    let mut shards = vec![Vec::new()];
    let mut filled = 0_u64;
    for tensor in tensors {
        let size = size_of(&tensor);
        if filled > 0 && filled + size > max_shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += size;
        shards.last_mut().expect("one at least").push(tensor);
    }
    for shard in &mut shards {
        shard.sort_by_key(|tensor| std::cmp::Reverse(tensor.dtype.bitsize()));
    }
    shards
}

fn named(shards: Vec<Vec<TensorSpec>>) -> Vec<Shard> {
    let count = shards.len();
    let name = |at: usize| match count {
        1 => SINGLE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
    };
    let shards = shards.into_iter().enumerate();
    shards
        .map(|(at, tensors)| Shard {
            name: name(at),
            tensors,
        })
        .collect()
}

/// Its length in eight bytes, then JSON, padded with blanks so that numbers begin at a multiple of eight. The `safetensors`
/// crate writes metadata in the random order of a hash map; here the same tensors give the same bytes.
pub(crate) fn header(tensors: &[TensorSpec], metadata: &impl Serialize) -> Vec<u8> {
    let mut entries = serde_json::Map::new();
    entries.insert("__metadata__".into(), json!(metadata));
    let mut at = 0;
    for tensor in tensors {
        let end = at + size_of(tensor);
        entries.insert(
            tensor.name.clone(),
            json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let mut json = Json::Object(entries).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes()[..], &json].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Shards;

    fn spec(name: &str, dtype: Dtype, shape: &[usize]) -> TensorSpec {
        TensorSpec {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        }
    }

    fn three() -> Vec<TensorSpec> {
        vec![
            spec("half", Dtype::BF16, &[3]),
            spec("whole", Dtype::F32, &[2, 2]),
            spec("other", Dtype::F16, &[1, 2]),
        ]
    }

    fn create(dir: &Path, tensors: Vec<TensorSpec>, max: u64) -> Result<ShardsWriter, WriterError> {
        ShardsWriter::create(dir, tensors, max, &BTreeMap::new())
    }

    /// Every tensor filled with its number: 1, 2, 3 …, a byte at a time.
    fn fill(writer: &mut ShardsWriter) -> Result<(), WriterError> {
        for (number, tensor) in writer.tensors().to_vec().iter().enumerate() {
            for _ in 0..size_of(tensor) {
                writer.append(&tensor.name, &[number as u8 + 1])?;
            }
        }
        Ok(())
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn one_file_is_read_back_as_written_with_numbers_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = create(dir.path(), three(), u64::MAX).unwrap();
        let order: Vec<&str> = writer.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(order, ["whole", "half", "other"]);
        fill(&mut writer).unwrap();
        assert_eq!(names(dir.path()).len(), 1);
        assert!(!dir.path().join(SINGLE).exists());
        assert_eq!(writer.finish().unwrap(), [dir.path().join(SINGLE)]);
        let shards = Shards::open(dir.path()).unwrap();
        let bytes = |name| shards.matrix(name).unwrap().unwrap().bytes().to_vec();
        assert_eq!(
            (bytes("whole"), bytes("half"), bytes("other")),
            (vec![1; 16], vec![2; 6], vec![3; 4])
        );
        let file = std::fs::read(dir.path().join(SINGLE)).unwrap();
        assert!(u64::from_le_bytes(*file.first_chunk().unwrap()).is_multiple_of(8));
    }

    #[test]
    fn shards_end_before_they_pass_the_limit_and_the_index_finds_every_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = create(dir.path(), three(), 19).unwrap();
        fill(&mut writer).unwrap();
        writer.finish().unwrap();
        let expected = [
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors",
            INDEX,
        ];
        assert_eq!(names(dir.path()), expected);
        let index: Json =
            serde_json::from_slice(&std::fs::read(dir.path().join(INDEX)).unwrap()).unwrap();
        assert_eq!(index["metadata"]["total_size"], 26);
        let shards = Shards::open(dir.path()).unwrap();
        assert_eq!(
            shards.names().collect::<Vec<_>>(),
            ["half", "other", "whole"]
        );
        assert_eq!(
            shards.matrix("other").unwrap().unwrap().bytes(),
            [3, 3, 3, 3]
        );
    }

    #[test]
    fn a_model_given_up_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = create(dir.path(), three(), 20).unwrap();
        writer.append("half", &[0; 6]).unwrap();
        writer.append("whole", &[0; 15]).unwrap();
        drop(writer);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn what_the_header_did_not_promise_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let message = |error: WriterError| {
            let text = error.to_string();
            text.rsplit_once(": ").unwrap().1.to_owned()
        };
        let begin = || create(dir.path(), three(), u64::MAX).unwrap();
        assert_eq!(
            message(begin().append("half", &[1]).unwrap_err()),
            "`half` is offered where `whole` comes next"
        );
        assert_eq!(
            message(begin().append("whole", &[0; 17]).unwrap_err()),
            "`whole` takes 16 bytes, but 17 were offered"
        );
        let mut writer = begin();
        writer.append("whole", &[0; 10]).unwrap();
        assert_eq!(
            message(writer.finish().unwrap_err()),
            "6 bytes of `whole` were never written"
        );
        let mut writer = begin();
        fill(&mut writer).unwrap();
        assert_eq!(
            message(writer.append("more", &[0]).unwrap_err()),
            "`more` is offered where the end comes next"
        );
        drop(writer);
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn names_twice_and_impossible_sizes_are_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |tensor| {
            let tensors = vec![spec("a", Dtype::F32, &[1]), tensor];
            create(dir.path(), tensors, 9).unwrap_err()
        };
        assert!(matches!(
            refused(spec("a", Dtype::F32, &[1])),
            WriterError::Twice { .. }
        ));
        for tensor in [
            spec("b", Dtype::F32, &[usize::MAX, 2]),
            spec("b", Dtype::F32, &[usize::MAX / 4]),
            spec("b", Dtype::F4, &[3]),
            spec("__metadata__", Dtype::F32, &[1]),
        ] {
            assert!(matches!(refused(tensor), WriterError::Unwritable { .. }));
        }
        assert_eq!(names(dir.path()), Vec::<String>::new());
    }

    #[test]
    fn tensors_without_numbers_have_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let tensors = vec![
            spec("none", Dtype::F32, &[0, 2]),
            spec("a", Dtype::F32, &[1]),
            spec("nothing", Dtype::F32, &[0]),
        ];
        let mut writer = create(dir.path(), tensors, 4).unwrap();
        fill(&mut writer).unwrap();
        writer.finish().unwrap();
        assert_eq!(
            Shards::open(dir.path()).unwrap().names().count(),
            3,
            "all are in the header"
        );
    }

    #[test]
    fn a_directory_with_a_model_is_not_mixed_with_another() {
        for name in [SINGLE, INDEX, "model-00001-of-00002.safetensors"] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(name), b"").unwrap();
            let error = create(dir.path(), three(), 9).unwrap_err();
            assert!(matches!(error, WriterError::Occupied { found, .. } if found == name));
        }
    }
}
