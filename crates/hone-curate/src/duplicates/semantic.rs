//! Rows that mean nearly the same in other words.
//!
//! A row's vector is the mean of the static embeddings of its tokens, as in WordLlama and model2vec: a table
//! lookup, no network. Random hyperplanes propose pairs (Charikar 2002), the cosine itself decides. The table and
//! its tokenizer are files the user names, for example those in the Python package `wordllama`.

use std::path::{Path, PathBuf};

use hone_data::Record;
use hone_ledger::Seed;
use hone_text::{Role, Tokenizer, TokenizerError};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use super::join::{Joining, Pair};
use super::{Cluster, Fingerprint};
use crate::{Action, BadParam, Doc, Family, Param, Params, Rows, RowsError};

/// `semantic-duplicate`.
pub static DOC: Doc = Doc {
    name: "semantic-duplicate",
    family: Family::Duplicate,
    summary: "the row means nearly the same as another one, by the cosine of static embeddings",
    why: "Paraphrases by a generator pass every comparison of words, and a thousand of them teach what one does.",
    what: "Runs when `embeddings` names a safetensors file with one table of token embeddings and `tokenizer` its \
           `tokenizer.json`. The vector of a row is the mean over the tokens of its texts, system turns left out; pairs with \
           a cosine of at least `threshold` are reported. Random hyperplanes propose the pairs, in as many bands as give one at \
           the threshold a chance of 99 of 100. A mean of words does not see their order or a `not`: rows found here are to be \
           looked at, not removed.",
    default: Action::Report,
    params: &[
        Param {
            name: "embeddings",
            what: "a safetensors file with the table; without it the rule does not run",
        },
        Param {
            name: "tokenizer",
            what: "the table's tokenizer.json",
        },
        Param {
            name: "threshold",
            what: "least cosine, above 0 and below 1; 0.95",
        },
        Param {
            name: "seed",
            what: "seed of the hyperplanes; 1",
        },
    ],
};

/// How paraphrases are found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SemanticOptions {
    /// The table of embeddings.
    pub embeddings: PathBuf,
    /// Its tokenizer.
    pub tokenizer: PathBuf,
    /// The least cosine of a pair.
    pub threshold: f64,
    /// The seed of the hyperplanes.
    pub seed: u64,
}

impl SemanticOptions {
    /// What the recipe says; `None` if it names no embeddings.
    pub fn take(params: &mut Params) -> Result<Option<Self>, BadParam> {
        let bad = |name: &str, problem: String| BadParam::Value {
            name: name.into(),
            problem,
        };
        let embeddings = params.text("embeddings", "")?;
        let tokenizer = params.text("tokenizer", "")?;
        let threshold = params.number("threshold", 0.95)?;
        let seed = params.count("seed", 1)? as u64;
        if !(threshold > 0.0 && threshold < 1.0) {
            return Err(bad(
                "threshold",
                format!("must be above 0 and below 1, not {threshold}"),
            ));
        }
        match (embeddings.is_empty(), tokenizer.is_empty()) {
            (true, true) => Ok(None),
            (true, false) => Err(bad(
                "embeddings",
                "must be named where a tokenizer is".into(),
            )),
            (false, true) => Err(bad(
                "tokenizer",
                "must be named where embeddings are".into(),
            )),
            (false, false) => Ok(Some(Self {
                embeddings: embeddings.into(),
                tokenizer: tokenizer.into(),
                threshold,
                seed,
            })),
        }
    }
}

/// A table of token embeddings and its tokenizer.
pub struct Embeddings {
    tokenizer: Tokenizer,
    table: Vec<f32>,
    width: usize,
}

/// Embeddings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum EmbeddingsError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path} is not a safetensors file")]
    Format {
        path: PathBuf,
        source: safetensors::SafeTensorError,
    },
    #[error("{path} holds {} ({}); one table of token embeddings in f32 or f16 is expected", count(*.tensors), .found.join(", "))]
    NoTable {
        path: PathBuf,
        tensors: usize,
        found: Vec<String>,
    },
    #[error("{path} is not a tokenizer")]
    Tokenizer {
        path: PathBuf,
        source: TokenizerError,
    },
    #[error(
        "the tokenizer {tokenizer} knows {tokens} tokens, the table {path} has {rows} rows; they do not belong together"
    )]
    Mismatch {
        path: PathBuf,
        rows: usize,
        tokenizer: PathBuf,
        tokens: usize,
    },
    #[error("row {row} cannot be cut into tokens")]
    Encode { row: usize, source: TokenizerError },
    #[error(transparent)]
    Rows(#[from] RowsError),
}

fn count(tensors: usize) -> String {
    match tensors {
        1 => "one tensor".into(),
        _ => format!("{tensors} tensors"),
    }
}

impl Embeddings {
    /// Reads the table and its tokenizer.
    pub fn load(table: &Path, tokenizer: &Path) -> Result<Self, EmbeddingsError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|source| EmbeddingsError::Read {
                path: path.into(),
                source,
            })
        };
        let (width, values) = read_table(table, &read(table)?)?;
        let loaded = Self {
            tokenizer: Tokenizer::from_json(&read(tokenizer)?).map_err(|source| {
                EmbeddingsError::Tokenizer {
                    path: tokenizer.into(),
                    source,
                }
            })?,
            table: values,
            width,
        };
        let (tokens, rows) = (loaded.tokenizer.vocab_size(), loaded.table.len() / width);
        match tokens > rows {
            false => Ok(loaded),
            true => Err(EmbeddingsError::Mismatch {
                path: table.into(),
                rows,
                tokenizer: tokenizer.into(),
                tokens,
            }),
        }
    }

    /// The vector of a row, of length 1; `None` for a row without tokens.
    pub fn vector(&self, record: &Record) -> Result<Option<Vec<f32>>, TokenizerError> {
        let mut sum = vec![0.0_f32; self.width];
        for part in record
            .parts()
            .filter(|part| part.role != Some(Role::System))
        {
            for id in self.tokenizer.encode_plain(part.text)? {
                let from = id as usize * self.width;
                let token = &self.table[from..from + self.width];
                sum.iter_mut()
                    .zip(token)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        let length = dot(&sum, &sum).sqrt();
        Ok((length > 0.0).then(|| sum.iter().map(|value| value / length).collect()))
    }
}

fn read_table(path: &Path, bytes: &[u8]) -> Result<(usize, Vec<f32>), EmbeddingsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|source| EmbeddingsError::Format {
        path: path.into(),
        source,
    })?;
    let tensors = file.tensors();
    if let [(_, table)] = tensors.as_slice()
        && let [_, width] = *table.shape()
        && width > 0
    {
        let values = match table.dtype() {
            Dtype::F32 => Some(floats(table.data(), f32::from_le_bytes)),
            Dtype::F16 => Some(floats(table.data(), |bytes| {
                half::f16::from_le_bytes(bytes).to_f32()
            })),
            _ => None,
        };
        if let Some(values) = values {
            return Ok((width, values));
        }
    }
    let found = tensors
        .iter()
        .map(|(name, tensor)| format!("{name}: {:?} {:?}", tensor.dtype(), tensor.shape()));
    Err(EmbeddingsError::NoTable {
        path: path.into(),
        tensors: tensors.len(),
        found: found.collect(),
    })
}

fn floats<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let values = bytes.chunks_exact(N);
    values
        .map(|value| read(value.try_into().expect("chunks have this length")))
        .collect()
}

/// Clusters of rows that mean nearly the same, exact twins included.
pub fn clusters(
    prints: &[Fingerprint],
    rows: &dyn Rows,
    embeddings: &Embeddings,
    options: &SemanticOptions,
) -> Result<Vec<Cluster>, EmbeddingsError> {
    let mut ranked: Vec<&Fingerprint> = prints.iter().collect();
    ranked.par_sort_unstable_by_key(|print| print.rank());
    let vectors = ranked
        .par_iter()
        .map(|print| {
            let vector = embeddings.vector(&*rows.record(print.row)?);
            vector.map_err(|source| EmbeddingsError::Encode {
                row: print.row,
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut joining = Joining::new(ranked.len());
    for pair in Planes::new(ranked.len(), options).pairs(&vectors, options.threshold) {
        joining.link(pair);
    }
    let mut clusters = joining.into_clusters(&ranked);
    clusters.sort_unstable_by_key(|cluster| cluster.rows[0]);
    Ok(clusters)
}

/// Random hyperplanes: two vectors lie on the same side of one with probability `1 - angle / π`.
struct Planes {
    seed: Seed,
    bits: usize,
    bands: usize,
}

/// The chance that a pair at the threshold is proposed.
const RECALL: f64 = 0.99;

impl Planes {
    /// As many planes per band as part the rows into about as many buckets, and as many bands as the recall asks.
    fn new(rows: usize, options: &SemanticOptions) -> Self {
        let bits = rows.max(2).ilog2() as usize;
        let same_side = 1.0 - options.threshold.acos() / std::f64::consts::PI;
        let missed = (-same_side.powi(bits as i32)).ln_1p();
        Self {
            seed: Seed::new(options.seed).child("hyperplanes"),
            bits,
            bands: ((1.0 - RECALL).ln() / missed).ceil() as usize,
        }
    }

    /// Pairs whose cosine reaches the threshold, enough of them to connect every cluster.
    fn pairs(&self, vectors: &[Option<Vec<f32>>], threshold: f64) -> Vec<Pair> {
        let of_band = |band| {
            let mut keyed: Vec<(u32, usize)> = vectors
                .iter()
                .enumerate()
                .filter_map(|(rank, vector)| Some((self.sides(band, vector.as_deref()?), rank)))
                .collect();
            keyed.sort_unstable();
            let buckets = keyed.chunk_by(|a, b| a.0 == b.0);
            buckets
                .flat_map(|bucket| pairs_of_bucket(bucket, vectors, threshold))
                .collect::<Vec<_>>()
        };
        (0..self.bands)
            .into_par_iter()
            .flat_map_iter(of_band)
            .collect()
    }

    /// On which side of each plane of a band a vector lies, one bit each. The planes' normals are ±1 throughout.
    fn sides(&self, band: usize, vector: &[f32]) -> u32 {
        let seed = self.seed.index(band as u64);
        (0..self.bits).fold(0, |sides, plane| {
            let mut signs = seed.index(plane as u64).stream();
            let sum: f32 = vector
                .chunks(64)
                .map(|values| signed_sum(values, signs.next_u64()))
                .sum();
            sides << 1 | u32::from(sum >= 0.0)
        })
    }
}

fn pairs_of_bucket(
    bucket: &[(u32, usize)],
    vectors: &[Option<Vec<f32>>],
    threshold: f64,
) -> impl Iterator<Item = Pair> {
    let ranks: Vec<usize> = bucket.iter().map(|&(_, rank)| rank).collect();
    let cosine = |a: usize, b: usize| {
        let cosine = f64::from(dot(
            vectors[ranks[a]].as_ref()?,
            vectors[ranks[b]].as_ref()?,
        ));
        (cosine >= threshold).then_some(cosine)
    };
    let mut joining = Joining::new(ranks.len());
    joining.bucket(&(0..ranks.len()).collect::<Vec<_>>(), cosine);
    let links = joining.links();
    links
        .into_iter()
        .map(move |(a, b, cosine)| (ranks[a], ranks[b], cosine))
}

fn signed_sum(values: &[f32], signs: u64) -> f32 {
    let signed = values.iter().enumerate().map(|(at, value)| {
        let sign = ((signs >> at & 1) as u32) << 31;
        f32::from_bits(value.to_bits() ^ sign)
    });
    signed.sum()
}

/// Eight sums side by side, in a fixed order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use hone_ledger::Stream;
    use safetensors::tensor::TensorView;
    use serde_json::json;
    use tempfile::TempDir;

    use super::super::planted::{prints, text};
    use super::*;

    const WORDS: usize = 64;
    const WIDTH: usize = 32;

    /// A table of random vectors in which `w1` is nearly `w0`.
    fn table(stream: &mut Stream) -> Vec<f32> {
        let mut table: Vec<f32> = (0..WORDS * WIDTH)
            .map(|_| stream.unit_f32() - 0.5)
            .collect();
        table.copy_within(0..WIDTH, WIDTH);
        table[WIDTH] += 0.1;
        table
    }

    fn files(shape: Vec<usize>) -> (TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (weights, tokenizer) = (dir.path().join("t.safetensors"), dir.path().join("t.json"));
        let bytes: Vec<u8> = table(&mut Seed::new(1).stream())
            .into_iter()
            .flat_map(|value| half::f16::from_f32(value).to_le_bytes())
            .collect();
        let view = TensorView::new(Dtype::F16, shape, &bytes).unwrap();
        std::fs::write(
            &weights,
            safetensors::serialize([("embedding", view)], None).unwrap(),
        )
        .unwrap();
        let vocabulary: serde_json::Map<_, _> = (0..WORDS)
            .map(|word| (format!("w{word}"), word.into()))
            .collect();
        let json = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w63"}});
        std::fs::write(&tokenizer, json.to_string()).unwrap();
        (dir, weights, tokenizer)
    }

    fn options(threshold: f64) -> SemanticOptions {
        SemanticOptions {
            embeddings: PathBuf::new(),
            tokenizer: PathBuf::new(),
            threshold,
            seed: 1,
        }
    }

    #[test]
    fn other_words_of_one_meaning_are_found() {
        let (_dir, weights, tokenizer) = files(vec![WORDS, WIDTH]);
        let embeddings = Embeddings::load(&weights, &tokenizer).unwrap();
        let rows = ["w0 w5", "w6 w7", "w5 w1", "w8 w9", ""].map(text).to_vec();
        let found = clusters(&prints(&rows), &rows, &embeddings, &options(0.95)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].rows, [0, 2]);
    }

    #[test]
    fn planes_propose_nearly_all_pairs_above_the_threshold() {
        let mut stream = Seed::new(2).stream();
        let mut random = |width: f32| -> Vec<f32> {
            (0..WIDTH)
                .map(|_| width * (stream.unit_f32() - 0.5))
                .collect()
        };
        let unit = |vector: Vec<f32>| {
            let length = dot(&vector, &vector).sqrt();
            Some(vector.iter().map(|value| value / length).collect())
        };
        let mut vectors: Vec<Option<Vec<f32>>> = Vec::new();
        for _ in 0..2000 {
            let (vector, change) = (random(1.0), random(0.2));
            let close = vector
                .iter()
                .zip(change)
                .map(|(value, change)| value + change);
            vectors.extend([unit(close.collect()), unit(vector)]);
        }
        let pairs = Planes::new(vectors.len(), &options(0.95)).pairs(&vectors, 0.95);
        let found: std::collections::BTreeSet<usize> = pairs.iter().map(|&(a, ..)| a).collect();
        assert!(found.len() >= 1980, "{}", found.len());
        assert!(
            pairs
                .iter()
                .all(|&(a, b, cosine)| a / 2 == b / 2 && cosine >= 0.95)
        );
    }

    #[test]
    fn files_that_do_not_fit_are_refused_with_what_they_hold() {
        let (_dir, weights, tokenizer) = files(vec![WORDS / 2, WIDTH * 2]);
        let refused = |table: &Path, tokenizer: &Path| {
            Embeddings::load(table, tokenizer)
                .err()
                .unwrap()
                .to_string()
        };
        let error = refused(&weights, &tokenizer);
        assert!(
            error.contains("knows 64 tokens") && error.contains("32 rows"),
            "{error}"
        );
        let error = refused(&tokenizer, &tokenizer);
        assert!(error.ends_with("is not a safetensors file"), "{error}");
        let (_dir, flat, _) = files(vec![WORDS * WIDTH]);
        let error = refused(&flat, &tokenizer);
        assert!(
            error.contains("one tensor (embedding: F16 [2048])"),
            "{error}"
        );
    }

    #[test]
    fn one_file_without_the_other_is_refused() {
        let take = |written: &str| {
            SemanticOptions::take(&mut Params::new(toml::from_str(written).unwrap()))
        };
        assert_eq!(take("").unwrap(), None);
        assert!(take("embeddings = \"e\"").is_err());
        assert!(take("embeddings = \"e\"\ntokenizer = \"t\"\nthreshold = 1.0").is_err());
    }
}
