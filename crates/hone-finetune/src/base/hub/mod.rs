//! Base models from the Hugging Face hub, in the hub's own cache layout.
//!
//! A model is here whole or not at all: bytes get their name when they are the promised ones, a branch points to a snapshot
//! when all its files are there, and what an interrupted pull has left is taken up by the next. Nothing that a hub, a mirror or
//! a proxy says can name a place outside the cache, and the token goes to the hub only. `HF_HOME`, `HF_HUB_CACHE`,
//! `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_DOWNLOAD_TIMEOUT` and `HF_HUB_OFFLINE` mean what they mean elsewhere.

mod blob;
mod cache;
mod client;
mod files;
mod pace;

use super::watch::{PullEvent, PullWatch};
use crate::disk;
use blob::{Wanted, insist};
use cache::{RepoCache, hub_home};
use client::{Client, Commit, Etag, Trouble};
use files::{choose_files, first_missing, is_adapter_only, is_plain_path, parts_of, shards_of};
use hone_ledger::WriteError;
use serde::Deserialize;
use std::collections::BTreeMap;
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

/// What of a model is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cached {
    /// All of it: the directory, or the GGUF file.
    Whole(PathBuf),
    /// A part of it.
    Partial {
        /// A file that is missing or cut short.
        missing: String,
    },
    /// Nothing.
    Absent,
}

/// Why a hub id did not become a model.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// `HF_HUB_OFFLINE` is set.
    #[error("`{id}` is not in the hub cache{}, and HF_HUB_OFFLINE forbids fetching it", .missing.as_ref().map(|file| format!(" whole ({file} is missing)")).unwrap_or_default())]
    Offline {
        /// What was asked for.
        id: Box<HubId>,
        /// What is missing of a model that is here in part.
        missing: Option<String>,
    },
    /// No answer.
    #[error("the Hugging Face hub cannot be reached to fetch `{id}` ({place}: {reason})")]
    Unreachable {
        /// What was asked for.
        id: Box<HubId>,
        /// Where the hub should be.
        place: String,
        /// What happened.
        reason: String,
    },
    /// A connection that broke or fell silent, and did again when it was tried again.
    #[error("{place} stopped sending {file} of `{id}`: {reason}")]
    Broken {
        /// What was asked for.
        id: Box<HubId>,
        /// Where the hub is.
        place: String,
        /// Which of its files.
        file: String,
        /// What happened.
        reason: String,
    },
    /// The hub answered 404.
    #[error("the hub has no `{id}`")]
    Absent {
        /// What was asked for.
        id: Box<HubId>,
    },
    /// The repository has no such file.
    #[error("`{}` has no {file}", .id.repo)]
    AbsentFile {
        /// What was asked for.
        id: Box<HubId>,
        /// The file.
        file: String,
        /// The GGUF files it does hold.
        gguf_files: Vec<String>,
    },
    /// The hub answered 401 or 403.
    #[error("the hub does not let us read `{id}`{}", .denied.reason())]
    Refused {
        /// What was asked for.
        id: Box<HubId>,
        /// Where the hub is.
        place: String,
        /// Why.
        denied: Denied,
    },
    /// The hub answered 429.
    #[error("the hub wants fewer requests than we make to fetch `{id}` (429)")]
    TooMany {
        /// What was asked for.
        id: Box<HubId>,
        /// How long it asks to be left alone, in seconds.
        wait_seconds: Option<u64>,
        /// Whether it knows who asks.
        has_token: bool,
    },
    /// Another status.
    #[error("{place} answered {code} when asked for {file} of `{id}`")]
    Status {
        /// What was asked for.
        id: Box<HubId>,
        /// Where the hub is.
        place: String,
        /// Which of its files, or the list of them.
        file: String,
        /// The HTTP status.
        code: u16,
    },
    /// An answer that cannot be true, or that must not be acted on.
    #[error("what {place} says of {file} of `{id}` cannot be used: {reason}")]
    Unsound {
        /// What was asked for.
        id: Box<HubId>,
        /// Where the hub is.
        place: String,
        /// Which of its files, or the list of them.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Other bytes than promised.
    #[error("{file} of `{id}` did not arrive as it is: {reason}; nothing of it was kept")]
    WrongBytes {
        /// What was asked for.
        id: Box<HubId>,
        /// The file.
        file: String,
        /// Which hash or size, found and promised.
        reason: String,
    },
    /// There are no safetensors.
    #[error("`{id}` holds no safetensors weights")]
    NoSafetensors {
        /// What was asked for.
        id: Box<HubId>,
        /// The GGUF files it does hold.
        gguf_files: Vec<String>,
    },
    /// Weights that the repository itself has only a part of.
    #[error("`{id}` is not whole on the hub: {file} is missing or cut short")]
    Incomplete {
        /// What was asked for.
        id: Box<HubId>,
        /// The file.
        file: String,
    },
    /// The disk is too small.
    #[error("`{id}` needs {} MB more on the disk of {}, which has {} MB left", .needed_bytes.div_ceil(1_000_000), .path.display(), .free_bytes / 1_000_000)]
    NoRoom {
        /// What was asked for.
        id: Box<HubId>,
        /// Bytes that are still to come.
        needed_bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
        /// Where.
        path: PathBuf,
    },
    /// The file system refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A variable of the environment that cannot be used. Its value, which may be secret, is not shown.
    #[error("{name} should be {wants}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What it may be.
        wants: &'static str,
    },
    /// No place to keep models in.
    #[error(
        "no directory to keep models of the hub in: HF_HOME, XDG_CACHE_HOME and HOME are all unset"
    )]
    NoHome,
    /// The user asked to stop.
    #[error("stopped before `{id}` was whole; what has arrived is kept")]
    Stopped {
        /// What was asked for.
        id: Box<HubId>,
    },
}

/// Why a hub does not let us read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It does not know who asks.
    Nameless,
    /// It does not accept the token.
    BadToken,
    /// The repository is gated, or the token is not allowed to read it.
    Gated,
}

impl Denied {
    fn reason(self) -> &'static str {
        match self {
            Self::Nameless => ": it is private, gated, or misspelt",
            Self::BadToken => ": it does not accept the token",
            Self::Gated => ": it is gated, or the token may not read it",
        }
    }
}

impl HubError {
    /// What the user can do next.
    pub fn hints(&self) -> Vec<String> {
        let again = |id: &HubId| format!("what has arrived is kept; to go on: hone pull {id}");
        let proxy = "a mirror or proxy may have changed the answer; try another network, or another HF_ENDPOINT";
        match self {
            Self::Offline { .. } => vec!["unset HF_HUB_OFFLINE, or pass the path of a directory you already have".into()],
            Self::Unreachable { .. } => vec![
                "copy the model's directory here from a machine that can reach the hub, and pass its path".into(),
                format!("or use a built-in model: hone pull {}", super::CATALOGUE[0].name),
            ],
            Self::Broken { id, .. } => vec![
                again(id),
                "HF_HUB_DOWNLOAD_TIMEOUT=60 bears longer silence, in seconds; where bytes only drip, try another network, or a mirror with HF_ENDPOINT"
                    .into(),
            ],
            Self::Absent { .. } => vec!["check the spelling of owner/name and of the revision after `@`".into()],
            Self::AbsentFile { gguf_files, .. } if gguf_files.is_empty() => {
                vec!["it holds no GGUF files that can be asked for".into()]
            }
            Self::AbsentFile { gguf_files, .. } => {
                vec![format!("its GGUF files: {}", a_few(gguf_files))]
            }
            Self::Refused { id, place, denied } => {
                let page = format!("{place}/{}", id.repo);
                match denied {
                    Denied::Nameless => vec![
                        format!("check the spelling; if it is right, accept the model's terms at {page} and set HF_TOKEN"),
                    ],
                    Denied::BadToken => vec![
                        format!("make a new token at {place}/settings/tokens and set HF_TOKEN to it, or unset HF_TOKEN for public models"),
                    ],
                    Denied::Gated => vec![
                        format!("accept the model's terms at {page} with the account of HF_TOKEN; the token needs the right to read gated models"),
                    ],
                }
            }
            Self::TooMany { id, wait_seconds, has_token } => {
                let wait = wait_seconds.map_or("a few minutes".into(), |seconds| format!("{seconds} s"));
                let mut hints = vec![format!("wait {wait}, then: hone pull {id}")];
                hints.extend((!has_token).then(|| "with HF_TOKEN set the hub allows more".into()));
                hints
            }
            Self::Status { id, code, .. } if *code >= 500 => vec![
                format!("the hub has trouble of its own; try again later: hone pull {id}"),
            ],
            Self::Status { .. } | Self::Unsound { .. } | Self::WrongBytes { .. } => vec![proxy.into()],
            Self::NoSafetensors { gguf_files, id } => match gguf_files.first() {
                Some(file) => {
                    let list = a_few(gguf_files);
                    vec![format!("pick one of its GGUF files ({list}): hone pull {}", id.with_gguf(file))]
                }
                None => vec!["Hone reads safetensors and GGUF, never pickles; look for a converted repository".into()],
            },
            Self::Incomplete { .. } => vec!["look for another revision or another copy of the model".into()],
            Self::NoRoom { .. } => {
                vec!["free some space, or set HF_HOME to a directory on another disk".into()]
            }
            Self::Write(error) => {
                let mut hints = error.hints();
                hints.push("HF_HOME names another directory for models of the hub".into());
                hints
            }
            Self::Setting { name, .. } => vec![format!("set {name} anew, or unset it")],
            Self::NoHome => vec!["set HF_HOME to a directory with some space".into()],
            Self::Stopped { id } => vec![format!("to go on: hone pull {id}")],
        }
    }
}

/// The first names of a list that may be long.
fn a_few(names: &[String]) -> String {
    const FEW: usize = 8;
    let shown = names[..names.len().min(FEW)].join(", ");
    match names.len().saturating_sub(FEW) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl HubId {
    /// Reads a hub id; `None` if it does not look like one.
    pub fn parse(asked: &str) -> Option<Self> {
        let is_name = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '-'])
                && part.len() <= 200
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

    /// The same revision's model in a GGUF file.
    fn with_gguf(&self, file: &str) -> Self {
        Self {
            gguf: Some(file.to_owned()),
            ..self.clone()
        }
    }

    /// What of the model lies in the hub's cache. Weights count, and what they need to be read; see [`Self::fetch`] for the rest.
    pub fn cached(&self) -> Cached {
        let snapshot =
            RepoCache::from_env(self).and_then(|cache| cache.snapshot_of(&self.revision));
        let Some(snapshot) = snapshot else {
            return Cached::Absent;
        };
        let Some(file) = &self.gguf else {
            return match first_missing(&snapshot) {
                Some(missing) => Cached::Partial { missing },
                None => Cached::Whole(snapshot),
            };
        };
        let parts = parts_of(file);
        let is_here = |part: &&String| snapshot.join(part).is_file();
        match parts.iter().find(|part| !is_here(part)) {
            None => Cached::Whole(snapshot.join(&parts[0])),
            Some(_) if !parts.iter().any(|part| is_here(&part)) => Cached::Absent,
            Some(missing) => Cached::Partial {
                missing: missing.clone(),
            },
        }
    }

    /// Whether nothing of what was found needs to be asked for: its weights are whole and text can become tokens.
    fn is_ready(&self, path: &Path) -> bool {
        match self.gguf {
            Some(_) => hone_model::weights::Gguf::open(path).is_ok(),
            None => is_adapter_only(path) || files::has_tokenizer(path),
        }
    }

    /// Whether the bytes of what was found are those that they were kept for: a file of the cache links to one that is named
    /// by its hash.
    fn is_intact(&self, watch: &mut dyn PullWatch) -> Result<bool, HubError> {
        let cache = RepoCache::from_env(self);
        let Some(snapshot) = cache.and_then(|cache| cache.snapshot_of(&self.revision)) else {
            return Ok(false);
        };
        let names = match &self.gguf {
            Some(gguf) => parts_of(gguf),
            None => names_in(&snapshot),
        };
        for file in names {
            let path = snapshot.join(&file);
            let blob = std::fs::read_link(&path).ok();
            let etag = blob.and_then(|blob| Etag::parse(blob.file_name()?.to_str()?));
            let size = std::fs::metadata(&path).map(|found| found.len());
            let (Some(etag), Ok(size)) = (etag, size) else {
                continue;
            };
            let wanted = Wanted {
                file,
                address: String::new(),
                etag,
                size,
            };
            let is_intact = blob::is_intact(&path, &wanted, watch).map_err(|_| {
                let id = Box::new(self.clone());
                HubError::Stopped { id }
            })?;
            if !is_intact {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches what is missing and returns the directory, or the GGUF file, and whether it was here already.
    pub fn fetch(&self, watch: &mut dyn PullWatch) -> Result<(PathBuf, bool), HubError> {
        let cached = self.cached();
        match &cached {
            Cached::Whole(path) if is_offline() => return Ok((path.clone(), true)),
            Cached::Whole(path) if self.is_ready(path) && self.is_intact(watch)? => {
                return Ok((path.clone(), true));
            }
            _ if is_offline() => {
                let missing = match cached {
                    Cached::Partial { missing } => Some(missing),
                    _ => None,
                };
                let id = Box::new(self.clone());
                return Err(HubError::Offline { id, missing });
            }
            _ => {}
        }
        let token_file = hub_home().map(|home| home.join("token"));
        let pull = Pull {
            id: self,
            client: Client::from_env(token_file.as_deref())?,
            cache: RepoCache::from_env(self).ok_or(HubError::NoHome)?,
        };
        let path = pull.run(watch)?;
        Ok((path, false))
    }
}

/// One repository on its way to this machine.
struct Pull<'a> {
    id: &'a HubId,
    client: Client,
    cache: RepoCache,
}

/// A repository as the hub lists it.
#[derive(Deserialize)]
struct Listing {
    sha: Option<String>,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What the files of a repository are called in messages, as long as it is about all of them.
const THE_LIST: &str = "the list of files";

impl Pull<'_> {
    fn run(&self, watch: &mut dyn PullWatch) -> Result<PathBuf, HubError> {
        let (names, commit) = self.list(watch)?;
        let mut wanted = self.choose(&names)?;
        self.bring(&wanted, &commit, watch)?;
        let snapshot = self.cache.snapshot(&commit);
        if self.id.gguf.is_none() {
            // An index may name shards by other names than usual.
            let more: Vec<String> = shards_of(&snapshot)
                .into_iter()
                .filter(|shard| !wanted.contains(shard) && names.contains(shard))
                .collect();
            self.bring(&more, &commit, watch)?;
            wanted.extend(more);
            if let Some(file) = first_missing(&snapshot) {
                let id = Box::new(self.id.clone());
                return Err(HubError::Incomplete { id, file });
            }
        }
        // Last: a branch points to what is whole.
        self.cache
            .point(&self.id.revision, &commit)
            .map_err(|trouble| self.explain(trouble, &self.id.revision))?;
        Ok(match &self.id.gguf {
            Some(file) => snapshot.join(&parts_of(file)[0]),
            None => snapshot,
        })
    }

    /// The files of the repository, and the commit they are of.
    fn list(&self, watch: &mut dyn PullWatch) -> Result<(Vec<String>, Commit), HubError> {
        let HubId { repo, revision, .. } = self.id;
        let address = self
            .client
            .address(&format!("api/models/{repo}/revision/{revision}"));
        let explain = |trouble| self.explain(trouble, THE_LIST);
        let json = insist(THE_LIST, watch, |watch, _| {
            self.client.read(&address, watch)
        })
        .map_err(explain)?;
        read_listing(&json).map_err(|reason| explain(Trouble::Unsound(reason)))
    }

    /// The files that are asked for.
    fn choose(&self, names: &[String]) -> Result<Vec<String>, HubError> {
        let id = || Box::new(self.id.clone());
        // What is offered can be asked for: a name that no id may hold is a stranger's word in a command line.
        let gguf_files = || {
            let is_offered = |name: &&String| {
                let id = self.id.with_gguf(name);
                HubId::parse(&id.to_string()) == Some(id) && parts_of(name)[0] == **name
            };
            names.iter().filter(is_offered).cloned().collect()
        };
        if let Some(file) = &self.id.gguf {
            let parts = parts_of(file);
            return match parts.iter().find(|part| !names.contains(part)) {
                None => Ok(parts),
                Some(absent) => Err(HubError::AbsentFile {
                    id: id(),
                    file: absent.clone(),
                    gguf_files: gguf_files(),
                }),
            };
        }
        let wanted = choose_files(names);
        if !wanted.iter().any(|name| name.ends_with(".safetensors")) {
            return Err(HubError::NoSafetensors {
                id: id(),
                gguf_files: gguf_files(),
            });
        }
        Ok(wanted)
    }

    /// Puts files into the snapshot of a commit, those first that come first.
    fn bring(
        &self,
        files: &[String],
        commit: &Commit,
        watch: &mut dyn PullWatch,
    ) -> Result<(), HubError> {
        if let Some(strange) = files.iter().find(|file| !is_plain_path(file)) {
            let out = "its name leads out of its directory";
            return Err(self.explain(Trouble::Unsound(out.into()), strange));
        }
        let (mut missing, mut sizes) = (Vec::new(), BTreeMap::new());
        for file in files {
            let wanted = self.describe(file, commit, watch)?;
            // Contents of one name are one file in the cache: the second would take the first one's place.
            let etag = wanted.etag.as_ref().to_owned();
            if *sizes.entry(etag).or_insert(wanted.size) != wanted.size {
                let said = "its etag is that of another file, which has another size";
                return Err(self.explain(Trouble::Unsound(said.into()), file));
            }
            let place = self.cache.snapshot(commit).join(file);
            let is_here = blob::is_here(&place, &wanted, watch);
            if !is_here.map_err(|trouble| self.explain(trouble, file))? {
                missing.push(wanted);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.cache
            .create()
            .map_err(|trouble| self.explain(trouble, THE_LIST))?;
        let bytes = self.refuse_without_room(&missing)?;
        watch.tell(PullEvent::Planned {
            num_files: missing.len(),
            bytes,
        });
        for wanted in &missing {
            blob::fetch(&self.client, &self.cache, wanted, watch)
                .and_then(|()| self.cache.link(commit, &wanted.file, &wanted.etag))
                .map_err(|trouble| self.explain(trouble, &wanted.file))?;
        }
        Ok(())
    }

    /// What the hub says of a file.
    fn describe(
        &self,
        file: &str,
        commit: &Commit,
        watch: &mut dyn PullWatch,
    ) -> Result<Wanted, HubError> {
        let explain = |trouble| self.explain(trouble, file);
        let unsound = |reason: &str| explain(Trouble::Unsound(reason.into()));
        let address = self.client.address(&format!(
            "{}/resolve/{}/{}",
            self.id.repo,
            commit.as_ref(),
            files::escaped(file)
        ));
        let told = insist(file, watch, |watch, _| {
            self.client.describe(&address, watch)
        })
        .map_err(explain)?;
        if told.commit.is_some_and(|other| other != *commit) {
            return Err(unsound("it is of another commit than the list of files"));
        }
        Ok(Wanted {
            file: file.to_owned(),
            address,
            etag: told.etag.ok_or_else(|| unsound("it has no etag"))?,
            size: told.size.ok_or_else(|| unsound("its size is not told"))?,
        })
    }

    /// The bytes that are still to come, if there is room for them.
    fn refuse_without_room(&self, missing: &[Wanted]) -> Result<u64, HubError> {
        let here = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let to_come = |wanted: &Wanted| {
            let place = self.cache.blob(&wanted.etag);
            match blob::is_of_size(&place, wanted.size) {
                true => 0,
                false => wanted
                    .size
                    .saturating_sub(here(&self.cache.partial(&wanted.etag))),
            }
        };
        let needed_bytes = missing
            .iter()
            .map(to_come)
            .fold(0, |sum: u64, bytes| sum.saturating_add(bytes));
        let path = self.cache.dir().to_path_buf();
        match disk::free_bytes(&path) {
            Some(free_bytes) if free_bytes < needed_bytes => Err(HubError::NoRoom {
                id: Box::new(self.id.clone()),
                needed_bytes,
                free_bytes,
                path,
            }),
            _ => Ok(needed_bytes),
        }
    }

    /// A trouble on the way as a situation of the user.
    fn explain(&self, trouble: Trouble, file: &str) -> HubError {
        let (id, place, file) = (
            Box::new(self.id.clone()),
            self.client.place(),
            file.to_owned(),
        );
        match trouble {
            Trouble::Unreachable(reason) => HubError::Unreachable { id, place, reason },
            Trouble::Silent { .. } | Trouble::Slow(_) | Trouble::Cut(_) => HubError::Broken {
                id,
                place,
                file,
                reason: trouble.to_string(),
            },
            Trouble::Status {
                code,
                elsewhere: Some(place),
                ..
            } => HubError::Status {
                id,
                place,
                file,
                code,
            },
            Trouble::Status {
                code,
                reason,
                wait_seconds,
                ..
            } => self.explain_status(code, reason.as_deref(), wait_seconds, file),
            Trouble::Unsound(reason) => HubError::Unsound {
                id,
                place,
                file,
                reason,
            },
            Trouble::WrongBytes { .. } => HubError::WrongBytes {
                id,
                file,
                reason: trouble.to_string(),
            },
            Trouble::Write(error) => HubError::Write(error),
            Trouble::Stopped => HubError::Stopped { id },
        }
    }

    fn explain_status(
        &self,
        code: u16,
        reason: Option<&str>,
        wait_seconds: Option<u64>,
        file: String,
    ) -> HubError {
        let (id, place, has_token) = (
            Box::new(self.id.clone()),
            self.client.place(),
            self.client.has_token(),
        );
        let refused = |denied| HubError::Refused {
            id: id.clone(),
            place: place.clone(),
            denied,
        };
        match code {
            401 | 403 if reason == Some("GatedRepo") => refused(Denied::Gated),
            401 if has_token => refused(Denied::BadToken),
            401 => refused(Denied::Nameless),
            403 => refused(Denied::Gated),
            404 if file == THE_LIST => HubError::Absent { id },
            429 => HubError::TooMany {
                id,
                wait_seconds,
                has_token,
            },
            code => HubError::Status {
                id,
                place,
                file,
                code,
            },
        }
    }
}

/// The files below a directory, by their paths in it.
fn names_in(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => {
                let inner = names_in(&entry.path()).into_iter();
                names.extend(inner.map(|inner| format!("{name}/{inner}")));
            }
            false => names.push(name),
        }
    }
    names
}

/// Reads the hub's answer about a repository: its files, and the commit they are of.
fn read_listing(json: &[u8]) -> Result<(Vec<String>, Commit), String> {
    let listing: Listing = serde_json::from_slice(json)
        .map_err(|error| format!("it is no list of files ({error})"))?;
    let said = listing.sha.unwrap_or_default();
    let commit = Commit::parse(&said).ok_or_else(|| {
        let said = hone_ledger::words::quoted(&said);
        format!("it names the commit `{said}`, which cannot be used")
    })?;
    let names = listing
        .siblings
        .into_iter()
        .map(|sibling| sibling.rfilename)
        .collect();
    Ok((names, commit))
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

    #[test]
    fn a_commit_that_is_none_is_told_in_one_line() {
        let told = read_listing(br#"{"sha": "../a\tb\n", "siblings": []}"#).unwrap_err();
        assert_eq!(
            told,
            r"it names the commit `../a\tb\n`, which cannot be used"
        );
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
            "-a/b",
            "a/b@../x",
        ] {
            assert_eq!(HubId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn no_damage_to_a_list_makes_a_panic_or_an_unusable_commit() {
        let whole = br#"{"sha":"0123456789abcdef","siblings":[{"rfilename":"config.json"},{"rfilename":"model.safetensors"}]}"#;
        let mut random = hone_ledger::Seed::new(0).stream();
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = whole.to_vec();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = b"\"{}[]:,\\./0\x00\xffsu"[random.below(15) as usize];
            }
            if let Ok((names, commit)) = read_listing(&bytes) {
                read += 1;
                assert!(!commit.as_ref().contains(['/', '.', '\\']));
                let wanted = choose_files(&names);
                assert!(wanted.iter().all(|name| names.contains(name)));
            }
        }
        assert!((1000..19_000).contains(&read), "{read}");
    }

    #[test]
    fn a_list_without_a_usable_commit_is_refused() {
        let read = |json: &str| read_listing(json.as_bytes());
        let (names, commit) =
            read(r#"{"sha":"abc","siblings":[{"rfilename":"a","size":1}]}"#).unwrap();
        assert_eq!((names, commit.as_ref()), (vec!["a".to_owned()], "abc"));
        for json in [
            "",
            "[]",
            "{}",
            r#"{"sha":"../../evil","siblings":[]}"#,
            r#"{"sha":"abc","siblings":[{"name":"a"}]}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
