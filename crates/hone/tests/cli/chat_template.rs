//! The chat template: chosen once, said, and carried to wherever the model goes.

use crate::command::{Place, Ran, fixtures};
use hone_model::weights::Gguf;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const ROWS: &str = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}
{"messages":[{"role":"user","content":"Ho"},{"role":"assistant","content":"Hallo"}]}
"#;

/// A template of our own that no model brings.
const SHOUTS: &str = "{% for m in messages %}<|im_start|>{{ m.role | upper }}: {{ m.content }}<|im_end|>{% endfor %}\
{% if add_generation_prompt %}<|im_start|>ASSISTANT: {% endif %}";

/// The untied fixture without its template, and two rows.
fn bare() -> Place {
    let place = Place::new();
    copy(
        &fixtures().join("models/tiny-llama-untied"),
        &place.path("base"),
    );
    fs::remove_file(place.path("base/chat_template.jinja")).unwrap();
    place.write("rows.jsonl", ROWS);
    place.write("shouts.jinja", SHOUTS);
    place
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Puts named templates into the base's configuration.
fn name_templates(place: &Place, templates: Value) {
    let path = place.path("base/tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["chat_template"] = templates;
    fs::write(path, config.to_string()).unwrap();
}

fn shown(place: &Place, flags: &str) -> String {
    let ran = place.ok(&format!("data show rows.jsonl --rows 1 --json {flags}"));
    text_of(&ran)
}

fn text_of(ran: &Ran) -> String {
    let first: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    first["text"].as_str().unwrap().to_owned()
}

fn train(place: &Place, flags: &str) -> Ran {
    place.ok(&format!(
        "train --model base --data rows.jsonl --valid-share 0 --rank 2 --out run {flags}"
    ))
}

fn gguf_template(place: &Place, out: &str) -> String {
    let gguf = Gguf::open(&place.path(&format!("{out}/model.gguf"))).unwrap();
    gguf.str("tokenizer.chat_template")
        .unwrap()
        .unwrap()
        .to_owned()
}

#[test]
fn a_model_without_a_template_is_taught_a_form_that_is_said_and_carried_everywhere() {
    let place = bare();
    let said = train(&place, "").stderr;
    assert!(
        said.contains("chat template  none in the model, Instruction/Response form  (model)"),
        "{said}"
    );
    assert!(
        said.contains("warning: chat template: none in the model"),
        "{said}"
    );
    let trained = shown(&place, "--model base");
    assert_eq!(trained, "Instruction:\nHi\n\nResponse:\nHello<|im_end|>");

    let record: Value =
        serde_json::from_slice(&fs::read(place.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(
        record["text"]["template_origin"],
        "none in the model, Instruction/Response form"
    );
    let form = fs::read_to_string(place.path("run/adapter/chat_template.jinja")).unwrap();
    assert!(!form.contains("add_bos"), "{form}");

    place.ok("export --to hf --model base --adapter run/adapter --out hf");
    place.ok("export --to gguf --model base --adapter run/adapter --out gguf");
    place.ok("merge --model base --adapter run/adapter --out merged");
    for out in ["hf", "merged"] {
        let file = fs::read_to_string(place.path(&format!("{out}/chat_template.jinja"))).unwrap();
        assert_eq!(file, form);
        let config = fs::read(place.path(&format!("{out}/tokenizer_config.json"))).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["chat_template"], form);
        assert_eq!(shown(&place, &format!("--model {out}")), trained);
    }
    assert_eq!(gguf_template(&place, "gguf"), form);
    assert_eq!(shown(&place, "--model gguf/model.gguf"), trained);
}

#[test]
fn a_form_of_the_users_choice_is_trained_recorded_and_exported() {
    for (flag, text) in [
        (
            "chatml",
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n",
        ),
        (
            "shouts.jinja",
            "<|im_start|>USER: Hi<|im_end|><|im_start|>ASSISTANT: Hello<|im_end|>",
        ),
    ] {
        let place = bare();
        let said = train(&place, &format!("--chat-template {flag}")).stderr;
        let line = match flag {
            "chatml" => "the built-in form `chatml`".to_owned(),
            file => format!("chat template  {file}"),
        };
        assert!(
            said.contains(&line) && !said.contains("warning: chat template"),
            "{said}"
        );
        // Nobody has to say it again: the adapter brings it, and says so.
        let ran =
            place.ok("data show rows.jsonl --rows 1 --json --model base --adapter run/adapter");
        assert_eq!(text_of(&ran), text);
        assert!(
            ran.stderr.contains("chat template: the adapter's own"),
            "{}",
            ran.stderr
        );
        place.ok("generate --model base --adapter run/adapter --prompt Hi --max-tokens 2");
        place.ok("export --to gguf --model base --adapter run/adapter --out gguf");
        assert_eq!(shown(&place, "--model gguf/model.gguf"), text);
    }
}

#[test]
fn another_form_than_the_adapters_is_refused() {
    let place = bare();
    train(&place, "--chat-template chatml");
    let said = place.refusal(
        "generate --model base --adapter run/adapter --chat-template instruction --prompt Hi",
    );
    assert_eq!(
        said,
        "error: the adapter in run/adapter was trained with another chat template than the built-in form `instruction`\n\
         hint: leave --chat-template out: the adapter's own form is used then"
    );
    // The same form may be said.
    place.ok("generate --model base --adapter run/adapter --chat-template chatml --prompt Hi --max-tokens 1");
}

#[test]
fn an_adapter_of_before_that_brings_no_template_is_known_by_its_hash() {
    let place = bare();
    train(&place, "--chat-template chatml");
    fs::remove_file(place.path("run/adapter/chat_template.jinja")).unwrap();
    let ran = place.ok("data show rows.jsonl --rows 1 --json --model base --adapter run/adapter");
    assert!(
        text_of(&ran).starts_with("<|im_start|>user"),
        "{}",
        ran.stdout
    );
}

#[test]
fn templates_by_name_without_a_default_ask_which() {
    let place = bare();
    name_templates(
        &place,
        json!([{"name": "shout", "template": SHOUTS}, {"name": "rag", "template": "x"}]),
    );
    let said = place.refusal("data show rows.jsonl --model base");
    assert_eq!(
        said,
        "error: base: the model names several chat templates, and none of them is the `default`: rag, shout\n\
         hint: choose one, as with --chat-template rag"
    );
    let text = shown(&place, "--model base --chat-template shout");
    assert!(text.starts_with("<|im_start|>USER: Hi"), "{text}");
    let said = place.refusal("data show rows.jsonl --model base --chat-template shot");
    assert!(
        said.contains("hint: did you mean `shout`?") && said.contains("the model names rag, shout"),
        "{said}"
    );
    // What was chosen once is chosen for good.
    train(&place, "--chat-template shout");
    assert_eq!(shown(&place, "--model base --adapter run/adapter"), text);
    place.ok("export --to hf --model base --adapter run/adapter --out hf");
    assert_eq!(shown(&place, "--model hf"), text);
}

#[test]
fn a_template_of_an_unknown_kind_is_no_model_without_a_template() {
    let place = bare();
    name_templates(&place, json!(3));
    let said = place.refusal("data show rows.jsonl --model base");
    assert!(
        said.contains("is neither text nor templates by name (found: 3)"),
        "{said}"
    );
    assert!(said.contains("--chat-template"), "{said}");
}

#[test]
fn further_templates_of_a_model_go_where_its_own_goes() {
    let place = bare();
    name_templates(
        &place,
        json!([{"name": "default", "template": SHOUTS}, {"name": "rag", "template": "x"}]),
    );
    place.ok("export --to gguf --model base --out gguf");
    let gguf = Gguf::open(&place.path("gguf/model.gguf")).unwrap();
    assert_eq!(gguf.str("tokenizer.chat_template.rag").unwrap(), Some("x"));
    // Another one replaces them all.
    place.ok("export --to gguf --model gguf/model.gguf --chat-template chatml --out other");
    let gguf = Gguf::open(&place.path("other/model.gguf")).unwrap();
    assert_eq!(gguf.str("tokenizer.chat_template.rag").unwrap(), None);
    assert!(gguf_template(&place, "other").contains("<|im_start|>"));
}

/// Prints a date of its own.
const DATED: &str = "{{ '<|im_start|>system\n' + strftime_now('%d %b %Y') + '<|im_end|>' }}{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}";

#[test]
fn the_date_that_a_template_prints_is_fixed_by_a_flag_and_kept_with_run_and_adapter() {
    let place = bare();
    place.write("dated.jinja", DATED);
    let said = train(&place, "--chat-template dated.jinja --date 2024-02-29").stderr;
    assert!(said.contains("printing the date 2024-02-29"), "{said}");
    let run: Value =
        serde_json::from_slice(&fs::read(place.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(run["text"]["template_date"], "2024-02-29");
    assert_eq!(run["asked"]["date"], "2024-02-29");
    let text = shown(&place, "--model base --adapter run/adapter");
    assert!(text.contains("29 Feb 2024"), "{text}");
    let text = shown(
        &place,
        "--model base --adapter run/adapter --date 2026-11-30",
    );
    assert!(text.contains("30 Nov 2026"), "{text}");
    let said = place.refusal("data show rows.jsonl --model base --date 2023-02-29");
    assert!(said.contains("as 2026-11-30"), "{said}");
}

#[test]
fn earlier_replies_that_the_template_shows_otherwise_are_said_to_be_context_only() {
    let place = bare();
    // As templates of thinking models do: only the last reply shows where a thought would be.
    let thinks = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}\
        {% if loop.last and m.role == 'assistant' %}<think></think>{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    place.write("thinks.jinja", thinks);
    place.write(
        "rows.jsonl",
        r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"},{"role":"user","content":"Ho"},{"role":"assistant","content":"Hallo"}]}
{"messages":[{"role":"user","content":"Ha"},{"role":"assistant","content":"Huhu"}]}
"#,
    );
    let flags = "--model base --chat-template thinks.jinja";
    let shown = place.ok(&format!("data show rows.jsonl {flags}")).stdout;
    let first = shown.lines().next().unwrap();
    assert!(
        first.ends_with("; not learnt: the reply of turn 2, which the template shows otherwise once the conversation has gone on"),
        "{shown}"
    );
    assert_eq!(shown.matches("; not learnt").count(), 1, "{shown}");
    let json = place.ok(&format!("data show rows.jsonl --rows 1 --json {flags}"));
    let row: Value = serde_json::from_str(json.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(row["context_replies"], json!([1]));
    let plan = train(&place, "--dry-run --chat-template thinks.jinja").stderr;
    assert!(
        plan.contains("context only   1 earlier turn of the assistant, not learnt"),
        "{plan}"
    );
}
