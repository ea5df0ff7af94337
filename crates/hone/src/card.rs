//! The page beside a model or an adapter: what it is, what it was trained on, how it was measured, what it is not.
//!
//! Everything on it comes from the run's own record and from the proof; what nobody recorded is said to be unknown.

use crate::base::CATALOGUE;
use crate::bundle::Source;
use crate::parity::{OtherReader, Parity, Verdict};
use anyhow::Result;
use hone_ledger::words::{in_markdown, in_markdown_code, in_yaml, shortened};
use serde_json::Value;
use std::path::Path;

/// The card of a merged model.
pub fn of_model(source: &Source, parity: &Parity, form: &str) -> Result<String> {
    write(
        source,
        parity,
        form,
        "a fine-tuned model",
        &["text-generation"],
    )
}

/// The card of an adapter.
pub fn of_adapter(source: &Source, parity: &Parity, form: &str) -> Result<String> {
    write(
        source,
        parity,
        form,
        "an adapter",
        &["lora", "text-generation"],
    )
}

fn write(
    source: &Source,
    parity: &Parity,
    form: &str,
    what: &str,
    tags: &[&str],
) -> Result<String> {
    let base = base_name(source);
    let licence = licence(source)?;
    let mut lines = vec!["---".to_owned()];
    if let Some(base) = &base {
        lines.push(format!("base_model: {}", in_yaml(base)));
    }
    lines.push(format!(
        "license: {}",
        in_yaml(&licence.as_deref().map_or("other".into(), str::to_lowercase))
    ));
    lines.push(format!("tags: [{}, hone]", tags.join(", ")));
    lines.push("---".into());
    lines.push(format!("\n# {}\n", in_markdown(&source.name())));
    let on = match &base {
        Some(base) => in_markdown(base),
        None => "a base that had no public name".to_owned(),
    };
    lines.push(format!(
        "This is {what} ({form}), made from {on} with Hone {}.",
        env!("CARGO_PKG_VERSION")
    ));
    lines.extend(training(source));
    lines.extend(proof(parity));
    lines.push("\n## Licence and limits\n".into());
    lines.push(match &licence {
        Some(licence) => format!(
            "The base is licensed under {}; what was made from it carries the same terms.",
            in_markdown(&shortened(licence))
        ),
        None => {
            "The licence of the base was not recorded: look it up before you pass this on.".into()
        }
    });
    lines.push(
        "It has the knowledge, the gaps and the biases of its base, and those of the rows it was trained on. It was measured on \
         rows like those it was trained on, and on nothing else: on other questions it may be worse than its base."
            .into(),
    );
    Ok(lines.join("\n") + "\n")
}

/// What others know the base by; a path of this machine tells them nothing.
fn base_name(source: &Source) -> Option<String> {
    let recorded = source
        .parts
        .iter()
        .find_map(|parts| parts.provenance.base_name.clone());
    let asked = &source.open.base.name;
    recorded.or_else(|| (!Path::new(asked).exists()).then(|| asked.clone()))
}

/// As the catalogue or the base's own card says.
fn licence(source: &Source) -> Result<Option<String>> {
    if let Some(entry) = CATALOGUE
        .iter()
        .find(|entry| entry.name == source.open.base.name)
    {
        return Ok(Some(entry.licence.to_owned()));
    }
    if let Some(gguf) = source.open.weights.gguf()
        && let Ok(Some(licence)) = gguf.str("general.license")
    {
        return Ok(Some(licence.to_owned()));
    }
    let Some(card) = source.open.weights.file("README.md")? else {
        return Ok(None);
    };
    let card = String::from_utf8_lossy(&card);
    let head = card
        .strip_prefix("---")
        .and_then(|rest| rest.split("\n---").next());
    let line = head.and_then(|head| head.lines().find_map(|line| line.strip_prefix("license:")));
    Ok(line.map(|licence| licence.trim().trim_matches(['"', '\'']).to_owned()))
}

fn training(source: &Source) -> Vec<String> {
    let Some((_, record)) = &source.run else {
        return vec![
            "\n## Training\n".into(),
            "No record of the training is at hand.".into(),
        ];
    };
    let mut lines = vec!["\n## Data\n".to_owned()];
    let data = &record.data;
    lines.push(format!(
        "{} examples to train on ({} tokens, {} of them supervised), {} held out.\n",
        shown(&data["train"]["examples"]),
        shown(&data["train"]["tokens"]),
        shown(&data["train"]["supervised_tokens"]),
        shown(&data["valid"]["examples"])
    ));
    for file in data["files"].as_array().into_iter().flatten() {
        // The name, not the place: places are this machine's business.
        let name = file["file"]
            .as_str()
            .and_then(|path| Path::new(path).file_name());
        let name = name
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        lines.push(format!(
            "- {}: {} rows, {}",
            in_markdown_code(&shortened(&name)),
            shown(&file["rows"]),
            shown(&file["shape"])
        ));
    }
    lines.push(format!(
        "\nIds of the content: training set `{}`, validation set `{}`.",
        shown(&data["train"]["id"]),
        shown(&data["valid"]["id"])
    ));
    lines.push("\n## Training\n".into());
    lines.push("| | |\n|---|---|".into());
    for line in &record.plan {
        lines.push(format!(
            "| {} | {} |",
            in_markdown(&line.name),
            in_markdown(&shortened(&without_paths(&line.value)))
        ));
    }
    if let Some(result) = &record.result {
        lines.push("\n## Figures\n".into());
        lines.push("| | |\n|---|---|".into());
        for (name, key) in [
            ("training loss, nats per token", "train_loss"),
            ("held-out loss before the first step", "valid_loss_first"),
            ("held-out loss, best", "valid_loss_best"),
            ("best after step", "best_step"),
            ("steps", "steps"),
            ("tokens seen", "tokens"),
            ("seconds", "seconds"),
        ] {
            if !result[key].is_null() {
                lines.push(format!("| {name} | {} |", shown(&result[key])));
            }
        }
    }
    lines
}

/// A path becomes the name at its end.
fn without_paths(text: &str) -> String {
    let words = text
        .split(' ')
        .map(|word| match word.starts_with('/') && word.len() > 1 {
            true => Path::new(word)
                .file_name()
                .map_or(word.to_owned(), |name| name.to_string_lossy().into_owned()),
            false => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

fn proof(parity: &Parity) -> Vec<String> {
    let mut lines = vec!["\n## Does it answer as it was trained?\n".to_owned()];
    let verdict = match parity.verdict {
        Verdict::Holds => "no more than the rounding of its numbers explains".to_owned(),
        Verdict::Warned => format!(
            "what the rounding of its numbers explains, **but it shows**: {}",
            in_markdown(&parity.reasons.join("; "))
        ),
        Verdict::Refused => format!(
            "**more than rounding explains**: {}",
            in_markdown(&parity.reasons.join("; "))
        ),
    };
    lines.push(format!(
        "{} were replayed through these files and through the base with its adapter beside it. The difference is {verdict} \
         ({}: {}). {}.\n",
        parity.prompts,
        parity.bound.precision,
        parity.bound.reason,
        parity.replies.sentence()
    ));
    lines.push("| read by | tokens | mean KL, nats | greatest logit difference | top-1 agreement |\n|---|---|---|---|---|".into());
    let row = |who: &str, distance: &crate::parity::Distance| {
        format!(
            "| {who} | {} | {:.2e} | {:.2e} of {:.1} | {:.1} % |",
            distance.tokens,
            distance.mean_kl,
            distance.max_logit_difference,
            distance.largest_logit,
            100.0 * distance.top1_agreement
        )
    };
    lines.push(row("Hone", &parity.distance));
    lines.extend(
        parity
            .others
            .iter()
            .map(|other: &OtherReader| row(&other.program, &other.distance)),
    );
    lines
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => in_markdown(&shortened(text)),
        Value::Number(number) => match number.as_f64() {
            Some(x) if x.fract() != 0.0 => format!("{x:.4}"),
            _ => number.to_string(),
        },
        Value::Null => "unknown".into(),
        other => in_markdown(&shortened(&other.to_string())),
    }
}
