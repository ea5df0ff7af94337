//! A base model on disk, opened: every weight by its Hugging Face name, whatever the file.
//!
//! Opening reads headers only, yet proves that every tensor the configuration calls for is there with its shape
//! and that no other is; after that, asking for a weight can only fail by asking for a wrong name.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_ledger::{ContentId, Hasher};
use hone_tensor::{Format, StoredError, StoredMatrix};
use serde::Deserialize;

use super::config_error::ConfigError;
use super::converted;
use super::gguf::{Gguf, GgufError, Malformed};
use super::hf_fields::OneOrMany;
use super::nearest::nearest;
use super::pointer;
use super::shards::{Shards, ShardsError};
use super::unchanged::{Change, Stamp};
use super::unique;
use crate::arch::{DecoderConfig, Group, Part, Slot, slots};

/// A base model's weights and what belongs to them.
#[derive(Clone, Debug)]
pub struct BaseWeights {
    path: PathBuf,
    config: DecoderConfig,
    weights: BTreeMap<String, StoredMatrix>,
    gguf: Option<Gguf>,
    is_streamed: bool,
    /// What has rows for tokens that the files do not have, as Hugging Face orders them.
    grown: BTreeMap<String, StoredMatrix>,
    /// What was made in memory in place of the files' own, as Hugging Face orders it.
    merged: BTreeMap<String, StoredMatrix>,
    files: Arc<Vec<Stamp>>,
}

/// Rows for tokens that the files do not have, `[tokens, d_model]` row-major; the mean of all rows where none are given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewRows {
    /// How many tokens.
    pub tokens: usize,
    /// Of the embedding.
    pub embedding: Option<Vec<f32>>,
    /// Of a head that is not tied to it.
    pub head: Option<Vec<f32>>,
}

/// Base weights that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Nothing at this path.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A file beside the weights that cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file beside the weights that is not the JSON it should be.
    #[error("{}: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// Wrong GGUF.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// Wrong safetensors.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// A model Hone does not compute, or a wrong description.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A tensor that the configuration calls for.
    #[error("{}: no tensor `{name}`", path.display())]
    MissingTensor {
        /// File or directory.
        path: PathBuf,
        /// The tensor, as that file would name it.
        name: String,
        /// The closest name that is there.
        near: Option<String>,
    },
    /// A tensor that does not fit the configuration.
    #[error("{}: tensor `{name}` is {found}; the configuration calls for {expected}", path.display())]
    WrongShape {
        /// File or directory.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: String,
        /// The shape it should have.
        expected: String,
    },
    /// Tensors that the configuration does not know, so that the model would compute something else.
    #[error("{}: {count} tensors that a {model_type} decoder of this configuration does not have: {names}", path.display())]
    UnexpectedTensors {
        /// File or directory.
        path: PathBuf,
        /// The family.
        model_type: String,
        /// How many there are.
        count: usize,
        /// The first of them.
        names: String,
    },
    /// The vocabulary cannot grow.
    #[error("{}: `{name}` cannot have more rows: {source}", path.display())]
    Grow {
        /// File or directory.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Why not.
        source: StoredError,
    },
    /// A file that another program has changed while it was in use.
    #[error("{} was changed by another program while it was in use: {what}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is other than it was.
        what: String,
    },
    /// The configuration says one matrix, the file holds two.
    #[error("{}: the head is said to be the embedding, but `lm_head.weight` holds other numbers", path.display())]
    HeadIsNotEmbedding {
        /// File or directory.
        path: PathBuf,
    },
}

impl WeightsError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Changed { .. } => vec![
                "put the file back as it was, then give the command again; a training run goes on with --resume".into(),
            ],
            Self::MissingTensor { near: Some(near), .. } => vec![format!("the nearest name there is `{near}`")],
            Self::Shards(ShardsError::NoWeights { others, .. }) if !others.is_empty() => vec![
                format!("found {}", others.join(", ")),
                match others.iter().find(|name| name.ends_with(".gguf")) {
                    Some(gguf) => format!("give the path of `{gguf}` itself to use it"),
                    None => "save the model again with transformers' save_pretrained, which writes safetensors".into(),
                },
            ],
            Self::Unreadable { source, .. }
            | Self::Shards(ShardsError::Unreadable { source, .. })
            | Self::Gguf(GgufError { problem: Malformed::Unreadable(source), .. }) => {
                pointer::hint(source).into_iter().collect()
            }
            Self::Json { path, .. } | Self::Config(ConfigError::Json { path, .. } | ConfigError::Field { path, .. }) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                vec![format!("fetch {name} again from where the model comes from, or mend it by hand")]
            }
            Self::Shards(ShardsError::MissingShard { .. } | ShardsError::Header { .. })
            | Self::Gguf(GgufError { problem: Malformed::Truncated { .. } | Malformed::Offset { .. }, .. }) => {
                vec!["compare the file's size with the one at its source, and download it again".into()]
            }
            Self::Gguf(GgufError { problem: Malformed::MissingPart { .. }, .. }) => {
                vec!["all parts lie in one folder under the names that they came with; `hone pull` fetches all of them".into()]
            }
            Self::Gguf(GgufError { problem: Malformed::PartName { .. }, .. }) => {
                vec!["give all parts their names again, or join them: llama-gguf-split --merge FIRST WHOLE.gguf".into()]
            }
            Self::Gguf(GgufError { problem: Malformed::OtherPart { .. } | Malformed::PartTensors { .. }, .. }) => {
                vec!["fetch all parts again from one place: they are not of one model".into()]
            }
            Self::Gguf(GgufError { problem: Malformed::Magic(_), path }) if path.extension().is_some_and(|end| end == "safetensors") => {
                vec!["give the directory that holds config.json, not the file of weights".into()]
            }
            Self::NotFound { .. } | Self::Grow { .. } => Vec::new(),
            Self::Config(ConfigError::Unsupported { .. }) => {
                vec!["take another base, or another form of it: docs/families.md lists what is read".into()]
            }
            // What is there is not what its maker wrote, or not of one model.
            _ => vec!["fetch the model again, or save it again where it was made (`hone pull` brings what is damaged of a model of the hub)".into()],
        }
    }
}

impl BaseWeights {
    /// Opens a Hugging Face directory or a GGUF file.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        if !path.exists() {
            return Err(WeightsError::NotFound { path: path.into() });
        }
        if path.is_dir() {
            Self::open_dir(path)
        } else {
            Self::open_gguf(path)
        }
    }

    fn open_dir(dir: &Path) -> Result<Self, WeightsError> {
        let path = dir.join("config.json");
        let json = read(&path)?;
        let mut config = DecoderConfig::from_hf(&json, &path)?;
        for id in generation_eos(dir)? {
            if !config.eos.contains(&id) {
                config.eos.push(id);
            }
        }
        let shards = Shards::open(dir)?;
        let held = shards.names().collect::<Vec<_>>();
        let holds = |name: &str| held.binary_search(&name).is_ok();
        let own_name = |name: &str| {
            let short = name.strip_prefix(config.names.optional_prefix);
            let short = short.filter(|short| !holds(name) && holds(short));
            Some(short.unwrap_or(name).to_owned())
        };
        let find = |name: &str| shards.matrix(name).transpose().map_err(WeightsError::from);
        let stack = |name: &str| shards.stack(name).transpose().map_err(WeightsError::from);
        let stacked_name = |slot: &Slot| config.stacked_in_directory(slot);
        let collector = Collector {
            path: dir,
            config: &config,
            own_name: &own_name,
            stacked_name: &stacked_name,
            is_directory: true,
        };
        let weights = collector.collect(find, stack, &held)?;
        Ok(Self {
            files: stamped(shards.files())?,
            path: dir.into(),
            config,
            weights,
            gguf: None,
            is_streamed: false,
            grown: BTreeMap::new(),
            merged: BTreeMap::new(),
        })
    }

    fn open_gguf(path: &Path) -> Result<Self, WeightsError> {
        let gguf = Gguf::open(path)?;
        let config = DecoderConfig::from_gguf(&gguf, path)?;
        let fail = |problem| GgufError {
            path: path.into(),
            problem,
        };
        let find = |name: &str| {
            gguf.matrix(name)
                .transpose()
                .map_err(|problem| fail(problem).into())
        };
        let stack = |name: &str| {
            let axes = gguf.tensor(name).map(|entry| entry.dims.as_slice());
            let Some([_, _, count]) = axes else {
                return Ok(None);
            };
            let matrix = find(name)?;
            Ok(matrix.map(|matrix| (matrix, *count)))
        };
        let stacked_name = |slot: &Slot| config.stacked_in_gguf(slot);
        let collector = Collector {
            path,
            config: &config,
            own_name: &|name| config.names.gguf_name(name),
            stacked_name: &stacked_name,
            is_directory: false,
        };
        let weights = collector.collect(
            find,
            stack,
            &gguf.tensors().map(|tensor| tensor.0).collect::<Vec<_>>(),
        )?;
        Ok(Self {
            files: stamped(gguf.files(path))?,
            path: path.into(),
            config,
            weights,
            gguf: Some(gguf),
            is_streamed: false,
            grown: BTreeMap::new(),
            merged: BTreeMap::new(),
        })
    }

    /// Where the weights are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the decoder looks like.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Every weight's Hugging Face name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.weights.keys().map(String::as_str)
    }

    /// From now on weights are read from disk whenever they are used, and not held in memory in between.
    pub fn stream(&mut self) {
        self.is_streamed = true;
    }

    /// Whether every weight is a part of a mapped file, so that streaming holds none of them in memory. GPTQ and AWQ, whose
    /// codes are laid out anew, are not.
    pub fn is_mapped(&self) -> bool {
        self.weights.values().all(StoredMatrix::is_mapped)
    }

    /// Whether weights are read from disk whenever they are used.
    pub fn is_streamed(&self) -> bool {
        self.is_streamed
    }

    /// Gives embedding and head rows for tokens that the files do not have: from now on this is a base of a larger
    /// vocabulary, but for its fingerprint, which is that of the files. Grown matrices are in memory, in their stored form
    /// where single rows can be written in it. The bias of a head, where it has one, is given the mean of its numbers.
    pub fn grow(&mut self, rows: &NewRows) -> Result<(), WeightsError> {
        let (names, is_tied) = (self.config.names, self.config.tied_head);
        let end = |module: &str, kind: &str| format!("{module}.{kind}");
        let mut grown = vec![(end(names.embedding.0, "weight"), rows.embedding.as_deref())];
        if !is_tied {
            grown.push((end(names.head.module, "weight"), rows.head.as_deref()));
        }
        for (name, own) in grown {
            let matrix = self.matrix(&name)?;
            let mean = || mean_of_rows(&matrix, 0..matrix.rows()).repeat(rows.tokens);
            let longer = match own {
                Some(own) => matrix.with_rows(own),
                None => matrix.with_rows(&mean()),
            };
            matrix.release();
            self.keep_grown(name, longer)?;
        }
        if self.config.head_bias {
            let name = end(names.head.module, "bias");
            let mut bias = self.vector(&name)?;
            let mean = bias.iter().map(|x| f64::from(*x)).sum::<f64>() / bias.len().max(1) as f64;
            bias.resize(bias.len() + rows.tokens, mean as f32);
            self.keep_grown(name, StoredMatrix::from_f32(&bias, 1, bias.len()))?;
        }
        self.config.vocab_size += rows.tokens;
        Ok(())
    }

    /// Rows for new tokens, each the mean of those of the tokens that spelt it so far, so that it starts from what they mean.
    /// Tokens without a row count for nothing; a spelling without others is the mean of all rows.
    pub fn rows_spelt(&self, spellings: &[Vec<u32>]) -> Result<NewRows, WeightsError> {
        let names = self.config.names;
        let of = |module: &str| -> Result<Vec<f32>, WeightsError> {
            let matrix = self.matrix(&format!("{module}.weight"))?;
            let mean = |ids: &Vec<u32>| {
                let ids = ids.iter().map(|id| *id as usize);
                let held: Vec<usize> = ids.filter(|id| *id < matrix.rows()).collect();
                match held.is_empty() {
                    true => mean_of_rows(&matrix, 0..matrix.rows()),
                    false => mean_of_rows(&matrix, held.into_iter()),
                }
            };
            Ok(spellings.iter().flat_map(mean).collect())
        };
        if spellings.is_empty() {
            return Ok(NewRows::default());
        }
        let head = (!self.config.tied_head).then(|| of(names.head.module));
        Ok(NewRows {
            tokens: spellings.len(),
            embedding: Some(of(names.embedding.0)?),
            head: head.transpose()?,
        })
    }

    /// The same base with other matrices, made in memory, in place of the files' own, and a configuration that goes with them.
    pub(crate) fn with_merged(
        &self,
        config: DecoderConfig,
        matrices: BTreeMap<String, StoredMatrix>,
    ) -> Self {
        let mut merged = self.merged.clone();
        merged.extend(matrices);
        Self {
            config,
            merged,
            ..self.clone()
        }
    }

    fn keep_grown(
        &mut self,
        name: String,
        grown: Result<StoredMatrix, StoredError>,
    ) -> Result<(), WeightsError> {
        let grown = grown.map_err(|source| WeightsError::Grow {
            path: self.path.clone(),
            name: name.clone(),
            source,
        })?;
        self.grown.insert(name, grown);
        Ok(())
    }

    /// How many tokens it has that the files do not have.
    pub fn new_tokens(&self) -> usize {
        let embedding = format!("{}.weight", self.config.names.embedding.0);
        let stored = self.weights.get(&embedding).map_or(0, StoredMatrix::rows);
        self.config.vocab_size - stored
    }

    /// Memory that grown matrices take beside the files.
    pub fn grown_bytes(&self) -> usize {
        self.grown.values().map(StoredMatrix::size_bytes).sum()
    }

    /// A weight in its stored form, rows as Hugging Face orders them; it shares the file's memory, unless it has grown.
    pub fn matrix(&self, name: &str) -> Result<StoredMatrix, WeightsError> {
        match self.merged.get(name).or_else(|| self.grown.get(name)) {
            Some(made) => Ok(made.clone()),
            None => self.stored(name),
        }
    }

    /// A weight of the files.
    fn stored(&self, name: &str) -> Result<StoredMatrix, WeightsError> {
        let stored = self
            .weights
            .get(name)
            .ok_or_else(|| WeightsError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
                near: nearest(name, self.names()),
            })?;
        let weight = match self.gguf {
            Some(_) => converted::hugging_face(stored, name, &self.config),
            None => stored.clone(),
        };
        Ok(match self.is_streamed {
            true => weight.streamed(),
            false => weight,
        })
    }

    /// A norm or a bias as f32.
    pub fn vector(&self, name: &str) -> Result<Vec<f32>, WeightsError> {
        Ok(self.matrix(name)?.to_f32())
    }

    /// The opened GGUF file, when it is one: its vocabulary and merges are metadata.
    pub fn gguf(&self) -> Option<&Gguf> {
        self.gguf.as_ref()
    }

    /// A file beside the weights of a directory, such as `tokenizer.json`; `None` when there is none.
    pub fn file(&self, name: &str) -> Result<Option<Vec<u8>>, WeightsError> {
        let path = self.path.join(name);
        if self.gguf.is_some() || !path.exists() {
            Ok(None)
        } else {
            read(&path).map(Some)
        }
    }

    /// The contents of `tokenizer.json`, when there is one.
    pub fn tokenizer_json(&self) -> Result<Option<Vec<u8>>, WeightsError> {
        self.file("tokenizer.json")
    }

    /// The stored formats, the one with most bytes first, each with its tensors and bytes.
    pub fn formats(&self) -> Vec<(Format, usize, usize)> {
        let mut formats: Vec<(Format, usize, usize)> = Vec::new();
        for weight in self.weights.values() {
            match formats.iter_mut().find(|row| row.0 == weight.format()) {
                Some(row) => (row.1, row.2) = (row.1 + 1, row.2 + weight.size_bytes()),
                None => formats.push((weight.format(), 1, weight.size_bytes())),
            }
        }
        formats.sort_by_key(|row| std::cmp::Reverse(row.2));
        formats
    }

    /// The stored formats in a few words, for example `Q4_1, Q8_0, F32`.
    pub fn format_summary(&self) -> String {
        self.formats()
            .iter()
            .map(|row| row.0.name())
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Memory the weights take in their stored form.
    pub fn size_bytes(&self) -> usize {
        self.weights.values().map(StoredMatrix::size_bytes).sum()
    }

    /// Numbers the weights hold.
    pub fn num_parameters(&self) -> usize {
        self.weights
            .values()
            .map(|weight| weight.rows() * weight.cols())
            .sum()
    }

    /// Whether the files are what they were when they were opened; costs a question to the system for each. Where something
    /// was written into one and it is as long as it was, `fingerprint`, as it was then, decides.
    ///
    /// # Errors
    /// A file that has changed: what was computed since then is not worth keeping.
    pub fn check_unchanged(&self, fingerprint: Option<&ContentId>) -> Result<(), WeightsError> {
        for stamp in self.files.iter() {
            let path = stamp.path.clone();
            let change = stamp.change().map_err(|source| WeightsError::Unreadable {
                path: path.clone(),
                source,
            })?;
            let what = match (change, fingerprint) {
                (None, _) => continue,
                (Some(Change::Len { was, is }), _) => {
                    format!("it had {was} bytes, and has {is}")
                }
                (Some(Change::Written(times) | Change::Touched(times)), Some(known)) => {
                    if self.fingerprint()? == *known {
                        // Once is enough.
                        stamp.accept(times);
                        continue;
                    }
                    "its weights are other ones".to_owned()
                }
                (Some(Change::Written(_)), None) => "something was written into it".to_owned(),
                // A time of writing can be put back, this one cannot; and nobody knows what its bytes were.
                (Some(Change::Touched(_)), None) => {
                    "it was written and its time put back, or it has other rights or another name: which, cannot be told".to_owned()
                }
            };
            return Err(WeightsError::Changed { path, what });
        }
        Ok(())
    }

    /// The hash of every weight's name, format, shape and bytes. Reads everything once.
    ///
    /// How the weights are spread over files makes no difference to it, nor do rows that were added to them. Matrices that were
    /// merged in memory count instead of the files' own.
    pub fn fingerprint(&self) -> Result<ContentId, WeightsError> {
        let mut hasher = Hasher::new();
        let made = self.merged.keys().map(String::as_str);
        let added = made.filter(|name| !self.weights.contains_key(*name));
        for name in self.names().chain(added) {
            let weight = match self.merged.get(name) {
                Some(merged) => merged.clone(),
                None => self.stored(name)?,
            };
            let line = format!(
                "{name} {} {} {}\n",
                weight.format().name(),
                weight.rows(),
                weight.cols()
            );
            hasher.update(line.as_bytes());
            weight.read_rows(|row| hasher.update(row));
        }
        Ok(hasher.finish())
    }
}

fn stamped(paths: Vec<PathBuf>) -> Result<Arc<Vec<Stamp>>, WeightsError> {
    let stamp = |path: PathBuf| {
        Stamp::of(&path).map_err(|source| WeightsError::Unreadable { path, source })
    };
    let stamps: Result<Vec<Stamp>, _> = paths.into_iter().map(stamp).collect();
    Ok(Arc::new(stamps?))
}

/// A tensor that holds the matrices of all experts.
struct Stacked {
    name: String,
    rows_of_expert: usize,
    first_row: usize,
}

impl DecoderConfig {
    /// GGUF has a tensor for the gates, one for the ups and one for the downs.
    fn stacked_in_gguf(&self, slot: &Slot) -> Option<Stacked> {
        slot.expert?;
        Some(Stacked {
            name: self.names.gguf_name(&slot.name)?,
            rows_of_expert: slot.rows,
            first_row: 0,
        })
    }

    /// transformers 5 has gates above ups in one parameter in memory, and some programs write it so.
    fn stacked_in_directory(&self, slot: &Slot) -> Option<Stacked> {
        let (_, part) = slot.expert?;
        let layer = self.names.layer_of(&slot.name)?.parse().ok()?;
        let groups = [Group::ExpertsIn, Group::ExpertsOut].into_iter();
        let mut sites = groups.flat_map(|group| self.group_sites(layer, group));
        let site = sites.find(|site| site.place().parts.contains(&part))?;
        Some(Stacked {
            name: site.path(),
            rows_of_expert: self.projection(site).0,
            first_row: match part {
                Part::Up => slot.rows,
                _ => 0,
            },
        })
    }
}

/// Compares what a file holds with what the configuration calls for.
struct Collector<'a> {
    path: &'a Path,
    config: &'a DecoderConfig,
    /// What this kind of file calls a tensor with that Hugging Face name.
    own_name: &'a dyn Fn(&str) -> Option<String>,
    /// The tensor that holds a matrix of every expert, and the rows of one expert and of this slot in it.
    stacked_name: &'a dyn Fn(&Slot) -> Option<Stacked>,
    /// Whether it is a directory of Hugging Face's.
    is_directory: bool,
}

impl Collector<'_> {
    fn collect(
        &self,
        find: impl Fn(&str) -> Result<Option<StoredMatrix>, WeightsError>,
        stack: impl Fn(&str) -> Result<Option<(StoredMatrix, usize)>, WeightsError>,
        held: &[&str],
    ) -> Result<BTreeMap<String, StoredMatrix>, WeightsError> {
        let there: std::collections::BTreeSet<&str> = held.iter().copied().collect();
        let mut weights = BTreeMap::new();
        let mut known = std::collections::BTreeSet::new();
        for slot in slots(self.config) {
            let name =
                (self.own_name)(&slot.name).expect("every slot has a name in every kind of file");
            let stacked = (self.stacked_name)(&slot).filter(|stacked| {
                there.contains(stacked.name.as_str())
                    && (!self.is_directory || !there.contains(name.as_str()))
            });
            if let Some(stacked) = stacked {
                let found = stack(&stacked.name)?;
                weights.insert(slot.name.clone(), self.expert_of(&slot, &stacked, found)?);
                known.insert(stacked.name);
                continue;
            }
            let Some(weight) = find(&name)? else {
                let near = nearest(&name, held.iter().copied());
                return Err(WeightsError::MissingTensor {
                    path: self.path.into(),
                    name,
                    near,
                });
            };
            let weight = match self.is_directory && self.config.is_stored_transposed(&slot.name) {
                true => weight.transposed(),
                false => weight,
            };
            self.check_shape(&slot, &name, &weight)?;
            known.insert(name);
            weights.insert(slot.name, weight);
        }
        self.check_head(&find, &weights)?;
        self.check_extra(
            held.iter()
                .copied()
                .filter(|name| !known.contains(*name) && !self.harmless(name)),
        )?;
        Ok(weights)
    }

    /// The rows of one expert.
    fn expert_of(
        &self,
        slot: &Slot,
        stacked: &Stacked,
        found: Option<(StoredMatrix, usize)>,
    ) -> Result<StoredMatrix, WeightsError> {
        let experts = self.config.experts.map_or(0, |experts| experts.count);
        let [rows, cols] = [stacked.rows_of_expert, slot.cols];
        let wrong = |found: String| WeightsError::WrongShape {
            path: self.path.into(),
            name: stacked.name.clone(),
            found,
            expected: format!("{experts} × {rows} × {cols}"),
        };
        let Some((matrix, count)) = found else {
            return Err(wrong("no stack of matrices".into()));
        };
        let is_right = count == experts && matrix.rows() == experts * rows && matrix.cols() == cols;
        let expert = slot.expert.map_or(0, |(expert, _)| expert);
        let first = expert * rows + stacked.first_row;
        let own = || matrix.rows_of(first..first + slot.rows);
        own().filter(|_| is_right).ok_or_else(|| {
            wrong(format!(
                "{count} × {} × {}",
                matrix.rows() / count.max(1),
                matrix.cols()
            ))
        })
    }

    fn check_shape(
        &self,
        slot: &Slot,
        name: &str,
        weight: &StoredMatrix,
    ) -> Result<(), WeightsError> {
        if (weight.rows(), weight.cols()) == (slot.rows, slot.cols) {
            return Ok(());
        }
        Err(WeightsError::WrongShape {
            path: self.path.into(),
            name: name.to_owned(),
            found: format!("{} × {}", weight.rows(), weight.cols()),
            expected: format!("{} × {}", slot.rows, slot.cols),
        })
    }

    /// A tied model may carry its head all the same, as long as it is the embedding.
    fn check_head(
        &self,
        find: &impl Fn(&str) -> Result<Option<StoredMatrix>, WeightsError>,
        weights: &BTreeMap<String, StoredMatrix>,
    ) -> Result<(), WeightsError> {
        let (head, embedding) = self.head_and_embedding();
        let head = if self.config.tied_head {
            find(&head)?
        } else {
            None
        };
        match head {
            Some(head) if hash_of(&head) != hash_of(&weights[&embedding]) => {
                Err(WeightsError::HeadIsNotEmbedding {
                    path: self.path.into(),
                })
            }
            _ => Ok(()),
        }
    }

    /// What Hugging Face calls the two.
    fn head_and_embedding(&self) -> (String, String) {
        let names = self.config.names;
        let weight = |module| format!("{module}.weight");
        (weight(names.head.module), weight(names.embedding.0))
    }

    /// Tensors that say nothing the configuration has not said.
    fn harmless(&self, name: &str) -> bool {
        const ROPE: [&str; 3] = [
            "rope_freqs.weight",
            "rope_factors_long.weight",
            "rope_factors_short.weight",
        ];
        let mut buffers = self.config.names.buffers.iter();
        buffers.any(|end| name.ends_with(end))
            || ROPE.contains(&name)
            || name == self.head_and_embedding().0 && self.config.tied_head
    }

    fn check_extra<'b>(&self, extra: impl Iterator<Item = &'b str>) -> Result<(), WeightsError> {
        let names: Vec<&str> = extra.collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(WeightsError::UnexpectedTensors {
            path: self.path.into(),
            model_type: self.config.model_type.clone(),
            count: names.len(),
            names: names[..names.len().min(5)].join(", "),
        })
    }
}

/// The mean of some rows, added up in f64.
fn mean_of_rows(matrix: &StoredMatrix, rows: impl ExactSizeIterator<Item = usize>) -> Vec<f32> {
    let (count, cols) = (rows.len(), matrix.cols());
    let (mut sums, mut row) = (vec![0.0f64; cols], vec![0.0; cols]);
    for at in rows {
        matrix.decode_row(at, 0..cols, &mut row);
        sums.iter_mut()
            .zip(&row)
            .for_each(|(sum, x)| *sum += f64::from(*x));
    }
    let mean = |sum: &f64| (sum / count.max(1) as f64) as f32;
    sums.iter().map(mean).collect()
}

/// The hash of a weight's bytes, which need not be in memory all at once.
fn hash_of(weight: &StoredMatrix) -> ContentId {
    let mut hasher = Hasher::new();
    weight.read_rows(|row| hasher.update(row));
    hasher.finish()
}

#[derive(Deserialize)]
struct RawGenerationConfig {
    eos_token_id: Option<OneOrMany>,
}

fn generation_eos(dir: &Path) -> Result<Vec<u32>, WeightsError> {
    let config: Option<RawGenerationConfig> = parse_beside(dir, "generation_config.json")?;
    Ok(config
        .and_then(|config| config.eos_token_id)
        .map_or_else(Vec::new, OneOrMany::into_vec))
}

fn parse_beside<T: for<'de> Deserialize<'de>>(
    dir: &Path,
    name: &str,
) -> Result<Option<T>, WeightsError> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let json = read(&path)?;
    unique::check(&json)
        .and_then(|()| serde_json::from_slice(&json))
        .map(Some)
        .map_err(|source| WeightsError::Json { path, source })
}

fn read(path: &Path) -> Result<Vec<u8>, WeightsError> {
    let read = std::fs::read(path);
    read.and_then(|bytes| pointer::refuse(&bytes).map(|()| bytes))
        .map_err(|source| WeightsError::Unreadable {
            path: path.into(),
            source,
        })
}

#[cfg(test)]
mod tests;
