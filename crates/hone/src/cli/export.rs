//! `hone export`: a model or an adapter in the form that another program reads.

use super::failure::{Exit, Refusal};
use crate::bundle::{
    Bundle, Prover, Source, SourceArgs, Written, copy_companions, limits, outdated_metadata,
    tokenizer_metadata,
};
use crate::card;
use crate::ollama;
use crate::parity::Parity;
use crate::place::refuse_used;
use crate::screen::{self, Talk};
use anyhow::Result;
use clap::ValueEnum;
use hone_model::Merged;
use hone_model::arch::Slot;
use hone_model::export::{
    GgufKind, GgufMetadata, MergeDtype, read_gguf_adapter, read_mlx_adapter, write_gguf,
    write_gguf_adapter, write_mlx_adapter, write_safetensors,
};
use hone_model::weights::BaseWeights;
use hone_tensor::Format;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `hone export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// What to write: the merged model as gguf, ollama (GGUF and Modelfile) or hf; the adapter as gguf-adapter or mlx
    #[arg(long, value_name = "FORM", value_enum)]
    to: Form,
    #[command(flatten)]
    source: SourceArgs,
    /// Directory to write; must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How a GGUF model stores its matrices: f32, f16, bf16, q8_0, q5_0, q5_1, q4_0, q4_1 or q4_k_m [default: f16]
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<GgufKind>,
    /// For ollama: the adapter beside this base (a name that Ollama knows, or a GGUF file) instead of a merged model
    #[arg(long, value_name = "BASE")]
    ollama_from: Option<String>,
    #[command(flatten)]
    prover: Prover,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The merged model for llama.cpp
    Gguf,
    /// The adapter for llama.cpp
    GgufAdapter,
    /// The merged model, or the adapter with --ollama-from, and a Modelfile
    Ollama,
    /// The adapter for mlx-lm
    Mlx,
    /// A Hugging Face directory: the merged model and its card
    Hf,
}

impl Form {
    /// Who will read it; an adapter on a model of Ollama's is read as llama.cpp does.
    fn program(self, on_ollamas_base: bool) -> limits::Reader {
        match self {
            Self::Gguf => limits::Reader::LlamaCpp,
            Self::GgufAdapter => limits::Reader::LlamaCppAdapter,
            Self::Ollama if on_ollamas_base => limits::Reader::OllamaAdapter,
            Self::Ollama => limits::Reader::Ollama,
            Self::Mlx => limits::Reader::Mlx,
            Self::Hf => limits::Reader::Transformers,
        }
    }
}

/// What became of matrices whose rows do not divide into the blocks of the type that was asked for.
fn narrow(merged: &Merged, kind: GgufKind, path: &Path) -> Result<Option<String>> {
    let block = kind.block_len();
    let is_narrow = |slot: &Slot| slot.rows > 1 && !slot.cols.is_multiple_of(block);
    let slots = merged.slots().into_iter();
    let widths: BTreeSet<usize> = slots.filter(is_narrow).map(|slot| slot.cols).collect();
    if widths.is_empty() {
        return Ok(None);
    }
    let widths: Vec<String> = widths.iter().map(usize::to_string).collect();
    Ok(Some(format!(
        "note: rows of {} numbers do not divide into the blocks of {block} of {}: such matrices are stored in other types, and the file has {}",
        widths.join(" and "),
        kind.name(),
        BaseWeights::open(path)?.format_summary()
    )))
}

impl Export {
    /// Writes, reads back, proves, and gives the bundle its name.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        if self.ollama_from.is_some() && self.to != Form::Ollama {
            return Err(Refusal::usage("--ollama-from is for --to ollama")
                .hint("leave it out, or write --to ollama")
                .into());
        }
        let is_gguf_model =
            self.to == Form::Gguf || (self.to == Form::Ollama && self.ollama_from.is_none());
        if self.kind.is_some() && !is_gguf_model {
            return Err(Refusal::usage(
                "--type is how a GGUF model stores its matrices, and no GGUF model is written here",
            )
            .hint("leave it out, or write a model: --to gguf or --to ollama without --ollama-from")
            .into());
        }
        refuse_used(&self.out)?;
        let source = self.source.open(talk)?;
        let mut limits = limits::of(self.to.program(self.ollama_from.is_some()), &source);
        let mut bundle = Bundle::begin(&self.out, "hone export", talk)?;
        let parity = match (self.to, &self.ollama_from) {
            (Form::Gguf, _) => self.gguf(&source, &mut bundle, talk)?,
            (Form::GgufAdapter, _) => self.gguf_adapter(&source, &mut bundle, talk)?,
            (Form::Ollama, None) => {
                let parity = self.gguf(&source, &mut bundle, talk)?;
                let file = ollama::modelfile("./model.gguf", None, &source.open)?;
                bundle.write("Modelfile", file.text.as_bytes())?;
                limits.extend(file.notices);
                parity
            }
            (Form::Ollama, Some(base)) => {
                let parity = self.gguf_adapter(&source, &mut bundle, talk)?;
                let file = ollama::modelfile(base, Some("./adapter.gguf"), &source.open)?;
                bundle.write("Modelfile", file.text.as_bytes())?;
                limits.extend(file.notices);
                parity
            }
            (Form::Mlx, _) => self.mlx(&source, &mut bundle, talk)?,
            (Form::Hf, _) => self.hf(&source, &mut bundle, talk)?,
        };
        let what = self
            .to
            .to_possible_value()
            .map_or(String::new(), |value| value.get_name().to_owned());
        let card = match self.to {
            Form::Hf | Form::Gguf | Form::Ollama => card::of_model(&source, &parity, &what)?,
            Form::GgufAdapter | Form::Mlx => card::of_adapter(&source, &parity, &what)?,
        };
        let card = card + &limits::section(&limits);
        bundle.write("README.md", card.as_bytes())?;
        if matches!(self.to, Form::GgufAdapter | Form::Mlx) {
            for (name, bytes) in source.open.trained_template_files() {
                bundle.write(&name, &bytes)?;
            }
        }
        for limit in &limits {
            talk.say(format!("note: {limit}"));
        }
        source.check_unchanged()?;
        let mut written = bundle.publish(&parity, self.prover.keep_anyway, &what)?;
        written["notes"] = limits.into();
        match self.json {
            true => screen::data_json(&written)?,
            false => screen::data_path(&self.out)?,
        }
        Ok(Exit::Done)
    }

    fn gguf(&self, source: &Source, bundle: &mut Bundle, talk: Talk) -> Result<Parity> {
        let path = bundle.path_of("model.gguf");
        let kind = self.kind.unwrap_or(GgufKind::Plain(Format::F16));
        let extra = GgufMetadata {
            name: source.name(),
            tokenizer: tokenizer_metadata(source)?,
            outdated: outdated_metadata(source),
        };
        let merged = source.merged()?;
        let (config, ends) = (merged.config(), merged.config().gguf_context_len());
        if ends < config.context_len {
            talk.say(format!(
                "llama.cpp has no windows in {} models: the file's context ends with them, at {ends} tokens instead of {}",
                config.model_type, config.context_len
            ));
        }
        let write = || Ok(write_gguf(&merged, &path, kind, extra)?);
        let (expected, ()) = self.prover.beside(source, talk, write)?;
        if let Some(told) = narrow(&merged, kind, &path)? {
            talk.say(told);
        }
        let finer = finer_type(kind);
        self.prover
            .prove(source, expected, Written::Model(&path), finer, talk)
    }

    fn gguf_adapter(&self, source: &Source, bundle: &mut Bundle, talk: Talk) -> Result<Parity> {
        let path = bundle.path_of("adapter.gguf");
        let config = source.open.weights.config();
        let adapter = source.adapter()?;
        let (expected, read) = self.prover.beside(source, talk, || {
            write_gguf_adapter(&adapter, config, &source.name(), &path)?;
            Ok(read_gguf_adapter(&path, config)?)
        })?;
        let written = Written::Adapter(&read, &path);
        self.prover.prove(source, expected, written, None, talk)
    }

    fn mlx(&self, source: &Source, bundle: &mut Bundle, talk: Talk) -> Result<Parity> {
        let dir = bundle.dir();
        let adapter = source.adapter()?;
        let (expected, read) = self.prover.beside(source, talk, || {
            write_mlx_adapter(&adapter, source.open.weights.config(), &dir)?;
            Ok(read_mlx_adapter(&dir)?)
        })?;
        bundle.list(&["adapters.safetensors", "adapter_config.json"].map(|name| dir.join(name)));
        let written = Written::Adapter(&read, &dir);
        self.prover.prove(source, expected, written, None, talk)
    }

    fn hf(&self, source: &Source, bundle: &mut Bundle, talk: Talk) -> Result<Parity> {
        let dir = bundle.dir();
        let merged = source.merged()?;
        let dtype = source.dtype_word(MergeDtype::Keep);
        let (expected, ()) = self.prover.beside(source, talk, || {
            let files = write_safetensors(&merged, &dir, MergeDtype::Keep, 5_000_000_000)?;
            bundle.list(&files);
            copy_companions(bundle, source, merged.config(), dtype)?;
            bundle.settle();
            Ok(())
        })?;
        self.prover
            .prove(source, expected, Written::Model(&dir), None, talk)
    }
}

/// The types that round less.
fn finer_type(kind: GgufKind) -> Option<String> {
    let next = match kind {
        GgufKind::Plain(Format::F32) => return None,
        GgufKind::Plain(Format::F16 | Format::Bf16) => "--type f32 rounds nothing",
        GgufKind::Plain(Format::Q8_0) => "--type f16 rounds 8 times as finely",
        GgufKind::Plain(Format::Q5_0 | Format::Q5_1) => {
            "--type q8_0 rounds 8 times as finely and takes 1.5 times the room; --type f16 changes next to nothing"
        }
        _ => {
            "--type q8_0 rounds 16 times as finely and takes twice the room, --type q5_1 twice as finely; --type f16 changes \
             next to nothing"
        }
    };
    Some(next.to_owned())
}
