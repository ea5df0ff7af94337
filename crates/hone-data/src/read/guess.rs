//! Which columns of a file of no known shape may be asked and answered: a suggestion to the user, never applied.

use hone_ledger::words::for_shell;

/// Names that others give to what is asked, the likeliest first.
const ASKED: [&str; 22] = [
    "prompt",
    "question",
    "query",
    "instruction",
    "inputs",
    "input",
    "user",
    "human",
    "problem",
    "request",
    "ask",
    "source",
    "text",
    "sentence",
    "document",
    "article",
    "review",
    "message",
    "utterance",
    "content",
    "context",
    "title",
];

/// Names that others give to what is answered.
const ANSWERED: [&str; 22] = [
    "completion",
    "answer",
    "answers",
    "response",
    "responses",
    "output",
    "outputs",
    "target",
    "targets",
    "assistant",
    "reply",
    "solution",
    "summary",
    "translation",
    "label",
    "labels",
    "intent",
    "category",
    "class",
    "sentiment",
    "topic",
    "gpt",
];

/// The flags that would read two of these columns as prompt and completion.
pub(super) fn columns(keys: &[String]) -> Option<String> {
    let find = |names: &[&str]| {
        names.iter().find_map(|name| {
            let is_meant = |key: &&String| {
                let key = key.to_lowercase();
                key == *name
                    || key.ends_with(&format!("_{name}"))
                    || key.ends_with(&format!(" {name}"))
            };
            keys.iter().find(is_meant)
        })
    };
    let (asked, answered) = (find(&ASKED)?, find(&ANSWERED)?);
    let flag =
        |field: &str, column: &str| format!("--column {}", for_shell(&format!("{field}={column}")));
    let flags = [("prompt", asked), ("completion", answered)];
    let flags = flags.iter().filter(|(field, column)| field != column);
    let flags: Vec<String> = flags.map(|(field, column)| flag(field, column)).collect();
    (asked != answered && !flags.is_empty()).then(|| flags.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_look_like_question_and_answer_are_suggested() {
        let suggested = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            columns(&keys)
        };
        let said = |text: &str| Some(text.to_owned());
        assert_eq!(
            suggested(&["id", "Question", "answer"]),
            said("--column prompt=Question --column completion=answer")
        );
        assert_eq!(
            suggested(&["user question", "label"]),
            said("--column 'prompt=user question' --column completion=label")
        );
        assert_eq!(
            suggested(&["prompt", "gold_label"]),
            said("--column completion=gold_label")
        );
        assert_eq!(suggested(&["a", "b"]), None);
    }
}
