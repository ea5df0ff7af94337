//! Safetensors as Hugging Face lays them out: one `model.safetensors`, or several with an index.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use hone_tensor::{Format, StoredError, StoredMatrix};
use safetensors::tensor::{Dtype, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;

use super::located::Located;
use super::quantised::{Quantised, QuantisedError};
use super::unique;
use crate::one_line::{is_unruly, one_line};

/// Tensors of a directory, each in one of its files.
#[derive(Clone, Debug)]
pub struct Shards {
    tensors: BTreeMap<String, Located>,
    quantised: Option<Quantised>,
    /// The names of whole weights: quantised ones are made of several tensors.
    names: BTreeSet<String>,
}

/// Safetensors that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum ShardsError {
    /// Neither one file nor an index. Pickles, which can run code, are not opened.
    #[error("{} holds neither {SINGLE} nor {INDEX}{}", dir.display(), pickles(others))]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// Files of another weight format that are there.
        others: Vec<String>,
    },
    /// A file that cannot be opened.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file the index names that is not there.
    #[error("{} is named by {INDEX} but is not there; the download may be incomplete", path.display())]
    MissingShard {
        /// The file.
        path: PathBuf,
    },
    /// A header that is wrong or does not fit the file's length.
    #[error("{} is not a whole safetensors file ({}); it may be truncated", path.display(), one_line(source))]
    Header {
        /// The file.
        path: PathBuf,
        /// What the header's reader says.
        source: SafeTensorError,
    },
    /// A header that names a tensor twice.
    #[error("{}: the header is not JSON with each key once: {source}", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An index that is not one.
    #[error("{} is not an index of shards: {source}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An index that points elsewhere.
    #[error("{} names the shard `{}`, which is not a file name in the same directory", path.display(), one_line(shard))]
    Outside {
        /// The index.
        path: PathBuf,
        /// What it names.
        shard: String,
    },
    /// A tensor that is not in the file the index names.
    #[error("{} does not hold `{tensor}`, although {INDEX} says so", path.display())]
    NotInShard {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A type that is not a weight's.
    #[error("{}: `{tensor}` is stored as {found:?}; Hone reads F32, F16 and BF16", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: Dtype,
    },
    /// A tensor that is neither a vector nor a matrix.
    #[error("{}: `{tensor}` has shape {shape:?}; a weight has one or two axes", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A quantised checkpoint that is not read.
    #[error(transparent)]
    Quantised(#[from] QuantisedError),
    /// A tensor that does not fit its type.
    #[error("{}: `{tensor}`: {source}", path.display())]
    Matrix {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What does not fit.
        source: StoredError,
    },
}

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Shards {
    /// Maps every file of a directory and reads the headers. A whole file wins over an index, as in transformers.
    /// Weights are as `quantization_config` of the directory's `config.json` says, if there is one.
    pub fn open(dir: &Path) -> Result<Self, ShardsError> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        let tensors = if single.exists() {
            read_file(&single)?
        } else if index.exists() {
            read_index(dir, &index)?
        } else {
            return Err(ShardsError::NoWeights {
                dir: dir.to_path_buf(),
                others: other_weights(dir),
            });
        };
        let config = dir.join("config.json");
        let quantised = match std::fs::read(&config) {
            Ok(json) => Quantised::from_config(&json, &config)?,
            Err(_) => None,
        };
        let names = match &quantised {
            Some(quantised) => quantised.names(&tensors),
            None => tensors.keys().cloned().collect(),
        };
        Ok(Self {
            tensors,
            quantised,
            names,
        })
    }

    /// Every weight's name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Its files.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let files: BTreeSet<&PathBuf> = self.tensors.values().map(|found| &found.path).collect();
        files.into_iter().cloned().collect()
    }

    /// A weight in its stored form, when it is there; it shares the file's memory, unless its codes had to be laid out
    /// anew (GPTQ and AWQ).
    pub fn matrix(&self, name: &str) -> Option<Result<StoredMatrix, ShardsError>> {
        let quantised = self.quantised.as_ref();
        quantised
            .and_then(|quantised| quantised.matrix(name, &self.tensors))
            .map(|matrix| Ok(matrix?))
            .or_else(|| Some(self.tensors.get(name)?.matrix(name)))
    }
}

impl Shards {
    /// The matrices of all experts in one tensor of three axes, one below the other, and how many there are.
    pub fn stack(&self, name: &str) -> Option<Result<(StoredMatrix, usize), ShardsError>> {
        let located = self.tensors.get(name)?;
        let [count, rows, cols] = located.info.shape[..] else {
            return None;
        };
        let mut flat = located.clone();
        flat.info.shape = vec![count.saturating_mul(rows), cols];
        Some(flat.matrix(name).map(|matrix| (matrix, count)))
    }
}

impl Located {
    fn matrix(&self, name: &str) -> Result<StoredMatrix, ShardsError> {
        let (path, tensor) = (self.path.clone(), name.to_owned());
        let format = match self.info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            found => {
                return Err(ShardsError::Dtype {
                    path,
                    tensor,
                    found,
                });
            }
        };
        let (rows, cols) = match self.info.shape[..] {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => {
                return Err(ShardsError::Shape {
                    path,
                    tensor,
                    shape: self.info.shape.clone(),
                });
            }
        };
        StoredMatrix::new(rows, cols, format, self.bytes.clone()).map_err(|source| {
            ShardsError::Matrix {
                path,
                tensor,
                source,
            }
        })
    }
}

fn read_index(dir: &Path, index: &Path) -> Result<BTreeMap<String, Located>, ShardsError> {
    let text = std::fs::read(index);
    let text = text.and_then(|text| super::pointer::refuse(&text).map(|()| text));
    let text = text.map_err(|source| ShardsError::Unreadable {
        path: index.into(),
        source,
    })?;
    let Index { weight_map } = unique::check(&text)
        .and_then(|()| serde_json::from_slice(&text))
        .map_err(|source| ShardsError::Index {
            path: index.into(),
            source,
        })?;
    let mut files = BTreeMap::new();
    let mut tensors = BTreeMap::new();
    for (tensor, shard) in weight_map {
        let path = shard_path(dir, index, &shard)?;
        if !files.contains_key(&shard) {
            files.insert(shard.clone(), read_file(&path)?);
        }
        let located = files.get_mut(&shard).and_then(|file| file.remove(&tensor));
        let located = located.ok_or_else(|| ShardsError::NotInShard {
            path,
            tensor: tensor.clone(),
        })?;
        tensors.insert(tensor, located);
    }
    Ok(tensors)
}

fn shard_path(dir: &Path, index: &Path, shard: &str) -> Result<PathBuf, ShardsError> {
    let mut parts = Path::new(shard).components();
    let is_one = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    if !is_one || shard.contains(is_unruly) {
        return Err(ShardsError::Outside {
            path: index.into(),
            shard: shard.to_owned(),
        });
    }
    let path = dir.join(shard);
    if !path.exists() {
        return Err(ShardsError::MissingShard { path });
    }
    Ok(path)
}

fn read_file(path: &Path) -> Result<BTreeMap<String, Located>, ShardsError> {
    let bytes = super::mapped::map(path).map_err(|source| ShardsError::Unreadable {
        path: path.into(),
        source,
    })?;
    let (header, metadata) =
        SafeTensors::read_metadata(bytes.as_slice()).map_err(|source| ShardsError::Header {
            path: path.into(),
            source,
        })?;
    let data = 8 + header;
    unique::check(&bytes.as_slice()[8..data]).map_err(|source| ShardsError::Twice {
        path: path.into(),
        source,
    })?;
    let locate = |(name, info): (String, &TensorInfo)| {
        let (start, end) = info.data_offsets;
        let bytes = bytes
            .slice(data + start..data + end)
            .expect("offsets were compared with the file's length");
        (
            name,
            Located {
                path: path.into(),
                info: info.clone(),
                bytes,
            },
        )
    };
    Ok(metadata.tensors().into_iter().map(locate).collect())
}

/// Says that pickles are there and stay closed.
fn pickles(others: &[String]) -> String {
    let is_pickle = |name: &&String| {
        [".bin", ".pt", ".pth"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let pickles: Vec<&str> = others
        .iter()
        .filter(is_pickle)
        .map(String::as_str)
        .collect();
    match pickles[..] {
        [] => String::new(),
        _ => format!(
            "; {} may be pickles, which can run code, and are not opened",
            pickles.join(", ")
        ),
    }
}

/// Weight files Hone does not read, to say so instead of "nothing there".
fn other_weights(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            [".bin", ".pt", ".pth", ".gguf", ".h5"]
                .iter()
                .any(|end| name.ends_with(end))
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;
    use tempfile::TempDir;

    fn write(dir: &Path, file: &str, tensors: &[(&str, Dtype, &[usize], &[u8])]) {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (
                *name,
                TensorView::new(*dtype, shape.to_vec(), bytes).unwrap(),
            )
        });
        std::fs::write(dir.join(file), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn write_index(dir: &Path, pairs: &[(&str, &str)]) {
        let map: BTreeMap<_, _> = pairs.iter().copied().collect();
        let index = serde_json::json!({"metadata": {"total_size": 8}, "weight_map": map});
        std::fs::write(dir.join(INDEX), index.to_string()).unwrap();
    }

    fn two_shards() -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            "one.safetensors",
            &[("a", Dtype::F32, &[1, 2], &[0, 0, 128, 63, 0, 0, 0, 64])],
        );
        write(
            dir.path(),
            "two.safetensors",
            &[("b", Dtype::BF16, &[2], &[128, 63, 0, 64])],
        );
        write_index(
            dir.path(),
            &[("a", "one.safetensors"), ("b", "two.safetensors")],
        );
        dir
    }

    fn refusal(dir: &Path) -> ShardsError {
        Shards::open(dir).unwrap_err()
    }

    #[test]
    fn tensors_come_from_the_shard_the_index_names() {
        let dir = two_shards();
        let shards = Shards::open(dir.path()).unwrap();
        assert_eq!(shards.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(shards.matrix("a").unwrap().unwrap().to_f32(), [1.0, 2.0]);
        let b = shards.matrix("b").unwrap().unwrap();
        assert_eq!((b.rows(), b.cols(), b.to_f32()), (1, 2, vec![1.0, 2.0]));
        assert!(shards.matrix("c").is_none());
    }

    #[test]
    fn a_missing_shard_is_named() {
        let dir = two_shards();
        std::fs::remove_file(dir.path().join("two.safetensors")).unwrap();
        assert!(
            matches!(refusal(dir.path()), ShardsError::MissingShard { path } if path.ends_with("two.safetensors"))
        );
    }

    #[test]
    fn a_tensor_that_is_not_where_the_index_says_is_named() {
        let dir = two_shards();
        write_index(dir.path(), &[("a", "two.safetensors")]);
        assert!(
            matches!(refusal(dir.path()), ShardsError::NotInShard { tensor, .. } if tensor == "a")
        );
    }

    #[test]
    fn an_index_may_not_point_outside_its_directory() {
        let dir = two_shards();
        for shard in [
            "../one.safetensors",
            "/etc/passwd",
            "sub/one.safetensors",
            "..",
            ".",
        ] {
            write_index(dir.path(), &[("a", shard)]);
            assert!(
                matches!(refusal(dir.path()), ShardsError::Outside { .. }),
                "{shard}"
            );
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), SINGLE, &[("a", Dtype::F32, &[2, 2], &[0; 16])]);
        let path = dir.path().join(SINGLE);
        let whole = std::fs::read(&path).unwrap();
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(
                matches!(refusal(dir.path()), ShardsError::Header { .. }),
                "cut to {len} bytes"
            );
        }
    }

    #[test]
    fn types_and_shapes_of_other_things_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            SINGLE,
            &[
                ("a", Dtype::I32, &[4], &[0; 16]),
                ("b", Dtype::F32, &[1, 2, 2], &[0; 16]),
            ],
        );
        let shards = Shards::open(dir.path()).unwrap();
        let message = |name| shards.matrix(name).unwrap().unwrap_err().to_string();
        assert!(message("a").ends_with("`a` is stored as I32; Hone reads F32, F16 and BF16"));
        assert!(message("b").ends_with("`b` has shape [1, 2, 2]; a weight has one or two axes"));
    }

    #[test]
    fn a_directory_without_weights_says_what_else_is_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pytorch_model.bin"), b"").unwrap();
        assert!(
            matches!(refusal(dir.path()), ShardsError::NoWeights { others, .. } if others == ["pytorch_model.bin"])
        );
    }
}
