//! Renders conversations for `cargo xtask templates`, which compares them with what transformers makes of them.
//!
//! Reads jobs from its input, one JSON object a line: a `template`, perhaps a `tool_use` beside it and `options` as
//! `NAME=VALUE`, a `tokenizer` (the text of a `tokenizer.json`), a
//! `config` (of a `tokenizer_config.json`), a `date`, `stops` and `cases` of `messages` and `tools`. Answers each with a line: for
//! each case `text`, `ids`, `supervised`, `context` and the prompt's, or `refused` with the reason and `rendered`.

use std::io::{self, BufRead, Write};

use hone_text::{
    ChatTemplate, Conversation, Date, Renderer, TemplateError, TemplateOption, Tokenizer,
};
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let job: Value = serde_json::from_str(&line?)?;
        writeln!(out, "{}", answer(&job)?)?;
    }
    Ok(())
}

fn answer(job: &Value) -> Result<Value, Error> {
    let text = |key: &str| {
        job[key]
            .as_str()
            .ok_or_else(|| format!("a job has no `{key}`"))
    };
    let tokenizer = Tokenizer::from_json(text("tokenizer")?.as_bytes())?;
    let tokenizer = tokenizer.with_config(text("config")?.as_bytes())?;
    let date: Date = text("date")?.parse()?;
    let options: Vec<TemplateOption> = match job.get("options") {
        Some(options) => serde_json::from_value(options.clone())?,
        None => Vec::new(),
    };
    let compiled = |source: &str| {
        let template = ChatTemplate::new(source)?.with_options(&options)?;
        Ok::<_, TemplateError>(template.with_date(date))
    };
    let tool_use = job["tool_use"].as_str().map(compiled).transpose();
    let (template, tool_use) = match (compiled(text("template")?), tool_use) {
        (Ok(template), Ok(tool_use)) => (template, tool_use),
        (Err(error), _) | (_, Err(error)) => {
            return Ok(json!({"refused": error.to_string()}));
        }
    };
    let stops: Vec<u32> = serde_json::from_value(job["stops"].clone())?;
    let mut renderer = Renderer::new(tokenizer, Some(template), &stops)?;
    if let Some(tool_use) = tool_use {
        renderer = renderer.with_tool_use(tool_use);
    }
    let cases = job["cases"].as_array().ok_or("a job has no `cases`")?;
    cases.iter().map(|case| rendered(&renderer, case)).collect()
}

fn rendered(renderer: &Renderer, case: &Value) -> Result<Value, Error> {
    let conversation: Conversation = serde_json::from_value(case["messages"].clone())?;
    let tools = case["tools"].as_array().cloned().unwrap_or_default();
    let conversation = conversation.with_tools(tools);
    let refused = |error: String, generation_prompt| match renderer
        .render(&conversation, generation_prompt)
    {
        Ok(text) => json!({"refused": error, "rendered": text}),
        Err(error) => json!({"refused": error.to_string(), "rendered": null}),
    };
    let whole = match renderer.encode_conversation(&conversation) {
        Ok(encoded) => json!({
            "text": encoded.text, "ids": encoded.ids, "supervised": encoded.supervised,
            "context": encoded.context_replies,
        }),
        Err(error) => refused(error.to_string(), false),
    };
    let prompt = match renderer.encode_prompt(&conversation) {
        Ok(ids) => json!({"text": renderer.render(&conversation, true)?, "ids": ids}),
        Err(error) => refused(error.to_string(), true),
    };
    Ok(json!({"whole": whole, "prompt": prompt}))
}
