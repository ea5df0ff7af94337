//! Pictures, sounds and videos in a row: files that hold them, and the places in a text where one belongs.
//!
//! None of them is read, so a text that shows such a place is not trained on without what stands there. The places are those
//! of LLaMA-Factory, ms-swift and LLaVA (`<image>`), numbered ones as of Phi (`<|image_1|>`) and those that a processor
//! fills (`<|image_pad|>`).

use hone_ledger::words::for_shell;
use hone_text::Role;
use serde_json::{Map, Value};

use super::{Account, unexpected};
use crate::value::field;
use crate::{Body, Part, Reason};

/// How the names of files end that hold pictures, sounds or videos.
const MEDIA_ENDINGS: &[&str] = &[
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".wav", ".mp3", ".flac",
    ".ogg", ".opus", ".m4a", ".mp4", ".webm", ".mkv", ".avi", ".mov",
];

/// Does the value name files with pictures, sounds or videos?
pub(super) fn names_media(value: &Value) -> bool {
    match value {
        Value::String(text) => {
            let lower = text.trim().to_ascii_lowercase();
            MEDIA_ENDINGS.iter().any(|ending| lower.ends_with(ending))
        }
        Value::Array(items) => items.iter().any(names_media),
        Value::Object(fields) => fields.values().any(names_media),
        _ => false,
    }
}

/// What may belong into a text: the word in its place, the name of all such places, and the keys that hold it.
const KINDS: [(&str, &str, &[&str]); 3] = [
    ("image", "<image>", &["image", "images"]),
    ("audio", "<audio>", &["audio", "audios"]),
    ("video", "<video>", &["video", "videos"]),
];

/// A place is no longer than this, in bytes.
const MAX_PLACE: usize = 32;

/// A text that shows where a picture belongs is not trained on without it, even if the row's list of pictures is empty.
pub(super) fn no_placeholder(
    row: &Map<String, Value>,
    body: &Body,
    account: &mut Account,
) -> Result<(), Reason> {
    for (kind, name, keys) in KINDS {
        let key = keys.iter().find(|key| row.contains_key(**key));
        let shown = || body.texts().find_map(|text| places(text, kind).next());
        if let (Some(key), Some((_, place))) = (key, shown()) {
            let what =
                format!("stands beside a text with `{place}`, and what belongs there is not read");
            return Err(unexpected(key, &what));
        }
        let Some(place) = body.parts().find_map(|part| shown_place(&part, kind)) else {
            continue;
        };
        if account.is_ignored(name) {
            account.list(name);
            continue;
        }
        // Whoever passes over the list of pictures has seen that there are some.
        if !keys.iter().any(|key| account.is_ignored(key)) {
            let what = "stands in a text where LLaMA-Factory, ms-swift and LLaVA put a picture, a sound or a video, which is not read; \
                        to train on it as text: --ignore-key ";
            return Err(field(place, format!("{what}{}", for_shell(name))));
        }
    }
    Ok(())
}

/// The places of a kind in a text, with where they begin.
fn places<'t>(text: &'t str, kind: &str) -> impl Iterator<Item = (usize, &'t str)> {
    text.match_indices('<').filter_map(move |(at, _)| {
        let rest = &text[at..];
        let end = rest.bytes().take(MAX_PLACE).position(|byte| byte == b'>')?;
        let is_of_kind =
            kind_of(&rest[1..end]) == Some(kind) || kind == "image" && names_a_file(rest);
        is_of_kind.then(|| (at, &rest[..=end]))
    })
}

/// What belongs into the place that these words stand for: `image`, `IMAGE`, `image_1`, `|image_pad|`.
fn kind_of(inside: &str) -> Option<&'static str> {
    let bare = inside
        .strip_prefix('|')
        .and_then(|inside| inside.strip_suffix('|'));
    let word = bare.unwrap_or(inside);
    let word =
        word.trim_end_matches(|letter: char| letter.is_ascii_digit() || "_- ".contains(letter));
    let word = word.strip_suffix("_pad").unwrap_or(word);
    let kinds = KINDS.iter().map(|(kind, ..)| *kind);
    kinds
        .into_iter()
        .find(|kind| word.eq_ignore_ascii_case(kind))
}

/// Is this `<img>cat.png</img>`, as Qwen-VL and ms-swift write it? Markup has no such tag with an end.
fn names_a_file(rest: &str) -> bool {
    rest.strip_prefix("<img>")
        .is_some_and(|rest| rest.contains("</img>"))
}

/// The place that a text shows. What somebody asks does so wherever it stands, but in code and in markup with its closing
/// tag; a reply or a text that is trained on whole may speak of a tag, so there it begins the text or stands alone in a line.
fn shown_place<'t>(part: &Part<'t>, kind: &str) -> Option<&'t str> {
    let text = part.text;
    let is_asked = !matches!(part.role, None | Some(Role::Assistant));
    let mut shown = places(text, kind).filter(|(at, place)| {
        let before = &text[..*at];
        let is_code = before.matches('`').count() % 2 == 1;
        let closing = place.replacen('<', "</", 1);
        let is_markup = !place.starts_with("<img>") && text.contains(&closing);
        let line = before.rsplit('\n').next().unwrap_or("");
        let rest = text[at + place.len()..].split('\n').next().unwrap_or("");
        let stands_alone =
            before.trim().is_empty() || (line.trim().is_empty() && rest.trim().is_empty());
        !is_code && !is_markup && (is_asked || stands_alone)
    });
    shown.next().map(|(_, place)| place)
}
