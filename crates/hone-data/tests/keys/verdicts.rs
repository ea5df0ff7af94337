//! Keys that say that a row is bad, or masked, or no row to train on.

use super::*;

#[test]
fn a_label_is_a_verdict_a_class_or_a_question() {
    let row =
        |label: Value, reply: &str| json!({"prompt": "q", "completion": reply, "label": label});
    for (label, verdict) in [
        (json!(true), true),
        (json!(false), false),
        (json!(1), true),
        (json!(0), false),
        (json!(0.0), false),
        (json!("True"), true),
        (json!("false"), false),
        (json!("1"), true),
    ] {
        let (told, unused) = read(row(label.clone(), "a"));
        assert!(
            told.ends_with(&format!("\"label\":{verdict}}}")),
            "{label}: {told}"
        );
        assert!(unused.is_empty());
    }
    for (label, reply) in [
        (json!("sports"), "a"),
        (json!("positive"), "Positive"),
        (Value::Null, "a"),
    ] {
        let (told, unused) = read(row(label.clone(), reply));
        assert!(told.contains("\"messages\""), "{label}: {told}");
        assert_eq!(unused.is_empty(), label.is_null());
    }
    for label in [
        json!(3),
        json!(0.5),
        json!("good"),
        json!("positive"),
        json!([1, 2]),
        json!("x".repeat(200)),
    ] {
        let (told, _) = read(row(label.clone(), "a"));
        assert!(
            told.contains("`label` is neither true nor false"),
            "{label}: {told}"
        );
        assert!(told.contains("--ignore-key label"), "{told}");
    }
    let (told, _) =
        read(json!({"prompt": "q", "completion": "a", "label": true, "kto_tag": false}));
    assert!(told.contains("says the opposite of `kto_tag`"), "{told}");
    let (told, _) = read(json!({"text": "t", "label": 0}));
    assert!(told.contains("`label` stands beside a text"), "{told}");
}

#[test]
fn a_turn_that_is_not_to_be_trained_on_is_context_in_every_spelling() {
    for (key, no, yes) in [
        ("weight", json!(0), json!(1)),
        ("train", json!(false), json!(true)),
        ("training", json!(false), json!(true)),
        ("loss", json!(false), json!(true)),
        ("loss_weight", json!(0.0), json!(1.0)),
        ("trainable", json!(false), json!(true)),
        ("masked", json!(true), json!(false)),
    ] {
        let row = |value: &Value| json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", key: value}]});
        let (told, _) = read(row(&no));
        assert!(
            told.contains("\"content\":\"a\",\"weight\":0}"),
            "{key}: {told}"
        );
        let (told, _) = read(row(&yes));
        assert!(told.contains("\"content\":\"a\"}"), "{key}: {told}");
        let (told, _) = read(row(&json!(0.5)));
        assert!(
            told.contains(&format!("conversations[1].{key}` must be 0 or 1, not 0.5")),
            "{told}"
        );
        let (told, _) = read(json!({"prompt": "q", "completion": "a", key: no}));
        assert!(
            told.contains(&format!("`{key}` says that the row is not trained on")),
            "{told}"
        );
    }
    let (told, _) = read(
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "mask": 1}]}),
    );
    assert!(
        told.contains("`messages[1].mask` masks or weighs tokens"),
        "{told}"
    );
    let (told, _) = read(
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "train": true, "weight": 0}]}),
    );
    assert!(told.contains("says the opposite of"), "{told}");
}

#[test]
fn orders_verdicts_and_pictures_under_any_name_refuse_the_row_by_the_key() {
    let with = |key: &str, value: &Value| {
        let mut row = json!({"prompt": "Is 0 `<image>` rejected?", "completion": "a"});
        row[key] = value.clone();
        read(row)
    };
    for (key, refused, listed) in [
        ("system_message", json!("Be rude."), Value::Null),
        ("instructions", json!("Be rude."), Value::Null),
        ("character", json!("a pirate"), Value::Null),
        ("prompt_suffix", json!("in French"), Value::Null),
        ("skip", json!(true), json!(false)),
        ("mask_history", json!("true"), json!("false")),
        ("train_on_inputs", json!(1), json!(0)),
        ("sample_weight", json!(0.5), json!(1.0)),
        ("deleted", json!(true), json!(false)),
        ("approved", json!(false), json!(true)),
        ("is_correct", json!(0), json!(1)),
        ("status", json!("rejected"), json!("done")),
        ("feedback", json!("Thumbs down"), json!("thumbs_up")),
        ("rating", json!(-1), json!(4)),
        ("reward", json!("-0.5"), json!(0.5)),
        ("image_path", json!("a/b.PNG"), json!("none")),
        ("audio_filepath", json!(["a.wav"]), Value::Null),
        ("images", json!([]), Value::Null),
    ] {
        let (told, _) = with(key, &refused);
        assert!(told.contains(&format!(": `{key}` ")), "{key}: {told}");
        let way_out = format!("--ignore-key {key}");
        assert!(told.contains(&way_out), "{key}: {told}");
        if !listed.is_null() {
            assert_eq!(with(key, &listed).1, [key]);
        }
    }
    let turn = |ignore: bool| {
        read(
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "ignore": ignore}]}),
        )
    };
    assert!(turn(true).0.contains(": `messages[1].ignore` says"));
    assert_eq!(turn(false).1, ["turn.ignore"]);
}

#[test]
fn a_key_of_any_name_that_says_a_row_is_bad_or_masked_refuses_it() {
    let with = |key: &str, value: Value| {
        let row = json!({"prompt": "What is 2+2?", "completion": "It is 4.", key: value});
        read(row).0
    };
    for (key, value) in [
        ("is_good", json!(false)),
        ("desirable", json!(0)),
        ("humanPreference", json!("rejected")),
        ("review-verdict", json!("bad")),
        ("flagged", json!(true)),
        ("thumbs", json!("down")),
        ("some_name", json!("Thumbs down")),
        ("use_for_training", json!(false)),
        ("loss_mask_2", json!([1, 0])),
        ("no_train", json!(true)),
        ("loss_scale", json!(0.0)),
        ("compute_loss", json!(false)),
        ("enable_thinking", json!(false)),
    ] {
        let told = with(key, value);
        assert!(told.contains(&format!("`{key}` ")), "{key}: {told}");
        assert!(
            told.contains("supervised") || told.contains("trained on") || told.contains("template"),
            "{told}"
        );
    }
    for (key, value) in [
        ("is_good", json!(true)),
        ("flagged", json!(false)),
        ("verdict", json!("it is 4")),
        ("sentiment", json!("negative")),
        ("no_train", json!(false)),
        ("validation_id", json!(0)),
        ("training_source", json!("web")),
        ("is_synthetic", json!(false)),
        ("toxic", json!(true)),
    ] {
        let told = with(key, value);
        assert!(told.starts_with('{'), "{key}: {told}");
    }
    // A class that the reply names is no verdict about it.
    let (told, _) =
        read(json!({"prompt": "Right?", "completion": "That is wrong", "decision": "wrong"}));
    assert!(told.starts_with('{'), "{told}");
    for (key, value) in [
        ("thought", json!("because")),
        ("prefix", json!(true)),
        ("end_turn", json!(false)),
        ("supervise_this", json!(false)),
        ("is_bad", json!("yes")),
    ] {
        let turn = json!({"role": "assistant", "content": "It is 4.", key: value});
        let (told, _) = read(json!({"messages": [{"role": "user", "content": "q"}, turn]}));
        assert!(
            told.contains(&format!("messages[1].{key}")),
            "{key}: {told}"
        );
    }
}
