//! The model a verb works with: a base, perhaps an adapter on it.

use crate::base::{self, AdapterOrigin, Home, OpenBase, OpenOptions};
use crate::notices::say_notices;
use crate::screen::Talk;
use anyhow::Result;
use hone_model::{BaseFormat, Model, RawAdapter};
use hone_tensor::Device;
use hone_text::TemplateOption;
use std::path::PathBuf;

/// Flags of every verb that loads a model.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Base model: a directory, a .gguf file, a built-in name, or a hub id
    #[arg(long, value_name = "M")]
    pub model: String,
    /// Adapter directory, as `hone train` or PEFT wrote it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Chat template: a name that the model has for one, `instruction`, `chatml`, or a .jinja file; the model's or the
    /// adapter's own if not given
    #[arg(long, value_name = "TEMPLATE")]
    pub chat_template: Option<String>,
    /// What the chat template reads beside the turns, such as enable_thinking=false: JSON or text; may be given more than
    /// once. The adapter's own if not given
    #[arg(long = "template-option", value_name = "NAME=VALUE")]
    pub template_options: Vec<TemplateOption>,
    /// Day that the chat template prints, where it prints one, as 2026-11-30; the adapter's own, else today, if not given
    #[arg(long, value_name = "DATE")]
    pub date: Option<hone_text::Date>,
    /// Threads; the result does not depend on it. All cores if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl ModelArgs {
    /// Opens the base by name, with the tokens and the chat template that the adapter brings, and says what a user would not
    /// expect; no weight is in memory yet.
    pub fn open(&self, talk: Talk) -> Result<OpenBase> {
        let found = base::find(&self.model, &Home::from_env()?)?;
        let adapter = self.adapter.as_deref().map(RawAdapter::read).transpose()?;
        let options = OpenOptions {
            chat_template: self.chat_template.clone(),
            template_options: self.template_options.clone(),
            adapter: adapter.as_ref().map(AdapterOrigin::from),
            date: self.date,
        };
        let mut open = OpenBase::open(found, &options)?;
        if let Some(raw) = &adapter {
            open.fit_to(raw)?;
        }
        say_notices(&open, talk);
        Ok(open)
    }

    /// The device the flags ask for.
    pub fn device(&self) -> Result<Device> {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Device::cpu(self.threads.map_or_else(all, usize::from))?)
    }

    /// Loads the base for texts of so many tokens, and puts the adapter on it.
    pub fn load(&self, open: &OpenBase, max_positions: usize) -> Result<Model> {
        let mut model = self.load_plain(open, max_positions)?;
        if let Some(dir) = &self.adapter {
            let adapter = open.read_adapter(&model, dir)?;
            model.attach(adapter);
        }
        Ok(model)
    }

    /// Loads the base alone.
    pub fn load_plain(&self, open: &OpenBase, max_positions: usize) -> Result<Model> {
        Ok(Model::load(
            &open.weights,
            &self.device()?,
            BaseFormat::Stored,
            max_positions,
        )?)
    }
}
