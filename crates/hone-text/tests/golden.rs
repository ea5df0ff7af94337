//! Renderings, ids and masks against transformers' own, for the tiny tokenizer and several templates.

use std::fs;
use std::path::Path;

use hone_text::{ChatTemplate, Conversation, Renderer, Tokenizer};
use serde_json::Value;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn tokenizer() -> Tokenizer {
    let tokenizer =
        Tokenizer::from_json(&fixture("models/tiny-llama-tied/tokenizer.json")).unwrap();
    tokenizer
        .with_config(&fixture("models/tiny-llama-tied/tokenizer_config.json"))
        .unwrap()
}

fn golden() -> Value {
    serde_json::from_slice(&fixture("golden/templates.json")).unwrap()
}

fn ids(list: &Value) -> Vec<u32> {
    serde_json::from_value(list.clone()).unwrap()
}

#[test]
fn renderings_ids_and_masks_are_those_of_transformers() {
    let golden = golden();
    for templates in ["templates", "templates_with_generation"] {
        for (name, source) in golden[templates].as_object().unwrap() {
            let template = ChatTemplate::new(source.as_str().unwrap()).unwrap();
            let renderer = Renderer::new(tokenizer(), Some(template), &[]).unwrap();
            let cases = golden["cases"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|case| case["template"] == name.as_str());
            let count = cases.map(|case| check(&renderer, case)).count();
            assert!(count > 5, "{name} has {count} cases");
        }
    }
}

fn check(renderer: &Renderer, case: &Value) {
    let conversation: Conversation = serde_json::from_value(case["messages"].clone()).unwrap();
    let tools = case["tools"].as_array().cloned().unwrap_or_default();
    let conversation = conversation.with_tools(tools);
    let encoded = renderer.encode_conversation(&conversation).unwrap();
    let context = format!("{} {:?}", case["template"], encoded.text);
    assert_eq!(encoded.text, case["text"].as_str().unwrap(), "{context}");
    assert_eq!(
        renderer.encode_prompt(&conversation).unwrap(),
        ids(&case["prompt_ids"]),
        "{context}"
    );
    if case["clean"] == false {
        return;
    }
    assert_eq!(encoded.ids, ids(&case["ids"]), "{context}");
    let theirs: Vec<bool> = ids(&case["assistant"])
        .into_iter()
        .map(|mark| mark == 1)
        .collect();
    let ours: Vec<bool> = match case["template"] == "inst" {
        // The template writes a space between the prompt and the reply. At serving time the model has to
        // write it, so it is supervised here; transformers marks only what stands inside the tags.
        true => encoded
            .supervised
            .iter()
            .enumerate()
            .map(|(at, &mark)| mark && theirs[at])
            .collect(),
        false => encoded.supervised.clone(),
    };
    assert_eq!(ours, theirs, "{context}");
    let replies = conversation
        .turns
        .iter()
        .filter(|turn| turn.role == hone_text::Role::Assistant)
        .count();
    let extra = encoded.supervised.iter().filter(|&&mark| mark).count()
        - theirs.iter().filter(|&&mark| mark).count();
    assert_eq!(
        extra,
        if case["template"] == "inst" {
            replies
        } else {
            0
        },
        "{context}"
    );
}

#[test]
fn the_models_own_template_is_read_from_its_configuration() {
    let config = fixture("models/tiny-llama-tied/tokenizer_config.json");
    let template = ChatTemplate::from_config(&config).unwrap().unwrap();
    let renderer = Renderer::new(tokenizer(), Some(template), &[]).unwrap();
    let golden = golden();
    for case in golden["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["template"] == "chatml")
    {
        check(&renderer, case);
    }
    assert_eq!(renderer.stop_ids(), [2]);
}

/// What Python or Jinja2 can do and a chat template has not been seen to need; each is refused with its reason.
const REFUSED: [&str; 13] = [
    r"{{ 'a\tb'.expandtabs(4) }}",
    "{{ s.encode('utf-8') }}",
    "{{ '{!r}'.format('a') }}",
    "{{ '%s %d %.2f' % ('a', 3, 2.5) }}",
    "{{ '%s' % 'a' }}",
    "{{ '%s' % d }}",
    "{{ '%(a)s' % {'a': 1} }}",
    "{% macro m(a, b='d') %}[{{ a }}{{ b }}{{ varargs }}{{ kwargs }}]{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}{{ m(1,2,3) }}{{ m(1, c=3) }}",
    "{{ +i }}",
    "{{ 2 ** 200 }}",
    r"{{ '\N{BULLET}' }}",
    "{{ '%02d:%02d' % (5, 7) }}",
    r"{{ 'a\nb'|indent('--') }}",
];

#[test]
fn expressions_and_tags_are_those_of_jinja2_in_transformers() {
    let golden: Value = serde_json::from_slice(&fixture("golden/jinja.json")).unwrap();
    let conversation: Conversation = serde_json::from_value(golden["messages"].clone()).unwrap();
    let prefix = golden["prefix"].as_str().unwrap();
    let (mut refused, mut different) = (Vec::new(), Vec::new());
    for case in golden["cases"].as_array().unwrap() {
        let source = case["template"].as_str().unwrap();
        let ours = ChatTemplate::new(&format!("{prefix}{source}"))
            .map_err(|error| error.to_string())
            .and_then(|template| {
                let renderer = Renderer::new(tokenizer(), Some(template), &[]).unwrap();
                let text = renderer.render(&conversation, false);
                text.map_err(|error| error.to_string())
            });
        match (case["text"].as_str(), ours) {
            (Some(theirs), Ok(ours)) if theirs == ours => {}
            (Some(theirs), Ok(ours)) => {
                different.push(format!("{source}\n  {theirs:?}\n  {ours:?}"))
            }
            (Some(_), Err(error)) => refused.push((source, error)),
            // Some of what raises there is nothing here, which no rendering of theirs can contradict.
            (None, _) => {}
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    let sources: Vec<&str> = refused.iter().map(|(source, _)| *source).collect();
    assert_eq!(sources, REFUSED, "{refused:#?}");
}

#[test]
fn dates_are_those_of_pythons_strftime() {
    let golden: Value = serde_json::from_slice(&fixture("golden/jinja.json")).unwrap();
    let conversation: Conversation =
        serde_json::from_str(r#"[{"role": "user", "content": "hi"}]"#).unwrap();
    for case in golden["dates"].as_array().unwrap() {
        let source = format!("{{{{ strftime_now({}) }}}}", case["format"]);
        let date = case["date"].as_str().unwrap().parse().unwrap();
        let template = ChatTemplate::new(&source).unwrap().with_date(date);
        let renderer = Renderer::new(tokenizer(), Some(template), &[]).unwrap();
        let ours = renderer.render(&conversation, false).unwrap();
        assert_eq!(ours, case["text"].as_str().unwrap(), "{case}");
    }
}
