//! Base models from the Hugging Face hub, in the hub's own cache layout.
//!
//! Only data is fetched: what describes a model, its tokenizer, its chat templates, its licence, and safetensors, or the parts
//! of one GGUF model; of an adapter likewise. Pickles and code are never asked for. `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` mean what they mean elsewhere.

use super::chat_form::MORE_TEMPLATES;
use hf_hub::api::sync::{Api, ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use hone_model::weights::PartName;
use std::fmt;
use std::path::{Path, PathBuf};

/// `owner/name[@revision]`, or `owner/name[@revision]/FILE.gguf` for one model of a repository of GGUF files, which may lie
/// in folders and in several parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// `owner/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// The one GGUF file asked for.
    pub gguf: Option<String>,
}

/// Why a hub id did not become a model.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// `HF_HUB_OFFLINE` is set.
    #[error("`{id}` is not in the hub cache, and HF_HUB_OFFLINE forbids fetching it")]
    Offline {
        /// What was asked for.
        id: HubId,
    },
    /// No answer.
    #[error("the Hugging Face hub cannot be reached to fetch `{id}` ({reason})")]
    Unreachable {
        /// What was asked for.
        id: HubId,
        /// What the client said.
        reason: String,
    },
    /// The hub answered 404.
    #[error("the hub has no `{id}`")]
    Absent {
        /// What was asked for.
        id: HubId,
    },
    /// The hub answered 401 or 403.
    #[error("the hub does not let us read `{id}`: it is private, gated, or misspelt")]
    Refused {
        /// What was asked for.
        id: HubId,
    },
    /// There are no safetensors.
    #[error("`{id}` holds no safetensors weights")]
    NoSafetensors {
        /// What was asked for.
        id: HubId,
        /// The GGUF files it does hold.
        gguf_files: Vec<String>,
    },
}

impl HubError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Offline { .. } => vec!["unset HF_HUB_OFFLINE, or pass the path of a directory you already have".into()],
            Self::Unreachable { .. } => vec![
                "copy the model's directory here from a machine that can reach the hub, and pass its path".into(),
                format!("or use a built-in model: hone pull {}", super::CATALOGUE[0].name),
            ],
            Self::Absent { .. } => vec!["check the spelling of owner/name and of the revision after `@`".into()],
            Self::Refused { .. } => vec!["accept the model's terms on the hub and set HF_TOKEN".into()],
            Self::NoSafetensors { gguf_files, id } => match gguf_files.first() {
                Some(file) => {
                    let list = gguf_files.join(", ");
                    vec![format!("pick one of its GGUF files ({list}): hone pull {}/{file}", id.repo)]
                }
                None => vec!["Hone reads safetensors and GGUF, never pickles; look for a converted repository".into()],
            },
        }
    }
}

impl HubId {
    /// Reads a hub id; `None` if it does not look like one.
    pub fn parse(asked: &str) -> Option<Self> {
        let is_name = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let mut parts = asked.splitn(3, '/');
        let (owner, name, gguf) = (parts.next()?, parts.next()?, parts.next());
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let well_formed = [owner, name, revision].into_iter().all(is_name)
            && gguf.is_none_or(|file| file.split('/').all(is_name) && file.ends_with(".gguf"));
        well_formed.then(|| Self {
            repo: format!("{owner}/{name}"),
            revision: revision.into(),
            gguf: gguf.map(String::from),
        })
    }

    fn repo(&self) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone())
    }

    /// Where the model lies in the hub's cache, if it has been fetched.
    pub fn cached(&self) -> Option<PathBuf> {
        let cache = Cache::from_env().repo(self.repo());
        let dir_of = |name: &str| Some(cache.get(name)?.parent()?.to_path_buf());
        match &self.gguf {
            Some(file) => {
                let parts: Option<Vec<PathBuf>> =
                    parts_of(file).iter().map(|part| cache.get(part)).collect();
                parts?.into_iter().next()
            }
            None => dir_of("config.json").or_else(|| dir_of("adapter_config.json")),
        }
    }

    /// Fetches what is missing and returns the directory, or the GGUF file.
    pub fn fetch(&self, show_progress: bool) -> Result<PathBuf, HubError> {
        if is_offline() {
            return self
                .cached()
                .ok_or_else(|| HubError::Offline { id: self.clone() });
        }
        let repo = self.client(show_progress)?.repo(self.repo());
        let get = |file: &str| repo.get(file).map_err(|e| self.explain(&e.to_string()));
        if let Some(file) = &self.gguf {
            let parts: Vec<PathBuf> = parts_of(file)
                .iter()
                .map(|part| get(part))
                .collect::<Result<_, _>>()?;
            return Ok(parts.into_iter().next().unwrap_or_default());
        }
        let wanted = self.wanted_files(&repo)?;
        let mut dir = PathBuf::new();
        for file in &wanted {
            let path = get(file)?;
            // Files in folders are further templates; weights, which come last, are not.
            if !file.contains('/') {
                dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
            }
        }
        Ok(dir)
    }

    fn client(&self, show_progress: bool) -> Result<Api, HubError> {
        let mut builder = ApiBuilder::from_env()
            .with_progress(show_progress)
            .with_retries(2);
        if let Ok(token) = std::env::var("HF_TOKEN") {
            builder = builder.with_token(Some(token));
        }
        builder.build().map_err(|e| self.explain(&e.to_string()))
    }

    fn wanted_files(&self, repo: &ApiRepo) -> Result<Vec<String>, HubError> {
        let info = repo.info().map_err(|e| self.explain(&e.to_string()))?;
        let names: Vec<String> = info
            .siblings
            .into_iter()
            .map(|sibling| sibling.rfilename)
            .collect();
        let wanted = choose_files(&names);
        if wanted.iter().any(|name| name.ends_with(".safetensors")) {
            return Ok(wanted);
        }
        let gguf_files = names
            .into_iter()
            .filter(|name| name.ends_with(".gguf") && parts_of(name)[0] == *name)
            .collect();
        Err(HubError::NoSafetensors {
            id: self.clone(),
            gguf_files,
        })
    }

    fn explain(&self, said: &str) -> HubError {
        let id = self.clone();
        match said {
            _ if said.contains("status: 404") => HubError::Absent { id },
            _ if said.contains("status: 401") || said.contains("status: 403") => {
                HubError::Refused { id }
            }
            _ => HubError::Unreachable {
                id,
                reason: said.lines().next().unwrap_or_default().to_string(),
            },
        }
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        if self.revision != "main" {
            write!(f, "@{}", self.revision)?;
        }
        self.gguf.iter().try_for_each(|file| write!(f, "/{file}"))
    }
}

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
fn choose_files(names: &[String]) -> Vec<String> {
    const WHOLE: [&str; 2] = ["model.safetensors", "adapter_model.safetensors"];
    const INDEX: &str = "model.safetensors.index.json";
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
    let whole: Vec<String> = WHOLE
        .iter()
        .filter(|name| has(name))
        .map(|name| name.to_string())
        .collect();
    let weights: Vec<String> = match has(INDEX) && !has(WHOLE[0]) {
        true => std::iter::once(INDEX.to_string())
            .chain(names.iter().filter(is_shard).cloned())
            .chain(whole)
            .collect(),
        false => whole,
    };
    described.chain(weights).collect()
}

/// A GGUF file of a repository, or all the files that its model is spread over, the first part first.
fn parts_of(file: &str) -> Vec<String> {
    let (folder, name) = match file.rsplit_once('/') {
        Some((folder, name)) => (format!("{folder}/"), name),
        None => (String::new(), file),
    };
    match PartName::parse(name) {
        Some(part) => part.all().map(|name| format!("{folder}{name}")).collect(),
        None => vec![file.to_owned()],
    }
}

fn is_offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| {
        ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_with_revision_and_gguf_file() {
        let id = HubId::parse("owner/name@v1.0/model.Q4_0.gguf").unwrap();
        assert_eq!(
            (id.repo.as_str(), id.revision.as_str()),
            ("owner/name", "v1.0")
        );
        assert_eq!(id.to_string(), "owner/name@v1.0/model.Q4_0.gguf");
        assert_eq!(HubId::parse("owner/name").unwrap().revision, "main");
        let nested = HubId::parse("owner/name/Q4_0/m-00002-of-00002.gguf").unwrap();
        assert_eq!(nested.gguf.as_deref(), Some("Q4_0/m-00002-of-00002.gguf"));
    }

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
    fn paths_are_not_taken_for_ids() {
        for path in [
            "./a/b",
            "../a",
            "/a/b",
            "a",
            "a/b/c",
            "a/b/c/../d.gguf",
            "a//b",
            "a/..",
        ] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
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
    fn answers_of_the_hub_become_situations() {
        let id = HubId::parse("owner/name").unwrap();
        let text = |said| id.explain(said).to_string();
        assert_eq!(
            text("request error: http status: 404"),
            "the hub has no `owner/name`"
        );
        assert!(text("request error: http status: 401").contains("private, gated"));
        assert!(text("request error: io: Connection refused").contains("cannot be reached"));
    }
}
