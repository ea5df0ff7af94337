//! Instruction-following difficulty: how much of a reply the prompt does not give away.
//!
//! Superfiltering (Li et al., ACL 2024): the perplexity of the reply after its prompt over the perplexity of the
//! reply alone. Near 0 the prompt says it all; near 1 it helps little, and there is much to learn; from 1 on the
//! prompt does not help, which mostly means that reply and prompt do not belong together. Prompt and reply are
//! plain text as in the paper, without a chat template, so that a base model without one can judge as well.

use hone_data::{Body, Example, Record, within_budget};
use hone_model::{Model, NotFinite, Packed};
use hone_tensor::TensorError;
use hone_text::{Conversation, Renderer, TokenizerError};

/// Why rows cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum IfdError {
    /// The reply of a row cannot be told from its prompt.
    #[error("{source_of_row}: there is no reply after a prompt to judge")]
    NoReply {
        /// Where the row was read.
        source_of_row: String,
    },
    /// A text has no ids.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model gives no number for a row.
    #[error("{source_of_row}: the model gives no finite numbers: {cause}")]
    NotFinite {
        /// Where the row was read.
        source_of_row: String,
        /// Where they come from.
        cause: NotFinite,
    },
    /// The model could not be run.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl IfdError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NotFinite { cause, .. } => cause.hints(),
            _ => vec![],
        }
    }
}

/// Tokens of prompt and reply that are looked at, as in the paper.
pub const MAX_TOKENS: usize = 1024;

/// Tokens judged at a time.
const BUDGET: usize = 2048;

/// The difficulty of each row; not a number where the reply has fewer than two tokens.
pub fn difficulty(
    model: &Model,
    renderer: &Renderer,
    records: &[Record],
) -> Result<Vec<f64>, IfdError> {
    let mut with_prompt = Vec::with_capacity(records.len());
    let mut alone = Vec::with_capacity(records.len());
    for (row, record) in records.iter().enumerate() {
        let (prompt, reply) = halves(record)?;
        let prompt = renderer.tokenizer().encode_plain(&prompt)?;
        let reply = renderer.tokenizer().encode_plain(reply)?;
        let room = MAX_TOKENS.saturating_sub(prompt.len());
        let reply = &reply[..reply.len().min(room)];
        with_prompt.push(example(row, &prompt, reply));
        alone.push(example(row, &[], reply));
    }
    let nats = |examples: &[Example]| mean_nats(model, examples, records);
    let (with_prompt, alone) = (nats(&with_prompt)?, nats(&alone)?);
    let ratio = |(with_prompt, alone): (&f64, &f64)| (with_prompt - alone).exp();
    Ok(with_prompt.iter().zip(&alone).map(ratio).collect())
}

/// What is asked, its turns on lines of their own, and the last reply.
fn halves(record: &Record) -> Result<(String, &str), IfdError> {
    let split = match &record.body {
        Body::Chat(conversation) => conversation.split_reply(),
        _ => None,
    };
    let no_reply = || IfdError::NoReply {
        source_of_row: record.source.to_string(),
    };
    let (Conversation { turns, .. }, reply) = split
        .filter(|(prompt, _)| !prompt.turns.is_empty())
        .ok_or_else(no_reply)?;
    let prompt: String = turns
        .iter()
        .map(|turn| format!("{}\n", turn.text))
        .collect();
    Ok((prompt, reply))
}

/// A reply that is judged from its second token on, whether or not a prompt stands before it.
fn example(row: usize, prompt: &[u32], reply: &[u32]) -> Example {
    let first = prompt.len() + 1;
    Example {
        row,
        task: 0,
        ids: [prompt, reply].concat(),
        supervised: (0..prompt.len() + reply.len())
            .map(|at| at >= first)
            .collect(),
    }
}

/// Mean negative log-likelihood of the judged tokens of each example, in nats; not a number where there is none.
fn mean_nats(
    model: &Model,
    examples: &[Example],
    records: &[Record],
) -> Result<Vec<f64>, IfdError> {
    let examples: Vec<&Example> = examples.iter().collect();
    let mut means = Vec::with_capacity(examples.len());
    for batch in within_budget(&examples, BUDGET) {
        let (rows, targets): (Vec<usize>, Vec<u32>) = batch
            .targets
            .iter()
            .map(|target| (target.row, target.token))
            .unzip();
        let packed = Packed {
            ids: &batch.ids,
            boundaries: &batch.boundaries,
            rows: &rows,
            targets: &targets,
            weights: None,
        };
        let nats = match rows.is_empty() {
            true => Vec::new(),
            false => model.nats(packed)?,
        };
        let mut rest = nats.as_slice();
        for example in &examples[means.len()..][..batch.num_examples()] {
            let (own, others) = rest.split_at(example.num_supervised());
            let nats: f64 = own.iter().sum();
            if !nats.is_finite() {
                return Err(IfdError::NotFinite {
                    source_of_row: records[example.row].source.to_string(),
                    cause: model.why_not_finite(&example.ids)?,
                });
            }
            means.push(nats / own.len() as f64);
            rest = others;
        }
    }
    Ok(means)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_model::{BaseFormat, weights::BaseWeights};
    use hone_tensor::Device;
    use hone_text::Tokenizer;
    use std::path::Path;

    fn tiny() -> (Model, Renderer) {
        let dir =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-tied");
        let weights = BaseWeights::open(&dir).unwrap();
        let config = weights.file("tokenizer_config.json").unwrap().unwrap();
        let tokenizer = Tokenizer::from_json(&weights.tokenizer_json().unwrap().unwrap()).unwrap();
        let tokenizer = tokenizer.with_config(&config).unwrap();
        let device = Device::cpu(1).unwrap();
        let model = Model::load(&weights, &device, BaseFormat::Stored, 256).unwrap();
        (model, Renderer::new(tokenizer, None, &[]).unwrap())
    }

    fn row(prompt: &str, reply: &str) -> Record {
        let json = serde_json::json!({ "prompt": prompt, "completion": reply });
        Record::from_json(&json.to_string()).unwrap()
    }

    /// Mean negative log-likelihood of `ids` from `first` on, from the logits of every position.
    fn by_logits(model: &Model, ids: &[u32], first: usize) -> f64 {
        let logits = model.logits(ids).unwrap();
        let vocab = logits.len() / ids.len();
        let nats = |at: usize| {
            let row: Vec<f64> = logits[(at - 1) * vocab..at * vocab]
                .iter()
                .map(|&x| f64::from(x))
                .collect();
            row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[ids[at] as usize]
        };
        (first..ids.len()).map(nats).sum::<f64>() / (ids.len() - first) as f64
    }

    #[test]
    fn the_difficulty_is_the_ratio_of_perplexities_of_the_reply() {
        let (model, renderer) = tiny();
        let rows = [
            row("Say it again", "again and again"),
            row("What is it?", "a stone"),
            row("x", "It is a stone, I think."),
        ];
        let found = difficulty(&model, &renderer, &rows).unwrap();
        for (row, found) in rows.iter().zip(found) {
            let (prompt, reply) = halves(row).unwrap();
            let ids = |text: &str| renderer.tokenizer().encode_plain(text).unwrap();
            let (prompt, reply) = (ids(&prompt), ids(reply));
            let with_prompt = by_logits(&model, &[&prompt[..], &reply].concat(), prompt.len() + 1);
            let expected = with_prompt.exp() / by_logits(&model, &reply, 1).exp();
            assert!(
                (found - expected).abs() < 1e-4 * expected,
                "{found} and {expected}"
            );
        }
    }

    #[test]
    fn a_row_without_prompt_or_reply_cannot_be_judged() {
        let (model, renderer) = tiny();
        let text = Record::from_json(r#"{"text": "alone"}"#).unwrap();
        let error = difficulty(&model, &renderer, &[text])
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("there is no reply after a prompt to judge"),
            "{error}"
        );
        let short = difficulty(&model, &renderer, &[row("q", "a")]).unwrap();
        assert!(short[0].is_nan());
    }
}
