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
        said.contains("chat template   none in the model, Instruction/Response form  (model)"),
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
            file => format!("chat template   {file}"),
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
        "error: base: there are chat templates by name, and none of them is the `default`: rag, shout\n\
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
fn a_template_without_a_word_in_it_is_none() {
    const NONE: &str = "warning: chat template: none in the model, Instruction/Response form";
    let place = bare();
    for (file, text) in [
        ("chat_template.jinja", " \n"),
        ("chat_template.json", r#"{"chat_template": ""}"#),
    ] {
        place.write(&format!("base/{file}"), text);
        let ran = place.ok("data show rows.jsonl --model base");
        assert!(ran.stderr.contains(NONE), "{file}: {}", ran.stderr);
        fs::remove_file(place.path(&format!("base/{file}"))).unwrap();
    }
    name_templates(&place, json!(""));
    let ran = place.ok("data show rows.jsonl --model base");
    assert!(ran.stderr.contains(NONE), "{}", ran.stderr);
    place.write("empty.jinja", "\n");
    assert_eq!(
        place.refusal("data show rows.jsonl --model base --chat-template empty.jinja"),
        "error: empty.jinja: the chat template is empty\n\
         hint: --chat-template takes another one: a .jinja file, or the built-in form `instruction` or `chatml`"
    );
}

#[test]
fn a_template_that_cannot_show_the_rows_is_answered_with_the_flag_that_takes_another() {
    const ANOTHER: &str = "--chat-template takes another one: a .jinja file, or the built-in form";
    let place = bare();
    for template in [
        // Changes what people said, refuses everything, ends replies in no token, is not there to be included.
        SHOUTS.replace("m.content", "m.content | upper"),
        "{{ raise_exception('never') }}".to_owned(),
        SHOUTS.replace("<|im_end|>", "END"),
        format!("{{% include 'other.jinja' %}}{SHOUTS}"),
    ] {
        place.write("base/chat_template.jinja", &template);
        for line in [
            "train --model base --data rows.jsonl --out run --dry-run",
            "eval --model base --data rows.jsonl",
        ] {
            let error = place.refusal(line);
            assert!(error.contains(ANOTHER), "{template}\n{line}: {error}");
        }
    }
    place.write("base/chat_template.jinja", "{{ raise_exception('never') }}");
    for line in [
        "generate --model base --prompt Hi",
        "export --to gguf --model base --out out",
    ] {
        let error = place.refusal(line);
        assert!(error.contains(ANOTHER), "{line}: {error}");
    }
}

#[test]
fn files_of_templates_that_cannot_be_taken_say_what_to_do() {
    let place = bare();
    name_templates(&place, json!({"rag": SHOUTS}));
    let config = "base/tokenizer_config.json";
    // The names are those of the file, and the model's are chosen by name.
    let error = place.refusal(&format!(
        "data show rows.jsonl --model {{untied}} --chat-template {config}"
    ));
    assert!(
        error.ends_with(
            "hint: write the one that is meant into a file of its own: --chat-template FILE.jinja"
        ),
        "{error}"
    );
    let utf16: Vec<u8> = SHOUTS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(
        place.path("wide.jinja"),
        [&[0xff, 0xfe], &utf16[..]].concat(),
    )
    .unwrap();
    let error = place.refusal("data show rows.jsonl --model base --chat-template wide.jinja");
    assert!(
        error.contains("hint: write it again as UTF-8: iconv"),
        "{error}"
    );
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
    // As Llama 3.2 does it.
    let own = "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}{{ date_string }}";
    for (name, source, hint) in [
        ("undated.jinja", SHOUTS.to_owned(), "hint: leave --date out"),
        (
            "own.jinja",
            format!("{own}{SHOUTS}"),
            "hint: it takes the date as it is to be written: --template-option date_string=\"26 Jul 2024\"",
        ),
    ] {
        place.write(name, &source);
        let flags = format!("--model base --chat-template {name}");
        let said = place.refusal(&format!("data show rows.jsonl {flags} --date 2024-01-02"));
        assert!(said.contains("prints no date"), "{said}");
        assert!(said.contains(hint), "{said}");
    }
    let text = shown(
        &place,
        "--model base --chat-template own.jinja --template-option date_string=today",
    );
    assert!(text.starts_with("today"), "{text}");
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
        first.ends_with("; not trained on: the reply of turn 2, which the template shows otherwise once the conversation has gone on"),
        "{shown}"
    );
    assert_eq!(shown.matches("; not trained on").count(), 1, "{shown}");
    let json = place.ok(&format!("data show rows.jsonl --rows 1 --json {flags}"));
    let row: Value = serde_json::from_str(json.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(row["context_replies"], json!([1]));
    let plan = train(&place, "--dry-run --chat-template thinks.jinja").stderr;
    assert!(
        plan.contains("note: context only: 1 earlier turn of the assistant, not trained on"),
        "{plan}"
    );
}

/// Two rows, the second with tools.
const TOOL_ROWS: &str = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}],"tools":[]}
{"messages":[{"role":"user","content":"Ho"},{"role":"assistant","content":"Hallo"}],"tools":[{"type":"function","function":{"name":"find","parameters":{}}}]}
"#;

/// Shows the names of tools, and no conversation without any.
const CALLS: &str = "{{ '<|im_start|>' + tools[0].function.name }}{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}";

#[test]
fn rows_with_tools_take_the_models_template_for_them_and_it_goes_where_the_model_goes() {
    let place = bare();
    place.write("rows.jsonl", TOOL_ROWS);
    let named = json!([
        {"name": "default", "template": SHOUTS}, {"name": "tool_use", "template": CALLS}, {"name": "rag", "template": "x"},
    ]);
    name_templates(&place, named);
    let texts = |flags: &str| {
        let ran = place.ok(&format!("data show rows.jsonl --rows 2 --json {flags}"));
        let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].clone();
        [0, 1].map(|row| text(ran.stdout.lines().nth(row).unwrap()))
    };
    let both = [
        "<|im_start|>USER: Hi<|im_end|><|im_start|>ASSISTANT: Hello<|im_end|>",
        "<|im_start|>find<|im_start|>user: Ho<|im_end|><|im_start|>assistant: Hallo<|im_end|>",
    ];
    assert_eq!(texts("--model base"), both);
    let said = train(&place, "").stderr;
    let line = "chat template   the model's own (tokenizer_config.json); rows with tools take its `tool_use`";
    assert!(said.contains(line), "{said}");

    // All that the model names goes along, in every form that has a place for it.
    place.ok("export --to hf --model base --adapter run/adapter --out hf");
    place.ok("export --to gguf --model base --adapter run/adapter --out gguf");
    place.ok("export --to hf --model gguf/model.gguf --out back");
    for model in ["hf", "gguf/model.gguf", "back"] {
        assert_eq!(texts(&format!("--model {model}")), both, "{model}");
    }
    let gguf = Gguf::open(&place.path("gguf/model.gguf")).unwrap();
    assert_eq!(
        gguf.str("tokenizer.chat_template.tool_use").unwrap(),
        Some(CALLS)
    );
    assert_eq!(gguf.str("tokenizer.chat_template.rag").unwrap(), Some("x"));
    let rag = place.path("back/additional_chat_templates/rag.jinja");
    assert_eq!(fs::read_to_string(rag).unwrap(), "x");
    let said = place
        .ok("export --to ollama --model base --adapter run/adapter --out ollama")
        .stderr;
    assert!(
        said.contains("a Modelfile has one template, and the model's `tool_use` is left out"),
        "{said}"
    );

    // The adapter keeps both, whatever becomes of the base.
    name_templates(&place, json!("{{ messages[0].content }}"));
    assert_eq!(texts("--model base --adapter run/adapter"), both);
    place.ok("export --to hf --model base --adapter run/adapter --out again");
    place.ok("export --to gguf --model base --adapter run/adapter --out again-gguf");
    for model in ["again", "again-gguf/model.gguf"] {
        assert_eq!(texts(&format!("--model {model}")), both, "{model}");
    }
}

#[test]
fn a_template_that_is_asked_for_by_its_name_is_for_all_rows() {
    let place = bare();
    place.write("rows.jsonl", TOOL_ROWS);
    name_templates(
        &place,
        json!({"default": format!("{{{{ '<|im_start|>' + tools[0].function.name if tools else '' }}}}{SHOUTS}"), "tool_use": CALLS}),
    );
    let second = |flags: &str| {
        let ran = place.ok(&format!("data show rows.jsonl --from 2 --json {flags}"));
        text_of(&ran)
    };
    assert!(second("--model base").starts_with("<|im_start|>find<|im_start|>user: Ho"));
    assert!(
        second("--model base --chat-template default")
            .starts_with("<|im_start|>find<|im_start|>USER: Ho")
    );
    let said = train(&place, "--chat-template default").stderr;
    assert!(
        said.contains("chat template   the model's own `default`  ("),
        "{said}"
    );
    let text = second("--model base --adapter run/adapter");
    assert!(
        text.starts_with("<|im_start|>find<|im_start|>USER: Ho"),
        "{text}"
    );
    place.ok("export --to hf --model base --adapter run/adapter --out hf");
    assert_eq!(second("--model hf"), text);
    let said = place.refusal(
        "generate --model base --adapter run/adapter --chat-template tool_use --prompt Hi",
    );
    assert!(said.contains("leave --chat-template out"), "{said}");
}

/// Opens the reasoning unless it is switched off.
const SWITCHED: &str = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant: {{ '<think>' if enable_thinking is not defined or enable_thinking else '' }}{% endif %}";

/// The base with that template, and rows without reasoning.
fn switched() -> Place {
    let place = bare();
    name_templates(&place, json!(SWITCHED));
    place
}

#[test]
fn a_switch_of_a_template_is_set_by_a_flag_and_carried_wherever_the_model_goes() {
    let place = switched();
    let said = place.ok("data show rows.jsonl --model base").stdout;
    assert!(
        said.contains("--template-option enable_thinking=false closes it"),
        "{said}"
    );
    let off = "--template-option enable_thinking=false";
    let text = shown(&place, &format!("--model base {off}"));
    assert_eq!(
        text,
        "<|im_start|>user: Hi<|im_end|><|im_start|>assistant: Hello<|im_end|>"
    );

    let said = train(&place, off).stderr;
    let line =
        "chat template   the model's own (tokenizer_config.json), with enable_thinking=false";
    assert!(said.contains(line), "{said}");
    let run: Value =
        serde_json::from_slice(&fs::read(place.path("run/run.json")).unwrap()).unwrap();
    assert_eq!(
        run["asked"]["template-option"],
        json!(["enable_thinking=false"])
    );
    assert_eq!(
        run["text"]["template_options"],
        json!(["enable_thinking=false"])
    );

    // The adapter says it from here on, and so does everything that is made of it.
    assert_eq!(shown(&place, "--model base --adapter run/adapter"), text);
    place.ok("generate --model base --adapter run/adapter --prompt Hi --max-tokens 1");
    place.ok(&format!(
        "generate --model base --adapter run/adapter {off} --prompt Hi --max-tokens 1"
    ));
    place.ok("export --to hf --model base --adapter run/adapter --out hf");
    place.ok("export --to gguf --model base --adapter run/adapter --out gguf");
    place.ok("merge --model base --adapter run/adapter --out merged");
    for model in ["hf", "gguf/model.gguf", "merged"] {
        assert_eq!(shown(&place, &format!("--model {model}")), text, "{model}");
    }
    let form = fs::read_to_string(place.path("hf/chat_template.jinja")).unwrap();
    assert_eq!(
        form,
        format!("{{% set enable_thinking = false %}}\n{SWITCHED}")
    );
    let said = place.refusal("generate --model base --adapter run/adapter --template-option enable_thinking=true --prompt Hi");
    assert_eq!(
        said,
        "error: the adapter in run/adapter was trained with another chat template than the model's own (tokenizer_config.json), with enable_thinking=true\n\
         hint: leave --template-option out: the adapter's own form is used then"
    );
}

#[test]
fn an_option_of_a_run_file_makes_another_run() {
    let place = switched();
    let rows = r#"{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello","reasoning_content":"Well."}]}"#;
    place.write("rows.jsonl", rows);
    let identity = |value: &str| {
        let run = format!(
            "model = \"base\"\ndata = [\"rows.jsonl\"]\nvalid-share = 0.0\nrank = 2\nout = \"run-{value}\"\ntemplate-option = [\"enable_thinking={value}\"]\n"
        );
        place.write(&format!("{value}.toml"), &run);
        place.ok(&format!("train {value}.toml"));
        let run = fs::read(place.path(&format!("run-{value}/run.json"))).unwrap();
        serde_json::from_slice::<Value>(&run).unwrap()["identity"].clone()
    };
    assert_ne!(identity("true"), identity("1"));
}

#[test]
fn an_option_that_the_template_does_not_read_is_refused_with_those_that_it_reads() {
    let place = switched();
    for (flags, said) in [
        (
            "--template-option enable_thinkin=false",
            "error: base: the chat template reads no option `enable_thinkin`; it reads enable_thinking\n\
             hint: did you mean `enable_thinking`?",
        ),
        (
            "--chat-template chatml --template-option enable_thinking=false",
            "error: base: the chat template reads no option `enable_thinking`; it reads none\n\
             hint: leave it out, or take a template that reads it: --chat-template FILE",
        ),
        (
            "--template-option enable_thinking=true --template-option enable_thinking=false",
            "error: base: the option `enable_thinking` of the chat template is given twice",
        ),
    ] {
        let refused = place.refusal(&format!("data show rows.jsonl --model base {flags}"));
        assert_eq!(refused, said);
    }
    let said =
        place.refusal("data show rows.jsonl --model base --template-option enable_thinking=False");
    assert!(
        said.contains("`False` is Python's: write enable_thinking=false"),
        "{said}"
    );
}
