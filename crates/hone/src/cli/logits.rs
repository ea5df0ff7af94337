//! `hone logits`: what the network says after each token, for comparing implementations. Not for daily use.

use super::failure::Exit;
use super::model::ModelArgs;
use crate::screen::{self, Talk};
use anyhow::Result;
use serde_json::json;

/// Arguments of `hone logits`.
#[derive(Debug, clap::Args)]
pub struct Logits {
    #[command(flatten)]
    model: ModelArgs,
    /// Token ids, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    ids: Vec<u32>,
    /// End with one JSON object
    #[arg(long)]
    json: bool,
}

impl Logits {
    /// Prints one row of logits per token.
    pub fn run(self, talk: Talk) -> Result<Exit> {
        let open = self.model.open(talk)?;
        let model = self.model.load(&open, self.ids.len())?;
        let logits = model.logits(&self.ids)?;
        let rows: Vec<&[f32]> = logits.chunks_exact(model.config().vocab_size).collect();
        if self.json {
            screen::data_json(&json!({ "logits": rows }))?;
        } else {
            for row in rows {
                screen::data(row.iter().map(f32::to_string).collect::<Vec<_>>().join(" "))?;
            }
        }
        Ok(Exit::Done)
    }
}
