//! What is merged or exported: a base, the adapters on it, and the run that made them.

use crate::base::{self, AdapterOrigin, Home, OpenBase, OpenOptions};
use crate::notices::say_notices;
use crate::plan::Machine;
use crate::refusal::Refusal;
use crate::run::{RUN_JSON, RunRecord};
use crate::screen::Talk;
use anyhow::Result;
use hone_ledger::{ContentId, Seed};
use hone_model::export::MergeDtype;
use hone_model::weights::{BaseWeights, WeightsError};
use hone_model::{
    AdapterFiles, AdapterWeights, BaseFormat, CheckedBase, Combination, CombineKind, MergeBase,
    Merged, Model, RawAdapter, check_adapter, combine,
};
use hone_tensor::Device;
use hone_text::TemplateOption;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

/// Flags that name a base and adapters.
#[derive(Debug, clap::Args)]
pub struct SourceArgs {
    /// Base model: a directory, a .gguf file, a built-in name, or a hub id
    #[arg(long, value_name = "M")]
    pub model: String,
    /// Adapter directory; several are added one after another
    #[arg(long = "adapter", value_name = "DIR")]
    pub adapters: Vec<PathBuf>,
    /// Chat template: a name that the model has for one, `instruction`, `chatml`, or a .jinja file; the model's or the
    /// adapter's own if not given
    #[arg(long, value_name = "TEMPLATE")]
    pub chat_template: Option<String>,
    /// What the chat template reads beside the turns, such as enable_thinking=false: JSON or text; may be given more than
    /// once. The adapter's own if not given
    #[arg(long = "template-option", value_name = "NAME=VALUE")]
    pub template_options: Vec<TemplateOption>,
    /// Weights that the adapter is added to: the base as it is, or as a QLoRA training saw it
    #[arg(long, value_name = "BASE", default_value = "original", value_parser = ["original", "dequantised-nf4"])]
    pub base: String,
    /// Threads; the result does not depend on it. All cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// A base and adapters that have been checked against it, but for [`Source::check_base`].
pub struct Source {
    /// The base.
    pub open: OpenBase,
    /// The weights of the adapters.
    pub parts: Vec<AdapterWeights>,
    /// Numbers that they are added to.
    pub kind: MergeBase,
    /// Where it is computed.
    pub device: Device,
    /// Where the adapters lie.
    pub adapters: Vec<PathBuf>,
    /// The run that made the only adapter, and its directory.
    pub run: Option<(PathBuf, RunRecord)>,
    hashing: Hashing,
}

/// The base's fingerprint on its way, if an adapter names the base that it was trained on.
#[derive(Default)]
struct Hashing {
    thread: Mutex<Option<JoinHandle<Result<ContentId, WeightsError>>>>,
    found: OnceLock<ContentId>,
}

impl Hashing {
    /// Begins to hash, beside whatever comes next.
    fn begin(weights: &BaseWeights) -> Self {
        let weights = weights.clone();
        let hash = std::thread::spawn(move || weights.fingerprint());
        Self {
            thread: Mutex::new(Some(hash)),
            found: OnceLock::new(),
        }
    }

    /// Waits for the fingerprint; `None` if nobody asked for it.
    fn finish(&self) -> Result<Option<&ContentId>, WeightsError> {
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let found = joined(thread.join())?;
            return Ok(Some(self.found.get_or_init(|| found)));
        }
        Ok(self.found.get())
    }
}

/// What a thread came to; if it panicked, so does this one.
pub(super) fn joined<T>(outcome: std::thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl SourceArgs {
    /// Opens the base, reads and checks the adapters, and says what a user would not expect of them.
    pub fn open(&self, talk: Talk) -> Result<Source> {
        let found = base::find(&self.model, &Home::from_env()?)?;
        let weights = BaseWeights::open(&found.path)?;
        let (adapters, hashing) = self.read_adapters(&weights)?;
        let options = OpenOptions {
            chat_template: self.chat_template.clone(),
            template_options: self.template_options.clone(),
            adapter: adapters.first().map(AdapterOrigin::from),
            ..OpenOptions::default()
        };
        let mut open = OpenBase::with_weights(found, weights, &options)?;
        for raw in &adapters {
            open.fit_to(raw)?;
        }
        say_notices(&open, talk);
        // A base that would fill the memory is read from disk as it is used.
        if open.weights.size_bytes() as u64 > Machine::measure().memory.bytes / 2 {
            open.weights.stream();
        }
        let checked = CheckedBase {
            config: open.weights.config(),
            new_tokens: open.weights.new_tokens(),
            fingerprint: None,
            template_hash: Some(open.renderer.template_hash()),
        };
        let parts = adapters.into_iter().map(|mut raw| {
            raw.leave_out_copies(&open.weights);
            AdapterWeights::of(&raw, &check_adapter(&raw, Some(checked)))
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Source {
            parts,
            kind: match self.base.as_str() {
                "dequantised-nf4" => MergeBase::DequantisedNf4,
                _ => MergeBase::Original,
            },
            device: Device::cpu(self.threads.map_or_else(all, usize::from))?,
            run: self.run(),
            adapters: self.adapters.clone(),
            open,
            hashing,
        })
    }

    /// Hashing a base takes as long as reading it: only adapters that name one are worth that.
    fn read_adapters(&self, weights: &BaseWeights) -> Result<(Vec<RawAdapter>, Hashing)> {
        let read = self.adapters.iter().map(|dir| RawAdapter::read(dir));
        let adapters = read.collect::<Result<Vec<_>, _>>()?;
        let mut named = adapters.iter().map(RawAdapter::provenance);
        let hashing = match named.any(|provenance| provenance.base_fingerprint.is_some()) {
            true => Hashing::begin(weights),
            false => Hashing::default(),
        };
        Ok((adapters, hashing))
    }

    fn run(&self) -> Option<(PathBuf, RunRecord)> {
        let [adapter] = &self.adapters[..] else {
            return None;
        };
        let dir = adapter.parent()?;
        let record = dir
            .join(RUN_JSON)
            .is_file()
            .then(|| RunRecord::read(dir).ok())??;
        Some((dir.to_path_buf(), record))
    }
}

impl Source {
    /// Refuses adapters that name another base than this one. The base is hashed beside what else is done, so this comes
    /// late: before anything that was written takes its name.
    pub fn check_base(&self) -> Result<()> {
        let Some(fingerprint) = self.hashing.finish()? else {
            return Ok(());
        };
        for (parts, dir) in self.parts.iter().zip(&self.adapters) {
            parts.check_base(dir, &fingerprint.to_string())?;
        }
        Ok(())
    }

    /// Refuses a base whose files are not what they were when they were opened.
    pub fn check_unchanged(&self) -> Result<()> {
        // Found to be what the adapters name, by `check_base`.
        let fingerprint = self.hashing.finish()?;
        Ok(self.open.weights.check_unchanged(fingerprint)?)
    }

    /// The base with the adapters in it, to be read tensor by tensor.
    pub fn merged(&self) -> Result<Merged<'_>> {
        Ok(Merged::new(
            &self.open.weights,
            self.parts.clone(),
            self.kind,
            &self.device,
        )?)
    }

    /// The one adapter; several as their exact sum.
    pub fn adapter(&self) -> Result<AdapterWeights> {
        match &self.parts[..] {
            [] => Err(Refusal::usage("there is no adapter to export")
                .hint("name one with --adapter DIR")
                .into()),
            [one] => Ok(one.clone()),
            many => Ok(combine(many, &self.sum())?),
        }
    }

    fn sum(&self) -> Combination {
        Combination {
            kind: CombineKind::Cat,
            weights: vec![1.0; self.parts.len()],
            density: None,
            rank: None,
            seed: Seed::new(0),
        }
    }

    /// How the base is held where it is what the adapters were trained on.
    fn format(&self) -> BaseFormat {
        match self.kind {
            MergeBase::Original => BaseFormat::Stored,
            MergeBase::DequantisedNf4 => BaseFormat::Nf4,
        }
    }

    /// The reference of every proof: the base, as it was trained on, with the adapters beside it.
    pub fn reference(&self, max_positions: usize) -> Result<Model> {
        let mut model = Model::load(
            &self.open.weights,
            &self.device,
            self.format(),
            max_positions,
        )?;
        match &self.adapters[..] {
            [] => {}
            [one] => {
                // Checked against this base when the source was opened.
                let mut files = AdapterFiles::read(one)?;
                files.leave_out_copies(&self.open.weights);
                model.attach(files.into_adapter(model.config(), model.device())?);
            }
            _ => {
                let adapter = self.adapter()?;
                model.attach(adapter.to_adapter(model.config(), model.device())?);
            }
        }
        Ok(model)
    }

    /// The base alone, rounded to the types of `written`.
    pub fn rounded_base(&self, written: &BaseWeights, max_positions: usize) -> Result<Model> {
        let base = &self.open.weights;
        let model = Model::load_rounded(base, written, &self.device, self.format(), max_positions)?;
        Ok(model)
    }

    /// What transformers calls the type of most numbers, once they are written as `dtype`.
    pub fn dtype_word(&self, dtype: MergeDtype) -> &'static str {
        dtype.word_of(&self.open.weights)
    }

    /// What to call it: the base's name, and the adapter's directory.
    pub fn name(&self) -> String {
        let short = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let base = short(Path::new(&self.open.base.name)).unwrap_or_default();
        let base = base.trim_end_matches(".gguf").to_owned();
        match &self.run {
            Some((dir, _)) => format!("{base}-{}", short(dir).unwrap_or_default()),
            None => base,
        }
    }
}
