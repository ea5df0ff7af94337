//! Files of rows, as they are read and refused.

use super::bytes::Bytes;
use super::*;

fn reading(name: &str, bytes: impl AsRef<[u8]>) -> Result<Reading, ReadError> {
    reading_with(name, bytes, &ReadOptions::default())
}

fn reading_with(
    name: &str,
    bytes: impl AsRef<[u8]>,
    options: &ReadOptions<'_>,
) -> Result<Reading, ReadError> {
    let (input, mut reading) = (Input::new(name), Reading::default());
    let bytes = Bytes::unpack(&input.file, Box::new(bytes.as_ref()))?;
    let rows = Rows::of(&input.file, bytes, options)?;
    let meter = Meter::of(&[], options);
    let (report, _) = sort(&input, rows, options, &meter, &mut |row| reading.take(row))?;
    reading.files.extend(report);
    Ok(reading)
}

fn texts(reading: &Reading) -> Vec<(usize, String)> {
    let text = |record: &Record| record.parts().map(|part| part.text).collect::<String>();
    reading
        .records
        .iter()
        .map(|record| (record.source.line, text(record)))
        .collect()
}

fn refusals(reading: &Reading) -> Vec<String> {
    reading.refused.iter().map(Refused::to_string).collect()
}

#[test]
fn lines_lists_and_objects_with_a_list_are_all_read_with_their_lines() {
    let rows = [(1, "a"), (3, "b")].map(|(line, text)| (line, text.to_owned()));
    assert_eq!(
        texts(&reading("x.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"}").unwrap()),
        rows
    );
    assert_eq!(
        texts(
            &reading(
                "x.jsonl",
                "\u{feff}{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n"
            )
            .unwrap()
        ),
        rows
    );
    assert_eq!(
        texts(&reading("x.json", "[{\"text\": \"a\"},\n\n{\"text\": \"b\"}]").unwrap()),
        rows
    );
    let inside = "{\"version\": 1,\n \"data\": [\n  {\"text\": \"a\"},\n  {\n\"text\": \"b\"}]}";
    assert_eq!(
        texts(&reading("x.json", inside).unwrap()),
        [(3, "a".into()), (4, "b".into())]
    );
    assert_eq!(
        texts(&reading("x.json", r#"{"data": [{"text": "a"}]}"#).unwrap()),
        [(1, "a".into())]
    );
    let spread = "{\n\"messages\": [\n{\"role\": \"user\", \"content\": \"a\"}]\n}\n";
    assert_eq!(
        texts(&reading("x.json", spread).unwrap()),
        [(1, "a".into())]
    );
    let one_row = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
    assert_eq!(
        texts(&reading("x.jsonl", one_row).unwrap()),
        [(1, "a".into())]
    );
}

#[test]
fn bad_rows_are_refused_by_file_and_line_and_the_rest_is_kept() {
    let file = [
        &b"{\"text\": \"ok\"}\n"[..],
        b"{\"text\": \"open}\n",
        b"{\"text\": \"\xff\"}\n",
        b"{\"text\": \"\0\"}\n",
        b"[1]\n",
        b"{\"prompt\": \"q\", \"completion\": \"a\"}\n",
        b"{\"other\": 1}\n",
        b"{\"text\": 5}\n",
        b"{\"text\": \"x\", \"task\": []}\n",
    ];
    let reading = reading("d/x.jsonl", file.concat()).unwrap();
    assert_eq!(texts(&reading), [(1, "ok".into())]);
    let told = refusals(&reading);
    let expected = [
        "d/x.jsonl:2: not JSON: EOF while parsing a string",
        "d/x.jsonl:3: not valid UTF-8 from byte 11",
        "d/x.jsonl:4: holds a NUL",
        "d/x.jsonl:5: not an object but a list",
        "d/x.jsonl:6: of shape prompt/completion, while the file is text",
        "d/x.jsonl:7: of no known shape (keys: other)",
        "d/x.jsonl:8: `text` must be text, not a number",
        "d/x.jsonl:9: `task` must be text or a number, not a list",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told} / {expected}");
    }
    let report = &reading.files[0];
    assert_eq!(
        (report.shape, report.rows, report.refused),
        (Shape::Text, 1, 8)
    );
}

#[test]
fn a_line_without_end_is_refused_not_read() {
    let long = format!(
        "{{\"text\": \"ok\"}}\n{{\"text\": \"{}\"}}",
        "x".repeat(MAX_LINE_BYTES)
    );
    let reading = reading("x.jsonl", long).unwrap();
    assert!(refusals(&reading)[0].contains("limit is 16777216"));
}

#[test]
fn tasks_and_groups_are_kept_and_the_file_names_the_rest() {
    let rows = "{\"text\": \"a\", \"task\": \"sum\", \"group\": \"g\", \"id\": 1}\n{\"text\": \"b\", \"id\": 7}\n{\"text\": \"c\"}";
    let reading = reading("dir/poems.jsonl", rows).unwrap();
    let labels: Vec<_> = reading
        .records
        .iter()
        .map(|r| (r.task.as_str(), r.group.as_deref()))
        .collect();
    assert_eq!(
        labels,
        [("sum", Some("g")), ("poems", Some("7")), ("poems", None)]
    );
}

#[test]
fn files_without_rows_are_errors_in_one_sentence() {
    let error = |name: &str, bytes: &[u8]| reading(name, bytes).unwrap_err().to_string();
    assert_eq!(error("x.jsonl", b" \n\n"), "x.jsonl: the file is empty");
    assert_eq!(error("x.json", b"[]"), "x.json: the file is empty");
    assert!(error("x.json", b"\xff\xfe[\0").contains("UTF-16"));
    assert!(
        error("x.json", b"[{\"text\": \"a\"},\n\n{\"text\" 5}]")
            .starts_with("x.json:3: not JSON: expected `:`")
    );
    assert!(error("x.json", b"[\n\"\xff\"]").starts_with("x.json:2: not JSON: not valid UTF-8"));
    assert!(error("x.json", b"{\n\"a\": [], \"b\": []}").contains("its keys are a, b"));
    assert!(
        error("x.jsonl", b"{\"text\": 1}\n{\"text\": 2}")
            .contains("none of its 2 rows can be used; the first is x.jsonl:1")
    );
    assert!(error("x.jsonl", b"nonsense\n").contains("none of its 1 rows"));
}

#[test]
fn an_unknown_shape_says_what_was_seen_and_what_is_known() {
    let error = reading("x.jsonl", r#"{"question": "q", "answer": "a"}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.jsonl:1: rows of no known shape (keys: question, answer)"
    );
    let hints = error.hints();
    assert_eq!(hints.len(), Shape::ALL.len() + 1);
    let flags = "--column prompt=question --column completion=answer";
    assert!(hints[0].ends_with(flags), "{hints:?}");
}

#[test]
fn a_missing_file_is_named() {
    let error = read(&["/nonexistent/x.jsonl"]).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/x.jsonl: "), "{error}");
}

#[test]
fn several_files_make_one_reading() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["a.jsonl", "b.json"].map(|name| dir.path().join(name));
    fs::write(&paths[0], "{\"text\": \"1\"}\n{\"text\": \"2\"}").unwrap();
    fs::write(&paths[1], "[{\"prompt\": \"q\", \"completion\": \"a\"}]").unwrap();
    let reading = read(&paths).unwrap();
    let counts: Vec<_> = reading
        .counts()
        .into_iter()
        .map(|count| (count.task, count.rows))
        .collect();
    assert_eq!(counts, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    let shapes: Vec<_> = reading.files.iter().map(|file| file.shape).collect();
    assert_eq!(shapes, [Shape::Text, Shape::PromptCompletion]);
}
