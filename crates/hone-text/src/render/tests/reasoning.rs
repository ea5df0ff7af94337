//! Reasoning, and who has to write it.

use super::*;

#[test]
fn reasoning_that_the_template_sets_off_is_supervised_with_its_reply() {
    // As reasoning models do it: thoughts are taken out of the reply and written before it anew.
    let thinking = renderer(
        "{% for m in messages %}{% set said = m.content %}{% set thought = '' %}{% if '</think>' in said %}{% set thought = said.split('</think>')[0].split('<think>')[-1].strip() %}{% set said = said.split('</think>')[-1].strip() %}{% endif %}{{ '<|im_start|>' + m.role + '\n' }}{% if loop.last and m.role == 'assistant' %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}{{ said + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    );
    let conversation = talk(&[
        (U, "hi"),
        (A, "one"),
        (U, "more"),
        (A, "<think>\nhm\n</think>\ntwo"),
    ]);
    assert_eq!(
        supervised(&thinking, &conversation),
        ["<think>\nhm\n</think>\n\ntwo<|im_end|>"]
    );
    assert_prompt_is_a_prefix(&thinking, &conversation);
    let forgotten = talk(&[
        (U, "hi"),
        (A, "<think>\nhm\n</think>\none"),
        (U, "more"),
        (A, "two"),
    ]);
    assert_eq!(
        supervised(&thinking, &forgotten),
        ["<think>\n\n</think>\n\ntwo<|im_end|>"]
    );
    assert_prompt_is_a_prefix(&thinking, &forgotten);
}

/// As DeepSeek-R1's distillations: the prompt opens the reasoning, and finished replies have none.
const OPENED: &str = "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>bot\n' + m.content.split('</think>')[-1] + '<|im_end|>' }}{% for c in m.tool_calls %}{{ c.function.name + c.function.arguments + '<|im_end|>' }}{% endfor %}{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>bot\n<think>\n' }}{% endif %}";

#[test]
fn a_reply_whose_reasoning_the_template_takes_out_is_what_the_model_has_to_write_after_its_prompt()
{
    let opened = renderer(OPENED);
    for (reply, told) in [
        (
            Turn::new(A, "<think>\ntwo and two\n</think>\n\n4"),
            "two and two\n</think>\n\n4<|im_end|>",
        ),
        (
            Turn::new(A, "<think>two</think>4\n"),
            "two</think>4\n<|im_end|>",
        ),
        (
            Turn::new(A, "two\n</think>\n4"),
            "two\n</think>\n4<|im_end|>",
        ),
        (
            thought("4", "two and two"),
            "two and two\n</think>\n\n4<|im_end|>",
        ),
    ] {
        let asked = [
            Turn::new(U, "1+1?"),
            Turn::new(A, "<think>\none\n</think>\n\n2"),
            Turn::new(U, "2+2?"),
        ];
        let conversation = Conversation::new(asked.into_iter().chain([reply]));
        assert_eq!(supervised(&opened, &conversation), [told]);
        assert_prompt_is_a_prefix(&opened, &conversation);
        let encoded = opened.encode_conversation(&conversation).unwrap();
        assert_eq!(encoded.context_replies, [1]);
        assert_eq!(
            encoded.text,
            format!(
                "<|im_start|>user\n1+1?<|im_end|><|im_start|>bot\n\n\n2<|im_end|><|im_start|>user\n2+2?<|im_end|><|im_start|>bot\n<think>\n{told}"
            )
        );
    }
    let bare = talk(&[(U, "2+2?"), (A, "4")]);
    let error = opened.encode_conversation(&bare).unwrap_err();
    assert_eq!(
            error.to_string(),
            r#"the generation prompt opens the reasoning of a reply (it ends in "er\n2+2?<|im_end|><|im_start|>bot\n<think>\n"), and turn 2 has none"#.replace(r"er\n2+2?", "")
        );
}

#[test]
fn a_reply_after_a_prompt_that_closes_the_reasoning_is_the_answer_alone() {
    let closed = renderer(&CHATML.replace("assistant\n' }}", "assistant\n<think>\n</think>\n' }}"));
    let conversation = talk(&[(U, "hi"), (A, "one"), (U, "more"), (A, "two")]);
    assert_eq!(supervised(&closed, &conversation), ["two<|im_end|>"]);
    assert_prompt_is_a_prefix(&closed, &conversation);
    let encoded = closed.encode_conversation(&conversation).unwrap();
    assert!(
        encoded
            .text
            .ends_with("<|im_start|>assistant\n<think>\n</think>\ntwo<|im_end|>"),
        "{}",
        encoded.text
    );
}

#[test]
fn reasoning_that_the_template_does_not_know_is_never_left_out_of_a_reply_that_is_trained_on() {
    let conversation = Conversation::new([Turn::new(U, "2+2?"), thought("4", "two")]);
    let error = renderer(CHATML)
        .encode_conversation(&conversation)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template does not show the reasoning of turn 2"
    );
    let inline = talk(&[(U, "2+2?"), (A, "<think>two</think>4")]);
    assert_eq!(
        supervised(&renderer(CHATML), &inline),
        ["<think>two</think>4<|im_end|>"]
    );
    let closed = renderer(
        &CHATML
            .replace("assistant\n' }}", "assistant\n<think></think>' }}")
            .replace(
                "m.content",
                "('<think>' + m.thinking + '</think>' if m.thinking else '') + m.content",
            ),
    );
    let error = closed.encode_conversation(&conversation).unwrap_err();
    assert!(
        matches!(error, RenderError::ReasoningClosed { number: 2, .. }),
        "{error}"
    );
}

#[test]
fn what_a_switch_would_do_about_reasoning_is_said() {
    let switched = CHATML.replace(
            "assistant\n' }}",
            "assistant\n<think>\n' }}{% if enable_thinking is defined and not enable_thinking %}{{ '\n</think>\n\n' }}{% endif %}",
        );
    let asked = talk(&[(U, "hi"), (A, "one")]);
    let error = renderer(&switched).encode_conversation(&asked).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("and turn 2 has none; --template-option enable_thinking=false closes it"),
        "{error}"
    );
    let option: TemplateOption = "enable_thinking=false".parse().unwrap();
    let template = ChatTemplate::new(&switched).unwrap();
    let template = template.with_options(&[option]).unwrap();
    let closed = Renderer::new(chatml(), Some(template), &[]).unwrap();
    assert_eq!(supervised(&closed, &asked), ["one<|im_end|>"]);
    assert_prompt_is_a_prefix(&closed, &asked);
    let thinking = Conversation::new([Turn::new(U, "hi"), thought("one", "hm")]);
    let closed = CHATML.replace(
        "assistant\n' }}",
        "assistant\n' }}{% if not reasoning %}{{ '<think>\n</think>\n' }}{% endif %}",
    );
    let error = renderer(&closed)
        .encode_conversation(&thinking)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("and turn 2 has some; --template-option reasoning=true opens it"),
        "{error}"
    );
}

fn thought(text: &str, reasoning: &str) -> Turn {
    Turn {
        reasoning: Some(reasoning.into()),
        ..Turn::new(A, text)
    }
}

/// Shows the reasoning of every turn, as some models do; others show it under another name.
fn thinking(name: &str) -> String {
    CHATML.replace(
        "m.role + '\n' +",
        &format!(
            "m.role + '\n' + ('<think>\n' + m.{name} + '\n</think>\n\n' if m.{name} else '') +"
        ),
    )
}

#[test]
fn reasoning_is_supervised_with_its_reply_under_each_of_its_names() {
    let conversation = Conversation::new([
        Turn::new(U, "2+2?"),
        thought("4", "two and two"),
        Turn::new(U, "hi"),
        Turn::new(A, "hi"),
    ]);
    for name in ["reasoning_content", "thinking", "reasoning"] {
        let renderer = renderer(&thinking(name));
        assert_eq!(
            supervised(&renderer, &conversation),
            [
                "<think>\ntwo and two\n</think>\n\n4<|im_end|>",
                "hi<|im_end|>"
            ]
        );
        assert_prompt_is_a_prefix(&renderer, &conversation);
        assert_prompt_is_a_prefix(&renderer, &conversation.up_to(2));
    }
}

#[test]
fn a_message_has_its_reasoning_under_one_key_the_one_that_the_template_reads() {
    for (read, keys) in [
        (
            "m.reasoning_content or ''",
            "role,content,reasoning_content",
        ),
        ("m.reasoning or ''", "role,content,reasoning"),
        ("m.thinking or ''", "role,content,thinking"),
        // Each of them is there, so the usual one is the one.
        (
            "(m.reasoning or '') + (m.reasoning_content or '') + (m.thinking or '')",
            "role,content,reasoning_content",
        ),
        // What is only spoken of is not read.
        (
            "(m.thinking or '') + 'reasoning_content'",
            "role,content,thinking",
        ),
        ("''", "role,content,reasoning_content"),
    ] {
        let source = format!(
            "{{% for m in messages %}}{{{{ m.keys() | join(',') + ':' + ({read}) + '<|im_end|>' }}}}{{% endfor %}}"
        );
        let conversation = Conversation::new([Turn::new(U, "2+2?"), thought("4", "hm")]);
        let text = renderer(&source).render(&conversation, false).unwrap();
        let reply = text.split("<|im_end|>").nth(1).unwrap().to_owned();
        assert!(reply.starts_with(&format!("{keys}:")), "{read}: {reply}");
        assert_eq!(
            reply.matches("hm").count(),
            usize::from(read != "''"),
            "{read}: {reply}"
        );
    }
}

#[test]
fn reasoning_that_the_template_does_not_show_refuses_a_reply_that_is_trained_on() {
    let mut conversation = Conversation::new([Turn::new(U, "2+2?"), thought("4", "hm")]);
    let error = renderer(CHATML)
        .encode_conversation(&conversation)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template does not show the reasoning of turn 2"
    );
    conversation.turns[1].is_supervised = false;
    conversation
        .turns
        .extend([Turn::new(U, "hi"), Turn::new(A, "hi")]);
    assert_eq!(
        supervised(&renderer(CHATML), &conversation),
        ["hi<|im_end|>"]
    );
}

#[test]
fn reasoning_that_the_template_changes_is_refused() {
    let shouting =
        renderer(&thinking("reasoning").replace("m.reasoning +", "m.reasoning.upper() +"));
    let conversation = Conversation::new([Turn::new(U, "2+2?"), thought("4", "hm")]);
    let error = shouting.encode_conversation(&conversation).unwrap_err();
    assert!(
        matches!(error, RenderError::Rewritten { number: 2, role: A }),
        "{error}"
    );
}
