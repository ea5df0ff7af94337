//! An adapter directory as it lies on disk: the settings, the table of tensors, and their bytes, nothing believed.
//!
//! Everything that is done with an adapter starts here: checking, putting it on a model, merging, combining, exporting. A
//! check has to see all that is wrong, so names twice in the header, which a map would swallow, are still there twice.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use half::{bf16, f16};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::finding::Finding;
use super::peft::{CONFIG, PeftError, WEIGHTS, read};
use super::provenance::Provenance;
use super::settings::Settings;
use super::spelling::{Role, read_name};
use crate::one_line::{is_unruly, one_line, unruly_text};
use crate::weights::{BaseWeights, Dtype, unique};

/// The files of a PEFT adapter, read but not judged.
#[derive(Debug)]
pub struct RawAdapter {
    path: PathBuf,
    pub(super) config: Map<String, Value>,
    /// What the configuration means, and what is to be said of it.
    pub(super) settings: Settings,
    pub(super) of_settings: Vec<Finding>,
    pub(super) tensors: Vec<RawTensor>,
    /// Copies of the base's own matrices that lie beside the adapter and are none of its tensors.
    pub(super) copies: Vec<RawTensor>,
    pub(super) metadata: HashMap<String, String>,
    data: Vec<u8>,
    /// What is to be said of its numbers, found once.
    pub(super) of_numbers: OnceLock<Vec<Finding>>,
}

/// The modules of an adapter, by path.
pub(crate) type Modules<'a> = BTreeMap<String, Module<'a>>;

/// One module of an adapter with its tensors, and the settings that speak of it.
pub(crate) struct Module<'a> {
    pub path: String,
    pub settings: &'a Settings,
    pub tensors: BTreeMap<Role, &'a RawTensor>,
    raw: &'a RawAdapter,
}

impl<'a> Module<'a> {
    /// The module at `path`, as long as no tensor of it is known.
    pub fn empty(path: String, raw: &'a RawAdapter) -> Self {
        Self {
            path,
            settings: &raw.settings,
            tensors: BTreeMap::new(),
            raw,
        }
    }

    /// Its tensor with a role.
    pub fn at(&self, role: Role) -> Option<&'a RawTensor> {
        self.tensors.get(&role).copied()
    }

    /// Whether it has a tensor with one of these roles.
    pub fn has(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.tensors.contains_key(role))
    }

    /// Whether it has a low-rank pair, or a half of one.
    pub fn has_pair(&self) -> bool {
        self.has(&[Role::A, Role::B, Role::EmbeddingA, Role::EmbeddingB])
    }

    /// Whether it is a target: it has a pair, or factors.
    pub fn is_adapted(&self) -> bool {
        self.has_pair() || self.has(&[Role::Factors])
    }

    /// Whether the settings say that it has no adapter.
    pub fn is_no_target(&self) -> bool {
        self.settings.targets(&self.path) == Some(false)
    }

    /// Whether the settings say that it has one.
    pub fn is_target(&self) -> bool {
        self.settings.targets(&self.path) == Some(true)
    }

    /// Shape and numbers of a tensor, which a check has read.
    pub fn held(&self, role: Role) -> Option<(Vec<usize>, Vec<f32>)> {
        let tensor = self.at(role)?;
        let numbers = self.raw.numbers(tensor);
        let numbers = numbers.expect("the check has read every number");
        Some((tensor.shape.clone(), numbers))
    }
}

/// A line of the weight file's table.
#[derive(Clone, Debug)]
pub(crate) struct RawTensor {
    /// As written.
    pub name: String,
    /// As written: `F32`, `BF16`, `I64`.
    pub dtype: String,
    pub shape: Vec<usize>,
    start: usize,
    end: usize,
}

impl RawTensor {
    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Says that its shape is none that it can have.
    pub fn misshaped(&self, must: impl Into<String>) -> Finding {
        Finding::Misshaped {
            tensor: self.name.clone(),
            found: self.shape.clone(),
            must: must.into(),
        }
    }

    /// Says that it does not belong where it is.
    pub fn unexpected(&self, why: &str) -> Finding {
        let (tensor, why) = (self.name.clone(), why.into());
        Finding::Unexpected { tensor, why }
    }

    /// Says that it is something that Hone does not apply.
    pub fn unapplied(&self, what: &str) -> Finding {
        let (tensor, what) = (self.name.clone(), what.into());
        Finding::Unapplied { tensor, what }
    }
}

/// Longest header that readers of safetensors accept.
const LONGEST_HEADER: usize = 100_000_000;

impl RawAdapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors`. Refuses what is no adapter directory, a pickle, and
    /// files that are cut or do not follow their format; everything else is for [`check_adapter`](super::check_adapter).
    pub fn read(dir: &Path) -> Result<Self, PeftError> {
        let (config, weights) = (dir.join(CONFIG), dir.join(WEIGHTS));
        let no_adapter = |missing| PeftError::NoAdapter {
            path: dir.to_path_buf(),
            missing,
        };
        if !config.is_file() {
            return Err(no_adapter(CONFIG));
        }
        if !weights.is_file() {
            return Err(match dir.join("adapter_model.bin").is_file() {
                true => PeftError::Pickle {
                    path: dir.to_path_buf(),
                },
                false => no_adapter(WEIGHTS),
            });
        }
        Self::of_bytes(dir, &read(&config)?, read(&weights)?)
    }

    /// The same from the contents of the two files, which messages say are in `dir`.
    pub(super) fn of_bytes(dir: &Path, json: &[u8], mut file: Vec<u8>) -> Result<Self, PeftError> {
        let damaged = |name: &str, reason: String| PeftError::Damaged {
            path: dir.join(name),
            reason,
        };
        let settings: Pairs =
            serde_json::from_slice(json).map_err(|error| damaged(CONFIG, error.to_string()))?;
        let unruly = settings.0.iter().find_map(|(key, value)| {
            let key = Some(key.as_str()).filter(|key| key.contains(is_unruly));
            key.or_else(|| unruly_text(value))
        });
        if let Some(text) = unruly {
            return Err(damaged(CONFIG, not_one_line(text)));
        }
        let mut of_settings = settings.repeated();
        // A finding tells of settings that are there twice; whatever is twice within one is lost already.
        if of_settings.is_empty() {
            unique::check(json).map_err(|error| damaged(CONFIG, error.to_string()))?;
        }
        let header = Header::parse(&file).map_err(|reason| damaged(WEIGHTS, reason))?;
        file.drain(..header.data_start);
        let config = settings.0.into_iter().collect();
        Ok(Self {
            path: dir.to_path_buf(),
            settings: Settings::read(&config, &mut of_settings),
            config,
            of_settings,
            tensors: header.tensors,
            copies: vec![],
            metadata: header.metadata,
            data: file,
            of_numbers: OnceLock::new(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it comes from, as far as it says.
    pub fn provenance(&self) -> Provenance {
        let base_name = self.config.get("base_model_name_or_path");
        let base_name = base_name.and_then(Value::as_str).map(str::to_owned);
        Provenance::from_metadata(&self.metadata, base_name)
    }

    /// Leaves out the copies of the base's own embedding and head that PEFT saves beside an adapter of them, where the
    /// vocabulary grew, or with `save_embedding_layers`. What `base`, grown if need be, has not itself is the adapter's and
    /// stays.
    pub fn leave_out_copies(&mut self, base: &BaseWeights) {
        let config = base.config();
        let (embedding, head) = (config.names.embedding.0, config.names.head.module);
        let of_base = |tensor: &RawTensor| {
            let spelled = read_name(&tensor.name)?;
            let module = [embedding, head]
                .into_iter()
                .find(|end| *end == spelled.module)?;
            let may_be = match spelled.part {
                Role::BaseWeight => true,
                Role::Whole => !self.settings.saves_end(module, config),
                _ => false,
            };
            let own = if config.tied_head { embedding } else { module };
            may_be.then(|| format!("{own}.weight"))
        };
        let is_copy = |tensor: &RawTensor| {
            let own = of_base(tensor).and_then(|own| base.matrix(&own).ok());
            own.is_some_and(|own| {
                tensor.shape == [own.rows(), own.cols()]
                    && self.numbers(tensor) == Some(own.to_f32())
            })
        };
        let (copies, tensors) = self.tensors.iter().cloned().partition(is_copy);
        self.tensors = tensors;
        self.copies.extend::<Vec<RawTensor>>(copies);
    }

    /// Gives every tensor its place in a module. Of two in one place the last is there, and a finding tells of it; what is
    /// no tensor of an adapter has no place.
    pub(super) fn modules(&self, findings: &mut Vec<Finding>) -> Modules<'_> {
        let mut modules = Modules::new();
        for tensor in &self.tensors {
            let Some(spelled) = read_name(&tensor.name) else {
                findings.push(tensor.unexpected("is no tensor of an adapter"));
                continue;
            };
            let path = self.path_of(spelled.module);
            let empty = || Module::empty(path.clone(), self);
            let module = modules.entry(path.clone()).or_insert_with(empty);
            if let Some(other) = module.tensors.insert(spelled.part, tensor) {
                let how = match other.name == tensor.name {
                    true => "",
                    false => ", under two spellings",
                };
                let tensor = tensor.name.clone();
                findings.push(Finding::Duplicate { tensor, how });
            }
        }
        modules
    }

    /// The path of the parameter that a tensor's module stands for among its tensors.
    pub(super) fn path_of(&self, module: &str) -> String {
        let has = |module: &str| {
            let mut tensors = self.tensors.iter();
            let spelled = |name| read_name(name).is_some_and(|spelled| spelled.module == module);
            tensors.any(|tensor| spelled(&tensor.name))
        };
        self.settings.parameter_of(module, has)
    }

    /// Its numbers as f32, or `None` for types that are not floating-point numbers of 16 or 32 bits.
    pub(crate) fn numbers(&self, tensor: &RawTensor) -> Option<Vec<f32>> {
        let bytes = &self.data[tensor.start..tensor.end];
        let pairs = || bytes.as_chunks::<2>().0.iter();
        Some(match tensor.dtype.as_str() {
            "F32" => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            "F16" => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            "BF16" => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => return None,
        })
    }
}

/// Settings are repeated in messages, and none that means something has control characters.
fn not_one_line(text: &str) -> String {
    format!("`{}` holds control characters", one_line(text))
}

/// A JSON object as the pairs it was written with, repeated keys included.
struct Pairs(Vec<(String, Value)>);

impl Pairs {
    fn repeated(&self) -> Vec<Finding> {
        let mut keys: Vec<&String> = self.0.iter().map(|(key, _)| key).collect();
        keys.sort();
        let twice = keys.windows(2).filter(|pair| pair[0] == pair[1]);
        let key = |pair: &[&String]| pair[0].clone();
        twice
            .map(|pair| Finding::RepeatedSetting { key: key(pair) })
            .collect()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsPairs;
        impl<'de> Visitor<'de> for AsPairs {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let pairs = std::iter::from_fn(|| map.next_entry().transpose());
                pairs.collect::<Result<_, _>>().map(Pairs)
            }
        }
        deserializer.deserialize_map(AsPairs)
    }
}

/// The table at the beginning of a safetensors file.
struct Header {
    tensors: Vec<RawTensor>,
    metadata: HashMap<String, String>,
    data_start: usize,
}

impl Header {
    fn parse(file: &[u8]) -> Result<Self, String> {
        let (length, rest) = file
            .split_first_chunk::<8>()
            .ok_or_else(|| format!("{} bytes are no safetensors file", file.len()))?;
        let length = usize::try_from(u64::from_le_bytes(*length))
            .ok()
            .filter(|length| *length <= rest.len().min(LONGEST_HEADER))
            .ok_or("the header is longer than the file, which may be cut")?;
        let pairs: Pairs = serde_json::from_slice(&rest[..length])
            .map_err(|error| format!("the header is not a table of tensors: {error}"))?;
        let (mut tensors, mut metadata) = (Vec::new(), HashMap::new());
        for (name, value) in pairs.0 {
            let unruly = Some(name.as_str()).filter(|name| name.contains(is_unruly));
            if let Some(text) = unruly.or_else(|| unruly_text(&value["dtype"])) {
                return Err(format!("the header's {}", not_one_line(text)));
            }
            if name == "__metadata__" {
                let texts = serde_json::from_value::<HashMap<String, String>>(value);
                metadata = texts.map_err(|error| format!("`__metadata__`: {error}"))?;
            } else {
                tensors.push(read_entry(name, &value)?);
            }
        }
        check_places(&tensors, rest.len() - length)?;
        Ok(Self {
            tensors,
            metadata,
            data_start: 8 + length,
        })
    }
}

fn read_entry(name: String, value: &Value) -> Result<RawTensor, String> {
    let wrong = |what: &str| format!("the header's entry of `{name}` has {what}");
    let whole = |value: &Value| value.as_u64().and_then(|x| usize::try_from(x).ok());
    let list = |key: &str| -> Result<Vec<usize>, String> {
        let numbers = value.get(key).and_then(Value::as_array);
        numbers
            .and_then(|numbers| numbers.iter().map(whole).collect())
            .ok_or_else(|| wrong(&format!("no `{key}` of whole numbers")))
    };
    let dtype = value.get("dtype").and_then(Value::as_str);
    let dtype = dtype.ok_or_else(|| wrong("no `dtype`"))?.to_owned();
    let (shape, offsets) = (list("shape")?, list("data_offsets")?);
    let [start, end] = offsets[..] else {
        return Err(wrong("offsets that are not a pair"));
    };
    let mut axes = shape.iter();
    let count = axes.try_fold(1_usize, |count, axis| count.checked_mul(*axis));
    let size = count.and_then(|count| count.checked_mul(size_of_type(&dtype)));
    let held = end.checked_sub(start);
    match (size, held) {
        (Some(size), Some(held)) if size == held || size_of_type(&dtype) == 0 => Ok(RawTensor {
            name,
            dtype,
            shape,
            start,
            end,
        }),
        _ => Err(wrong(&format!(
            "the shape {shape:?} of {dtype}, which does not take the bytes {start} to {end}"
        ))),
    }
}

/// Bytes of one number; 0 for types that are not known or smaller, whose size is then not compared.
fn size_of_type(dtype: &str) -> usize {
    let known = serde_json::from_value::<Dtype>(dtype.into());
    known.map_or(0, |dtype| dtype.bitsize() / 8)
}

/// Tensors fill the data one after another: no gap, no overlap, nothing left over.
fn check_places(tensors: &[RawTensor], available: usize) -> Result<(), String> {
    let mut sorted: Vec<&RawTensor> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| (tensor.start, tensor.end));
    let mut at = 0;
    for tensor in sorted {
        if tensor.start != at || tensor.end > available {
            return Err(format!(
                "`{}` lies at the bytes {} to {} of {available}, and {at} is where the next tensor begins",
                tensor.name, tensor.start, tensor.end
            ));
        }
        at = tensor.end;
    }
    if at != available {
        return Err(format!(
            "{} bytes belong to no tensor; the file may be cut or joined",
            available - at
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    #[test]
    fn a_name_that_is_there_twice_stays_there_twice() {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
            "a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        let header = Header::parse(&file(header, 8)).unwrap();
        assert_eq!(header.tensors.len(), 2);
    }

    #[test]
    fn headers_that_do_not_fit_their_file_are_refused() {
        let one = |shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let overlapping = one("[2]", "[0,8]").replace(
            "}}",
            r#"},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
        );
        for (header, data, reason) in [
            (one("[1]", "[0,8]"), 8, "does not take the bytes"),
            (one("[2]", "[0,8]"), 4, "lies at the bytes"),
            (one("[1]", "[4,8]"), 8, "lies at the bytes"),
            (one("[1]", "[0,4]"), 8, "belong to no tensor"),
            (one("[1]", "[8,4]"), 8, "does not take the bytes"),
            (
                one("[4294967296,4294967296,4]", "[0,4]"),
                4,
                "does not take",
            ),
            (one("[-1]", "[0,4]"), 4, "no `shape`"),
            (
                one("[1]", "[0,4]").replace("dtype", "type"),
                4,
                "no `dtype`",
            ),
            (r#"{"a":1}"#.into(), 0, "no `dtype`"),
            (r#"{"__metadata__":{"x":1}}"#.into(), 0, "`__metadata__`"),
            ("[]".into(), 0, "not a table"),
            (overlapping, 8, "lies at the bytes"),
        ] {
            let error = Header::parse(&file(&header, data))
                .err()
                .unwrap_or_default();
            assert!(error.contains(reason), "{header}: {error}");
        }
        let whole = file(&one("[1]", "[0,4]"), 4);
        for length in 0..whole.len() {
            assert!(
                Header::parse(&whole[..length]).is_err(),
                "cut to {length} bytes"
            );
        }
        let mut huge = whole.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Header::parse(&huge).is_err());
    }
}
