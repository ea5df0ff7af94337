//! What chat templates are given, and what becomes of their faults.

use super::*;
use crate::Role;

fn render(source: &str) -> Result<String, TemplateError> {
    render_with(ChatTemplate::new(source)?)
}

fn render_with(template: ChatTemplate) -> Result<String, TemplateError> {
    let conversation = Conversation::new([Turn::new(Role::User, "hi <b>\"é\"</b>")]);
    template.render(&conversation, true, &[("bos_token", "<s>".into())], true)
}

#[test]
fn a_template_sees_what_hugging_face_shows_it() {
    let source = "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n{{ m['content'] | trim }}\n    {% endif %}\n{% endfor %}{{ eos_token }}{{ tools is none }}{{ add_generation_prompt }}";
    assert_eq!(render(source).unwrap(), "<s>hi <b>\"é\"</b>\nTrueTrue");
}

#[test]
fn python_methods_and_slices_work() {
    let source = "{{ messages[0].content.split(' ')[-1].startswith('<b>') }}{{ messages[::-1] | length }}{{ ' x '.strip() }}";
    assert_eq!(render(source).unwrap(), "True1x");
}

#[test]
fn nothing_is_not_iterable() {
    let source =
        "{{ tools is iterable }} {{ messages is iterable }} {{ messages[0].role is iterable }}";
    assert_eq!(render(source).unwrap(), "False True True");
}

#[test]
fn json_is_written_as_python_writes_it() {
    assert_eq!(
        render("{{ messages | tojson }}").unwrap(),
        r#"[{"role": "user", "content": "hi <b>\"é\"</b>"}]"#
    );
    assert_eq!(
        render("{{ {'a': [1, 2.5], 'b': {}} | tojson(indent=2) }}").unwrap(),
        "{\n  \"a\": [\n    1,\n    2.5\n  ],\n  \"b\": {}\n}"
    );
}

#[test]
fn options_that_a_template_reads_are_told_from_all_other_names() {
    for (source, reads) in [
        (
            "{% if tools %}{% set x = 1 %}{% else %}{% set x = 2 %}{% endif %}{{ x }}",
            "",
        ),
        (
            "{% for tool in tools %}{% set tool = tool.function %}{{ tool.name }}{% endfor %}{{ tool }}",
            "tool",
        ),
        (
            "{% macro a() %}{{ late }}{% endmacro %}{% set late = 1 %}{{ a() }}",
            "",
        ),
        (
            "{% macro a(thinking) %}{{ thinking }}{% endmacro %}{{ a(thinking) }}",
            "thinking",
        ),
        (
            "{% set x %}a{{ y }}{% endset %}{{ x }}{% set ns = namespace(z=1) %}{% set ns.z = w %}",
            "w y",
        ),
        (
            "{{ enable_thinking }}{{ messages[0].thinking }}{{ 'effort' }}{# {{ other }} #}",
            "enable_thinking",
        ),
        (
            "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ thinking }}",
            "thinking",
        ),
        (
            "{% set effort = effort if effort is defined else 'high' %}{{ effort }}",
            "effort",
        ),
        (
            "{% set x = 1 %}{% set x = x + 1 %}{% for y in tools %}{{ y.z }}{% endfor %}{{ x }}",
            "",
        ),
        (
            "{% macro a(b) %}{{ b }}{{ c() }}{{ deep }}{% endmacro %}{% macro c() %}{% endmacro %}{{ a(1) }}",
            "deep",
        ),
        (
            "{% set ns = namespace(a=1) %}{{ ns.a }}{{ bos_token }}{{ strftime_now('%d') }}{{ raise_exception }}{{ range(3) }}{{ documents }}{{ dict }}",
            "",
        ),
    ] {
        let template = ChatTemplate::new(source).unwrap();
        let read: Vec<&str> = template.reads().iter().map(String::as_str).collect();
        assert_eq!(read.join(" "), reads, "{source}");
    }
}

#[test]
fn an_option_stands_in_front_of_the_template_and_nothing_else_changes() {
    let source = "  {% if a is defined %}\n  <{{ a }}>\n{% endif %}\n  {% macro m() %}{{ a }}{% endmacro %}{% for _ in messages %}{{ m() }}{{ b }}{% endfor %}";
    let option = |text: &str| text.parse::<TemplateOption>().unwrap();
    let plain = ChatTemplate::new(source).unwrap();
    assert_eq!(render_with(plain.clone()).unwrap(), "");
    let options = [option("b=x"), option("a=1"), option("unread=1")];
    let set = plain.clone().with_options(&options).unwrap();
    assert_eq!(
        set.source(false),
        format!("{{% set a = 1 %}}\n{{% set b = \"x\" %}}\n{source}")
    );
    assert_eq!(render_with(set.clone()).unwrap(), "  <1>\n1x");
    // In any order the same template; saved, it says the same.
    let turned = plain
        .clone()
        .with_options(&[option("a=1"), option("b=x")])
        .unwrap();
    assert_eq!(turned.hash(), set.hash());
    let saved = ChatTemplate::saved(&set.source(false)).unwrap();
    assert!(saved.reads().is_empty() && saved.hash() == set.hash());
    let twice = plain.with_options(&[option("a=1"), option("a=2")]);
    assert!(matches!(twice, Err(TemplateError::OptionTwice { .. })));
}

#[test]
fn generation_tags_are_blocks_that_always_run() {
    let source = "{% for m in messages %}  {%- generation -%}  {{ m.content }}  {%- endgeneration %}\n{% endfor %}";
    assert_eq!(render(source).unwrap(), "hi <b>\"é\"</b>");
}

#[test]
fn a_raised_exception_is_told_in_its_own_words() {
    let error = render("{{ raise_exception('a\nb\x1b[2Jc') }}").unwrap_err();
    assert!(
        error.to_string().ends_with("conversation: a b [2Jc"),
        "{error}"
    );
    let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template refuses this conversation: roles must alternate"
    );
}

#[test]
fn the_date_is_handed_in() {
    let date = Date {
        year: 2024,
        month: 2,
        day: 29,
    };
    let template = ChatTemplate::new("{{ strftime_now('%A %d %b %Y, %B %m %%') }}").unwrap();
    assert_eq!(
        render_with(template.with_date(date)).unwrap(),
        "Thursday 29 Feb 2024, February 02 %"
    );
    assert_eq!(
        render("{{ strftime_now('%d %b %Y') }}").unwrap(),
        "26 Jul 2024"
    );
}

/// Each of these ended the process, never ended, or took all memory.
#[test]
fn what_fuel_does_not_see_is_an_error_all_the_same() {
    assert!(ChatTemplate::new("{%}").is_err());
    let signs = format!("{{{{ {}1 }}}}", "-".repeat(200_000));
    if let Ok(template) = ChatTemplate::new(&signs) {
        let _ = render_with(template);
    }
    let sum = format!("{{{{ 1{} }}}}", "+1".repeat(100_000));
    if let Ok(template) = ChatTemplate::new(&sum) {
        let _ = render_with(template);
    }
    for last in [
        "",
        "{{ ns.x }}",
        "{{ ns.x|tojson }}",
        "{{ ns.x == [ns.x] }}",
    ] {
        let nested = format!(
            "{{% set ns = namespace(x=[]) %}}{{% for i in range(4500) %}}{{% set ns.x = {}ns.x{} %}}{{% endfor %}}{last}",
            "[".repeat(30),
            "]".repeat(30)
        );
        let _ = render(&nested);
    }
    let wide = render("{{ '{:>999999999999}'.format(1) }}").unwrap_err();
    assert!(wide.to_string().contains("9999 places"), "{wide}");
    let limits = Limits {
        time: Duration::from_millis(300),
        ..Limits::default()
    };
    let doubled = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x|length }}";
    let template = ChatTemplate::with_limits(doubled, limits).unwrap();
    let error = render_with(template).unwrap_err().to_string();
    assert_eq!(
        error,
        "the chat template did not come to an end within 0.3 s"
    );
}

#[test]
fn an_endless_template_runs_out_of_fuel() {
    let endless =
        "{% for a in range(10000) %}{% for b in range(10000) %}{{ '' }}{% endfor %}{% endfor %}";
    assert!(matches!(
        render(endless),
        Err(TemplateError::OutOfFuel { .. })
    ));
    let doubling = "{% set n = namespace(x='x') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    assert!(matches!(
        render(doubling),
        Err(TemplateError::OutOfFuel { .. })
    ));
}

#[test]
fn endless_recursion_is_an_error() {
    let error = render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").unwrap_err();
    assert!(matches!(error, TemplateError::Failed { .. }), "{error}");
}

#[test]
fn long_sources_and_outputs_are_refused() {
    let limits = Limits {
        source_bytes: 100,
        output_bytes: 50,
        ..Limits::default()
    };
    let long = " ".repeat(101);
    assert!(matches!(
        ChatTemplate::with_limits(&long, limits),
        Err(TemplateError::SourceTooLong { bytes: 101, .. })
    ));
    let wide = ChatTemplate::with_limits("{{ 'x' * 1000 }}", limits).unwrap();
    assert!(matches!(
        render_with(wide),
        Err(TemplateError::OutputTooLong { limit: 50 })
    ));
}

#[test]
fn a_broken_template_is_refused_with_its_line() {
    let Err(error) = ChatTemplate::new("ok\n{% if %}") else {
        panic!("it compiled")
    };
    assert!(error.to_string().contains("line 2"), "{error}");
}

#[test]
fn the_configuration_may_hold_one_template_or_a_list() {
    let one = ChatTemplate::from_config(br#"{"chat_template": "{{ 1 }}"}"#)
        .unwrap()
        .unwrap();
    let list = br#"{"chat_template": [{"name": "rag", "template": "x"}, {"name": "default", "template": "{{ 1 }}"}]}"#;
    let default = ChatTemplate::from_config(list).unwrap().unwrap();
    assert_eq!(one.hash(), default.hash());
    assert!(ChatTemplate::from_config(b"{}").unwrap().is_none());
    assert!(ChatTemplate::from_config(br#"{"chat_template": 3}"#).is_err());
}
