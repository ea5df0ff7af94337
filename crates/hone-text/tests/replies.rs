//! What is supervised is what the model has to write after its own prompt: over templates in the styles there are, and
//! conversations of every kind, without a reference.

use std::fs;
use std::path::Path;

use hone_text::{ChatTemplate, Conversation, RenderError, Renderer, Role, Tokenizer, Turn};
use proptest::prelude::*;

/// Our own, in the styles of families: plain; with a header that the reply begins behind; with spaces that the model
/// writes; a prompt that opens the reasoning which finished replies lose; earlier replies without their reasoning; an
/// empty block of reasoning before a last reply that has none; a prompt that closes the reasoning; a token at the end of
/// the whole; one reply in two channels.
const TEMPLATES: [&str; 9] = [
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{{ bos_token }}{% for m in messages %}{{ '[' + m.role + ']\n\n' }}{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content | trim + '</think>' }}{% endif %}{{ m.content | trim + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n\n' }}{% endif %}",
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[I] ' + m.content + ' [/I]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' <|im_end|>' }}{% else %}{{ m.content + '\n' }}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>bot\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>bot\n<think>\n' }}{% endif %}",
    "{% set ns = namespace(user=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.user = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' and '</think>' in m.content and loop.index0 < ns.user %}{{ m.content.split('</think>')[-1].lstrip('\n') }}{% else %}{% if m.reasoning_content and loop.index0 > ns.user %}{{ '<think>\n' + m.reasoning_content.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% for m in messages %}{% set said = m.content %}{% set thought = m.reasoning_content or '' %}{% if '</think>' in said %}{% set thought = said.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}{% if loop.last and m.role == 'assistant' %}{{ '<think>\n' + thought.strip('\n') + '\n</think>\n\n' }}{% endif %}{{ said + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}",
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% else %}{{ '<|endoftext|>' }}{% endif %}",
    "{% for m in messages %}{{ '<|im_start|>' + m.role }}{% if m.role == 'assistant' and m.thinking %}{{ '<|im_start|>thoughts\n' + m.thinking + '<|im_start|>' }}{% endif %}{{ '\n' + m.content + ('<|endoftext|>' if loop.last and m.role == 'assistant' else '<|im_end|>') }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}",
];

fn renderer(template: &str) -> Renderer {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-llama-tied");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let tokenizer = Tokenizer::from_json(&read("tokenizer.json")).unwrap();
    let tokenizer = tokenizer
        .with_config(&read("tokenizer_config.json"))
        .unwrap();
    Renderer::new(tokenizer, Some(ChatTemplate::new(template).unwrap()), &[]).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9 é日.,!?]{1,12}",
        "[ \n]{0,2}[a-z<>/|_{}%\"'\\\\]{1,9}[ \n]{0,2}",
        Just(String::new()),
        Just("<|im_end|>".to_owned()),
        Just("assistant".to_owned()),
    ]
}

fn reply() -> impl Strategy<Value = Turn> {
    let thought = "[a-z .]{0,6}[a-z.]";
    prop_oneof![
        text().prop_map(|text| Turn::new(Role::Assistant, text)),
        (thought, text()).prop_map(|(thought, text)| Turn {
            reasoning: Some(thought),
            ..Turn::new(Role::Assistant, text)
        }),
        (thought, "[a-z]{1,5}", "\n{0,2}").prop_map(|(thought, text, gap)| {
            let inline = format!("<think>\n{thought}\n</think>{gap}{text}");
            Turn::new(Role::Assistant, inline)
        }),
    ]
}

fn conversation() -> impl Strategy<Value = Conversation> {
    let pairs = prop::collection::vec((text(), reply()), 1..4);
    (prop::option::of(text()), pairs).prop_map(|(system, pairs)| {
        let system = system.map(|text| Turn::new(Role::System, text));
        let pairs = pairs
            .into_iter()
            .flat_map(|(asked, reply)| [Turn::new(Role::User, asked), reply]);
        Conversation::new(system.into_iter().chain(pairs))
    })
}

/// The supervised runs as text, with where each begins.
fn runs(renderer: &Renderer, ids: &[u32], supervised: &[bool]) -> Vec<(usize, String)> {
    let mut runs: Vec<(usize, Vec<u32>)> = Vec::new();
    for (at, (&id, &mark)) in ids.iter().zip(supervised).enumerate() {
        match runs.last_mut() {
            _ if !mark => {}
            Some((start, run)) if *start + run.len() == at => run.push(id),
            _ => runs.push((at, vec![id])),
        }
    }
    let decode = |ids: Vec<u32>| renderer.tokenizer().decode(&ids, false).unwrap();
    runs.into_iter()
        .map(|(at, run)| (at, decode(run)))
        .collect()
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn supervised_is_the_reply_that_the_model_has_to_write_after_its_own_prompt(
        template in 0..TEMPLATES.len(),
        conversation in conversation(),
    ) {
        let renderer = renderer(TEMPLATES[template]);
        let whole = match renderer.encode_conversation(&conversation) {
            Ok(whole) => whole,
            // Each says what about the row cannot be shown or asked for.
            Err(
                RenderError::ReasoningDropped { .. } | RenderError::ReasoningMissing { .. }
                | RenderError::ReasoningClosed { .. } | RenderError::Rewritten { .. } | RenderError::Straddled { .. },
            ) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(format!("{error}"))),
        };
        let runs = runs(&renderer, &whole.ids, &whole.supervised);
        let replies = conversation.turns.iter().enumerate().filter(|(_, turn)| turn.role == Role::Assistant);
        let replies: Vec<_> = replies.filter(|(turn, _)| !whole.context_replies.contains(turn)).collect();
        prop_assert_eq!(runs.len(), replies.len(), "{:?}", runs);
        prop_assert_eq!(replies.last().map(|reply| reply.0 + 1), Some(conversation.turns.len()));
        for ((start, run), (turn, said)) in runs.into_iter().zip(replies) {
            let prompt = renderer.encode_prompt(&conversation.up_to(turn)).unwrap();
            prop_assert!(whole.ids.starts_with(&prompt));
            prop_assert_eq!(start, prompt.len());
            // As it was asked for when it was the last.
            let alone = renderer.encode_conversation(&conversation.up_to(turn + 1)).unwrap();
            let asked = self::runs(&renderer, &alone.ids, &alone.supervised);
            prop_assert_eq!(&run, &asked.last().unwrap().1);
            let end = renderer.stop_ids().iter().any(|&id| run.ends_with(&renderer.tokenizer().token(id).unwrap()));
            prop_assert!(end, "{:?}", run);
            let run = letters(&run);
            // The prompt may have opened the reasoning.
            let content = letters(&said.text);
            let content = content.strip_prefix("<think>").unwrap_or(&content);
            prop_assert!(run.contains(content), "{:?} in {:?}", content, run);
            prop_assert!(run.contains(&letters(said.reasoning.as_deref().unwrap_or_default())));
        }
    }
}
