//! Places for pictures and other media, in every spelling.

use super::*;

#[test]
fn a_place_for_a_picture_refuses_the_row_and_prose_about_tags_does_not() {
    let asked = |text: &str| json!({"prompt": text, "completion": "A cat."});
    let replied = |text: &str| json!({"prompt": "Draw a cat.", "completion": text});
    let whole = |text: &str| json!({"text": text});
    for row in [
        asked("<image>\nWhat is this?"),
        asked("What is this?\n<image>"),
        asked("Compare <image> with <image>."),
        asked("<video>What happens?"),
        replied("<image>"),
        replied("Here it is:\n<image>\n"),
        whole("<image> A cat on a mat."),
        json!({"messages": [{"role": "user", "content": "<audio>"}, {"role": "assistant", "content": "Hello."}]}),
    ] {
        let (told, _) = read(row.clone());
        assert!(
            told.contains("> stands in a text") || told.contains(">` stands in a text"),
            "{row}: {told}"
        );
        assert!(told.contains("--ignore-key '<"), "{told}");
        let shown = ["<image>", "<audio>", "<video>"];
        let shown = shown.into_iter().find(|place| told.contains(*place));
        let (told, unused) = self::told(&row, &ignoring(shown.as_slice()));
        assert!(told.starts_with('{'), "{row}: {told}");
        assert_eq!(unused.len(), 1, "{row}");
    }
    for row in [
        asked("What does `<image>` mean?"),
        asked("```html\n<video>\n```\nWhat is this?"),
        asked("<image href=\"a.png\"/> is what in SVG?"),
        asked("<channel><image><url>a</url></image></channel>"),
        replied("The <video> tag plays a film."),
        whole("In HTML the <video> tag plays a film."),
    ] {
        let (told, unused) = read(row.clone());
        assert!(told.starts_with('{') && unused.is_empty(), "{row}: {told}");
    }
}

#[test]
fn a_place_for_a_picture_is_known_in_every_spelling() {
    let asked = |text: &str| read(json!({"prompt": text, "completion": "A cat."})).0;
    for place in [
        "<IMAGE>",
        "<image1>",
        "<image_2>",
        "<|image|>",
        "<|image_1|>",
        "<|image_pad|>",
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|audio_3|>",
        "<|video_pad|>",
        "<img>a.png</img>",
    ] {
        let told = asked(&format!("{place} What is this?"));
        assert!(told.contains("stands in a text"), "{place}: {told}");
    }
    for text in [
        "What does <img src=\"a.png\"> do?",
        "A <picture> of 1 < 2 and 3 > 2",
        "```\n<|image_1|>\n``` is what?",
        "<imagery> is no tag, nor is <images of cats>",
    ] {
        let told = asked(text);
        assert!(told.starts_with('{'), "{text}: {told}");
    }
}
