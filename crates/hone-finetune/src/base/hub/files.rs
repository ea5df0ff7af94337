//! Which files of a repository are asked for: what describes a model, its tokenizer, its chat templates, its licence, and
//! safetensors, or the parts of one GGUF model. Pickles and code are not among them.

use crate::base::chat_form::MORE_TEMPLATES;
use hone_model::weights::PartName;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

const WHOLE: &str = "model.safetensors";
const ADAPTER: &str = "adapter_model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Files that describe a model, an adapter or a tokenizer, or say what may be done with them.
const DESCRIPTIONS: [&str; 20] = [
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "Notice.txt",
    "USE_POLICY.md",
    "quantize_config.json",
];

/// The files of a repository that describe or hold a model or an adapter; descriptions first, weights last, so that a
/// directory with weights has everything else.
pub fn choose_files(names: &[String]) -> Vec<String> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let is_template = |name: &&String| {
        let inner = name.strip_prefix(MORE_TEMPLATES);
        let inner = inner.and_then(|inner| inner.strip_prefix('/'));
        inner.is_some_and(|inner| inner.ends_with(".jinja") && !inner.contains('/'))
    };
    let described = DESCRIPTIONS
        .iter()
        .filter(|name| has(name))
        .map(|name| name.to_string())
        .chain(names.iter().filter(is_template).cloned());
    let is_shard = |name: &&String| {
        name.starts_with("model-") && name.ends_with(".safetensors") && !name.contains('/')
    };
    let whole: Vec<String> = [WHOLE, ADAPTER]
        .iter()
        .filter(|name| has(name))
        .map(|name| name.to_string())
        .collect();
    let weights: Vec<String> = match has(INDEX) && !has(WHOLE) {
        true => std::iter::once(INDEX.to_string())
            .chain(names.iter().filter(is_shard).cloned())
            .chain(whole)
            .collect(),
        false => whole,
    };
    described.chain(weights).collect()
}

/// A GGUF file of a repository, or all the files that its model is spread over, the first part first.
pub fn parts_of(file: &str) -> Vec<String> {
    let (folder, name) = match file.rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name),
        None => (String::new(), file),
    };
    match PartName::parse(name) {
        Some(part) => part.all().map(|name| format!("{folder}{name}")).collect(),
        None => vec![file.to_owned()],
    }
}

/// Whether a path of a repository stays in its directory on every system, and is one line.
pub fn is_plain_path(file: &str) -> bool {
    let is_plain =
        |part: &str| !part.is_empty() && part.len() <= 255 && part != "." && part != "..";
    let is_strange = |c: char| c.is_control() || matches!(c, '\\' | ':' | '\u{2028}' | '\u{2029}');
    file.split('/').all(is_plain) && !file.contains(is_strange)
}

/// A path as it stands in an address.
pub fn escaped(file: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    file.bytes()
        .map(|byte| match is_bare(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

/// A file that a model needs and a directory lacks or has in part; `config.json` of a directory that has nothing.
pub fn first_missing(dir: &Path) -> Option<String> {
    let has = |name: &str| dir.join(name).is_file();
    let is_whole = |name: &str| has(name) && is_readable(&dir.join(name), name);
    let lacks = |name: &str| (!is_whole(name)).then(|| name.to_owned());
    if has("adapter_config.json") {
        let adapter = lacks("adapter_config.json").or_else(|| lacks(ADAPTER));
        if adapter.is_none() || !has("config.json") {
            return adapter;
        }
    }
    // A model may come with another form of tokenizer.
    let tokenizer = || lacks("tokenizer.json").filter(|name| has(name));
    let described = lacks("config.json").or_else(tokenizer);
    if described.is_some() {
        return described;
    }
    if has(WHOLE) || !has(INDEX) {
        return lacks(WHOLE);
    }
    match read_index(dir) {
        Some(shards) if !shards.is_empty() => shards.iter().find_map(|shard| lacks(shard)),
        _ => Some(INDEX.to_owned()),
    }
}

/// Whether a directory is an adapter beside no model.
pub fn is_adapter_only(dir: &Path) -> bool {
    dir.join("adapter_config.json").is_file() && !dir.join(WHOLE).exists()
}

/// Whether text can become tokens.
pub fn has_tokenizer(dir: &Path) -> bool {
    ["tokenizer.json", "tokenizer.model", "vocab.json"]
        .iter()
        .any(|name| dir.join(name).is_file())
}

/// The shards that a directory's index names, as far as they are names of files beside it.
pub fn shards_of(dir: &Path) -> Vec<String> {
    if dir.join(WHOLE).exists() {
        return Vec::new();
    }
    let mut shards = read_index(dir).unwrap_or_default();
    shards.retain(|shard| is_plain_path(shard) && !shard.contains('/'));
    shards
}

fn read_index(dir: &Path) -> Option<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(&std::fs::read(dir.join(INDEX)).ok()?).ok()?;
    let mut shards: Vec<String> = index.weight_map.into_values().collect();
    shards.sort();
    shards.dedup();
    Some(shards)
}

/// Whether a file is what its name says, as far as a look at it tells: JSON that ends, or safetensors that are as long as
/// their own header promises. Whatever else may be wrong with it is told by who reads it.
pub fn is_readable(path: &Path, name: &str) -> bool {
    match name.rsplit('.').next() {
        Some("json") => is_json(path),
        Some("safetensors") => !is_cut(path),
        _ => true,
    }
}

fn is_json(path: &Path) -> bool {
    let Ok(json) = std::fs::read(path) else {
        return false;
    };
    serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok()
}

fn is_cut(path: &Path) -> bool {
    let promised = || -> std::io::Result<Option<u64>> {
        let mut file = File::open(path)?;
        let mut len = [0; 8];
        file.read_exact(&mut len)?;
        let len = u64::from_le_bytes(len);
        if len > LONGEST_HEADER || len > file.metadata()?.len() {
            return Ok(None);
        }
        let mut header = vec![0; len as usize];
        file.read_exact(&mut header)?;
        let Ok(header) = serde_json::from_slice::<serde_json::Value>(&header) else {
            return Ok(None);
        };
        let tensors = header.as_object().into_iter().flat_map(|map| map.values());
        let end = tensors.filter_map(|tensor| tensor["data_offsets"][1].as_u64());
        Ok(Some(end.max().unwrap_or(0).saturating_add(8 + len)))
    };
    match promised() {
        Ok(Some(promised)) => std::fs::metadata(path).is_ok_and(|found| found.len() < promised),
        Ok(None) => true,
        Err(error) => error.kind() == ErrorKind::UnexpectedEof,
    }
}

/// The most that the safetensors format allows.
const LONGEST_HEADER: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_gguf_model_in_several_parts_is_fetched_whole() {
        assert_eq!(
            parts_of("Q4_0/m-00002-of-00003.gguf"),
            [
                "Q4_0/m-00001-of-00003.gguf",
                "Q4_0/m-00002-of-00003.gguf",
                "Q4_0/m-00003-of-00003.gguf"
            ]
        );
        assert_eq!(parts_of("m.Q4_0.gguf"), ["m.Q4_0.gguf"]);
    }

    #[test]
    fn everything_that_says_how_text_becomes_tokens_is_fetched() {
        let wanted = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "tokenizer.model",
            "vocab.json",
            "merges.txt",
            "chat_template.jinja",
            "chat_template.json",
            "generation_config.json",
            "README.md",
            "LICENSE",
            "additional_chat_templates/tool_use.jinja",
            "model.safetensors",
        ];
        let mut there = names(&wanted);
        there.extend(names(&[
            "training_args.bin",
            "additional_chat_templates/run.py",
            "onnx/model.onnx",
        ]));
        assert_eq!(choose_files(&there), wanted);
    }

    #[test]
    fn an_adapter_is_fetched_with_what_lies_beside_it() {
        let wanted = [
            "adapter_config.json",
            "tokenizer.json",
            "chat_template.jinja",
            "adapter_model.safetensors",
        ];
        assert_eq!(choose_files(&names(&wanted)), wanted);
    }

    #[test]
    fn pickles_code_and_nested_files_are_never_fetched() {
        let names: Vec<String> = [
            "README.md",
            "pytorch_model.bin",
            "modeling_evil.py",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "onnx/model-1.safetensors",
            "config.json",
            "tokenizer.json",
        ]
        .map(String::from)
        .to_vec();
        assert_eq!(
            choose_files(&names),
            [
                "config.json",
                "tokenizer.json",
                "README.md",
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"
            ]
        );
    }

    #[test]
    fn paths_that_leave_their_directory_are_told_apart() {
        for file in ["a.json", "folder/b c.jinja", "größe.jinja"] {
            assert!(is_plain_path(file), "{file}");
        }
        for file in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a\\b",
            "c:a",
            "a\nb",
            "\u{1b}[2J",
        ] {
            assert!(!is_plain_path(file), "{file}");
        }
        assert_eq!(escaped("f/b c?#%ö"), "f/b%20c%3F%23%25%C3%B6");
    }

    #[test]
    fn a_directory_without_all_its_weights_says_which_file_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        let missing = || first_missing(dir.path());
        assert_eq!(missing().as_deref(), Some("config.json"));
        write("config.json", b"{}");
        assert_eq!(missing().as_deref(), Some("model.safetensors"));

        let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut whole = (header.len() as u64).to_le_bytes().to_vec();
        whole.extend(header);
        whole.extend([0; 8]);
        write(
            INDEX,
            br#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#,
        );
        write("model-1.safetensors", &whole);
        assert_eq!(missing().as_deref(), Some("model-2.safetensors"));
        for cut in [0, 7, 20, whole.len() - 1] {
            write("model-2.safetensors", &whole[..cut]);
            assert_eq!(missing().as_deref(), Some("model-2.safetensors"), "{cut}");
        }
        write("model-2.safetensors", &whole);
        assert_eq!(missing(), None);
    }
}
