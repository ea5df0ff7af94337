//! The same rows, however they are written, packed and named.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use hone_data::{
    Choices, ChunkOptions, Chunking, Format, Inputs, Progress, ReadOptions, Reading, Record, Shape,
    Side, read, stream,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/rows")
        .join(name)
}

/// Rows without where they stand.
fn said(records: &[Record]) -> Vec<String> {
    records
        .iter()
        .map(|record| record.to_json().to_string())
        .collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn parquet_gives_the_records_of_its_twin() {
    for name in ["chats", "calls", "datasets", "pairs"] {
        let twin = read(&[fixture(&format!("{name}.jsonl"))]).unwrap();
        let found = read(&[fixture(&format!("{name}.parquet"))]).unwrap();
        assert_eq!(said(&found.records), said(&twin.records), "{name}");
        let lines = |reading: &Reading| {
            let records = reading.records.iter().map(|record| record.source.line);
            records.collect::<Vec<_>>()
        };
        assert_eq!(lines(&found), lines(&twin), "{name}");
        assert_eq!(found.refused.len(), twin.refused.len());
        assert_eq!(
            (found.files[0].format, found.files[0].shape),
            (Format::Parquet, twin.files[0].shape)
        );
    }
}

#[test]
fn folders_of_save_to_disk_and_feather_give_the_records_of_their_twins() {
    for (name, twin) in [
        ("saved/calls", "calls.jsonl"),
        ("saved/odd", "saved/odd.jsonl"),
        ("saved/chats/train", "chats.jsonl"),
        ("feather/lz4.feather", "saved/odd.jsonl"),
        ("feather/zstd.feather", "saved/odd.jsonl"),
        ("feather/uncompressed.feather", "saved/odd.jsonl"),
    ] {
        let mut twin = read(&[fixture(twin)]).unwrap();
        let mut found = read(&[fixture(name)]).unwrap();
        // A file's name is its rows' task.
        for record in found.records.iter_mut().chain(&mut twin.records) {
            record.task = String::new();
        }
        assert_eq!(said(&found.records), said(&twin.records), "{name}");
        assert_eq!(found.refused.len(), twin.refused.len(), "{name}");
        assert_eq!(found.files[0].format, Format::Arrow);
    }
}

#[test]
fn an_arrow_file_that_is_cut_or_changed_ends_in_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let sound = fs::read(fixture("saved/odd/data-00000-of-00002.arrow")).unwrap();
    let file = dir.path().join("data.arrow");
    let told = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        match read(&[&file]) {
            Ok(reading) => format!("{} rows", reading.records.len()),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(told(&sound), "30 rows");
    assert!(told(&sound[..sound.len() / 2]).contains("not a sound Arrow file"));
    assert!(told(b"ARROW1\0\0 and so on").contains("not a sound Arrow file"));
    assert!(told(b"FEA1 and so on").contains("first version of Feather"));
    assert!(told(b"not at all").contains("not a sound Arrow file"));
    // Whatever byte is wrong: rows, or a sentence.
    let packed = ["lz4", "zstd"].map(|form| fs::read(fixture(&format!("feather/{form}.feather"))));
    for sound in packed.into_iter().map(Result::unwrap).chain([sound]) {
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 0xff;
            let told = told(&bytes);
            assert!(
                told.len() < 600 && !told.contains('\n'),
                "byte {at}: {told}"
            );
        }
    }
}

#[test]
fn a_pointer_of_git_lfs_is_named_as_that() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("train.parquet");
    fs::write(
        &file,
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    )
    .unwrap();
    let error = read(&[&file]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("a pointer of Git LFS in place of the file")
    );
    assert!(error.hints()[0].contains("git lfs pull"));
}

#[test]
fn packed_files_are_told_by_their_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let rows = fs::read(fixture("chats.jsonl")).unwrap();
    let expected = said(&read(&[fixture("chats.jsonl")]).unwrap().records);
    let twice = [gzip(&rows[..100]), gzip(&rows[100..])].concat();
    let packed = [
        gzip(&rows),
        twice,
        zstd::encode_all(rows.as_slice(), 3).unwrap(),
        rows,
    ];
    for name in ["chats.jsonl.gz", "chats.jsonl.zst", "chats.jsonl", "chats"] {
        for bytes in &packed {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            assert_eq!(said(&read(&[path]).unwrap().records), expected, "{name}");
        }
    }
    let path = dir.path().join("chats.parquet.gz");
    fs::write(&path, gzip(&fs::read(fixture("chats.parquet")).unwrap())).unwrap();
    let error = read(&[path]).unwrap_err().to_string();
    assert!(
        error.ends_with("a Parquet file that is packed once more; unpack it"),
        "{error}"
    );
}

#[test]
fn a_long_document_is_read_like_a_short_one() {
    let dir = tempfile::tempdir().unwrap();
    let filler = "x".repeat(1 << 20);
    let rows: Vec<String> = (0..20)
        .map(|n| format!("{{\"text\": \"{n} {filler}\"}}"))
        .collect();
    let list = format!("[{}]", rows.join(",\n"));
    for (name, text) in [
        ("list.json", list.clone()),
        (
            "object.json",
            format!("{{\"version\": [1, \"}}\"][0], \"data\": {list}}}")
                .replace("[1, \"}\"][0]", "{\"a\": \"]\"}"),
        ),
        (
            "pretty.json",
            format!("{{\n \"data\": {list},\n \"end\": null\n}}\n"),
        ),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        let reading = read(&[path]).unwrap();
        assert_eq!(
            (reading.records.len(), reading.files[0].format),
            (20, Format::Json),
            "{name}"
        );
        let first = reading.records[0].source.line;
        assert_eq!(reading.records[19].source.line, first + 19, "{name}");
    }
    let path = dir.path().join("two.json");
    fs::write(&path, format!("{{\"a\": {list}, \"b\": []}}")).unwrap();
    let error = read(&[path]).unwrap_err().to_string();
    assert!(error.ends_with("its keys are a, b"), "{error}");
}

#[test]
fn columns_are_mapped_and_labels_filled_in() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("qa.csv");
    fs::write(
        &table,
        "question,answer,prompt,kind,messages\nq,a,no,,q\nr,b,no,sums,b\n",
    )
    .unwrap();
    let lines = dir.path().join("qa.jsonl");
    fs::write(&lines, "{\"question\": \"q\", \"answer\": \"a\"}\n{\"question\": \"r\", \"answer\": \"b\", \"kind\": \"sums\"}\n").unwrap();
    let mapping = [
        ("prompt", "question"),
        ("completion", "answer"),
        ("task", "kind"),
    ];
    let options = ReadOptions {
        columns: mapping
            .map(|(field, column)| (field.into(), column.into()))
            .into(),
        task: Some("mine".into()),
        origin: Some("o".into()),
        licence: Some("MIT".into()),
        ..ReadOptions::default()
    };
    for file in [&table, &lines] {
        let reading = Reading::of(&[file], &options).unwrap();
        assert_eq!(reading.files[0].shape, Shape::PromptCompletion);
        let expected = |task: &str, q: &str, a: &str| {
            format!(
                r#"{{"task":"{task}","origin":"o","licence":"MIT","messages":[{{"role":"user","content":"{q}"}},{{"role":"assistant","content":"{a}"}}]}}"#
            )
        };
        assert_eq!(
            said(&reading.records),
            [expected("mine", "q", "a"), expected("sums", "r", "b")]
        );
    }
    let error = |field: &str, column: &str, file: &Path| {
        let columns = [(field.to_owned(), column.to_owned())].into();
        let options = ReadOptions {
            columns,
            ..ReadOptions::default()
        };
        Reading::of(&[file], &options).unwrap_err()
    };
    let missing = "has no column `query` for `prompt`; its columns are question, answer";
    for file in [&table, &lines] {
        assert!(error("prompt", "query", file).to_string().contains(missing));
    }
    let missing = error("text", "body", &fixture("chats.parquet")).to_string();
    assert!(
        missing.ends_with("no column `body` for `text`; its columns are messages, task, id, score"),
        "{missing}"
    );
    let unknown = error("question", "answer", &table);
    assert!(
        unknown
            .to_string()
            .contains("no shape has a field `question`")
    );
    assert!(
        unknown.hints()[0].contains("prompt, query, completion"),
        "{unknown:?}"
    );
}

#[test]
fn documents_become_chunks_of_one_group_and_one_task() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("b.txt", "One.\n\nTwo two.\n"),
        ("a.md", "# A\n\nx y z\n\n# B\n\nu v w\n"),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let options = ReadOptions {
        chunking: Some(Chunking {
            options: ChunkOptions {
                tokens: 6,
                overlap: 0,
            },
            count: &|text| text.split_whitespace().count(),
        }),
        ..ReadOptions::default()
    };
    let reading = Reading::of(&[dir.path()], &options).unwrap();
    let found: Vec<_> = reading
        .records
        .iter()
        .map(|record| {
            let group = record
                .group
                .as_deref()
                .unwrap_or("")
                .rsplit('/')
                .next()
                .unwrap_or("")
                .to_owned();
            (
                group,
                record.task.clone(),
                record.source.line,
                record.parts().map(|part| part.text).collect::<String>(),
            )
        })
        .collect();
    let chunk =
        |file: &str, line, text: &str| (file.to_owned(), "text".to_owned(), line, text.to_owned());
    assert_eq!(
        found,
        [
            chunk("a.md", 1, "# A\n\nx y z\n\n"),
            chunk("a.md", 5, "# B\n\nu v w\n"),
            chunk("b.txt", 1, "One.\n\nTwo two.\n")
        ]
    );
    let whole = read(&[dir.path().join("a.md")]).unwrap();
    assert_eq!(whole.records.len(), 1);
    let none = Chunking {
        options: ChunkOptions {
            tokens: 4,
            overlap: 4,
        },
        ..options.chunking.unwrap()
    };
    let options = ReadOptions {
        chunking: Some(none),
        ..options
    };
    assert!(Reading::of(&[dir.path()], &options).is_err());
}

#[test]
fn a_reader_may_stop_early_and_hears_how_far_it_is() {
    let files = [
        fixture("pairs.jsonl"),
        fixture("chats.parquet"),
        fixture("pairs.parquet"),
    ];
    let heard = RefCell::new(Vec::new());
    let told = |progress| heard.borrow_mut().push(progress);
    let options = ReadOptions {
        told: Some(&told),
        ..ReadOptions::default()
    };
    let mut rows = 0;
    let reports = stream(&files, &options, &mut |_| {
        rows += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(
        reports
            .iter()
            .map(|report| report.rows + report.refused)
            .sum::<usize>(),
        rows
    );
    let last: Progress = *heard.borrow().last().unwrap();
    assert_eq!(
        (last.rows, last.total_bytes),
        (
            rows,
            files
                .iter()
                .map(|file| fs::metadata(file).unwrap().len())
                .sum()
        )
    );
    assert!(last.bytes > 0 && last.bytes <= last.total_bytes, "{last:?}");
    assert!(heard.borrow().is_sorted_by_key(|progress| progress.bytes));
    let mut taken = 0;
    let reports = stream(&files, &ReadOptions::default(), &mut |_| {
        taken += 1;
        if taken == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!((taken, reports.len(), reports[0].rows), (3, 1, 3));
}

#[test]
fn the_padding_of_a_table_is_not_part_of_a_row_and_in_json_it_waits_for_a_word() {
    let rows = read(&[fixture("padded.parquet")]).unwrap();
    let twin = read(&[fixture("padded.jsonl")]).unwrap();
    let body = |reading: &Reading| -> Vec<_> {
        let records = reading.records.iter();
        records.map(|record| record.body.clone()).collect()
    };
    assert_eq!(body(&rows), body(&twin));
    let first = rows.records[0].to_json().to_string();
    assert!(
        first.contains(r#""arguments":{"where":"south","how":{"high":3}}"#),
        "{first}"
    );
    // The same table as its rows would be written in JSON: every row has the fields of all.
    let padded = r#"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"where": "south", "what": null}}}]}]}"#;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.jsonl");
    fs::write(&file, padded).unwrap();
    let error = read(&[&file]).unwrap_err().to_string();
    assert!(error.contains("arguments.what` is null"), "{error}");
    assert!(error.contains("--nulls drop"), "{error}");
}

#[test]
fn truths_pictures_and_scores_of_a_table_are_told_by_their_columns() {
    let reading = read(&[fixture("labels.parquet")]).unwrap();
    let verdicts: Vec<bool> = reading
        .records
        .iter()
        .map(|record| match &record.body {
            hone_data::Body::Unpaired(judged) => judged.is_good,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(verdicts, [true, false]);
    let refused: Vec<String> = reading.refused.iter().map(ToString::to_string).collect();
    assert_eq!(refused.len(), 1);
    assert!(refused[0].contains("`image` holds pictures"), "{refused:?}");
    let report = &reading.files[0];
    assert_eq!(report.unused, ["score"]);
    assert_eq!(
        report.remarks(),
        [
            "unpaired preferences: 2 rows; nothing trains on them yet",
            "other keys, not used: score"
        ]
    );
}

/// Files of a folder, by name and text.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn columns(pairs: &[(&str, &str)]) -> ReadOptions<'static> {
    ReadOptions {
        columns: pairs
            .iter()
            .map(|(field, column)| ((*field).to_owned(), (*column).to_owned()))
            .collect(),
        ..ReadOptions::default()
    }
}

#[test]
fn a_column_is_read_in_the_files_that_have_it_and_refused_if_none_has() {
    let dir = folder(&[
        ("a.csv", "question,answer\nq,a\n"),
        ("b.jsonl", "{\"prompt\": \"r\", \"completion\": \"b\"}\n"),
        (
            "c.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"s\"}, {\"role\": \"assistant\", \"content\": \"c\"}]}\n",
        ),
    ]);
    let mapped = columns(&[("prompt", "question"), ("completion", "answer")]);
    let reading = Reading::of(&[dir.path()], &mapped).unwrap();
    assert_eq!(reading.records.len(), 3);
    assert!(reading.refused.is_empty());
    let nowhere = columns(&[
        ("prompt", "question"),
        ("completion", "answer"),
        ("task", "sort"),
    ]);
    let error = Reading::of(&[dir.path()], &nowhere).unwrap_err();
    assert!(
        error.to_string().contains("no column `sort` for `task`"),
        "{error}"
    );
}

#[test]
fn a_misspelt_column_is_answered_with_the_nearest() {
    let dir = folder(&[
        ("a.csv", "id,question_text,answer\n1,q,a\n"),
        ("b.jsonl", "{\"question_text\": \"q\", \"answer\": \"a\"}\n"),
    ]);
    for name in ["a.csv", "b.jsonl"] {
        for (column, near) in [
            (
                "qestion_text",
                "did you mean --column prompt=question_text?",
            ),
            ("question", "did you mean --column prompt=question_text?"),
        ] {
            let options = columns(&[("prompt", column), ("completion", "answer")]);
            let error = Reading::of(&[dir.path().join(name)], &options).unwrap_err();
            assert!(error.to_string().contains("has no column"), "{error}");
            assert_eq!(error.hints()[0], near, "{name}");
        }
    }
}

#[test]
fn a_file_of_a_folder_that_holds_no_rows_is_named_with_the_way_to_leave_it_out() {
    let dir = folder(&[
        ("train.jsonl", "{\"text\": \"a\"}\n"),
        ("stats.csv", "metric,value\nloss,1\n"),
    ]);
    let error = Reading::of(&[dir.path()], &ReadOptions::default()).unwrap_err();
    assert!(error.to_string().contains("stats.csv"), "{error}");
    assert_eq!(
        error.hints()[0],
        "if it holds no rows, leave it out: --side stats.csv=skip"
    );
    // Leaving it out says nothing of the sides of the others.
    fs::rename(
        dir.path().join("train.jsonl"),
        dir.path().join("poems.jsonl"),
    )
    .unwrap();
    let choices = Choices {
        sides: [("stats.csv".to_owned(), None)].into(),
        ..Choices::default()
    };
    let inputs = Inputs::find_as(&[dir.path()], &choices).unwrap();
    let inputs = inputs.decided().unwrap();
    assert_eq!(inputs.files.len(), 1);
}

#[test]
fn one_line_with_turns_under_another_key_is_named_with_the_flag_that_reads_it() {
    let row = r#"{"id": 1, "dialog": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}"#;
    for (name, text) in [
        ("x.jsonl", format!("{row}\n")),
        ("y.jsonl", format!("{row}\n{row}\n")),
        ("z.json", row.to_owned()),
    ] {
        let dir = folder(&[(name, &text)]);
        let file = dir.path().join(name);
        let error = Reading::of(&[&file], &ReadOptions::default()).unwrap_err();
        let hints = error.hints();
        assert!(error.to_string().contains("keys: id, dialog"), "{error}");
        assert_eq!(hints[0], "`dialog` holds turns: --column messages=dialog");
        let reading = Reading::of(&[&file], &columns(&[("messages", "dialog")])).unwrap();
        assert_eq!(reading.records.len(), text.matches("dialog").count());
    }
}

#[test]
fn rows_that_share_a_line_are_told_apart_by_their_number() {
    let dir = folder(&[
        ("one.json", r#"[{"text": "a"}, {"text": 5}, 7]"#),
        ("two.json", "[{\"text\": \"a\"},\n {\"text\": 5},\n 7]"),
    ]);
    let refused = |name: &str| -> Vec<String> {
        let reading = Reading::of(&[dir.path().join(name)], &ReadOptions::default()).unwrap();
        let told = reading.refused.iter().map(|row| row.source.to_string());
        let within = told.map(|told| told.rsplit('/').next().unwrap().to_owned());
        within.collect()
    };
    assert_eq!(
        refused("one.json"),
        ["one.json:1 (row 2)", "one.json:1 (row 3)"]
    );
    assert_eq!(refused("two.json"), ["two.json:2", "two.json:3"]);
}

#[test]
fn half_of_a_character_is_told_with_its_key_and_a_file_without_rows_gives_each_kind_of_reason() {
    let half = r#"{"prompt": "q", "messages": [{"content": "hm \ud83d"}], "completion": "a"}"#;
    let other = r#"{"prompt": "q", "completion": "so \udc00 it is"}"#;
    let dir = folder(&[(
        "x.jsonl",
        &format!("{half}\n{other}\n{{\"text\": 5}}\nnonsense\n"),
    )]);
    let error = Reading::of(&[dir.path().join("x.jsonl")], &ReadOptions::default()).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("none of its 4 rows"), "{told}");
    assert!(
        told.contains("`content` holds half of a character"),
        "{told}"
    );
    let hints = error.hints().join("\n");
    assert!(hints.contains("3 rows, the first of them"), "{hints}");
    assert!(
        hints.contains("1 row: ") && hints.contains(":4: not JSON"),
        "{hints}"
    );
    assert!(!hints.contains("hone data show"), "{hints}");
    let dir = folder(&[("y.jsonl", &format!("{other}\n{{\"text\": \"a\"}}\n"))]);
    let reading = Reading::of(&[dir.path().join("y.jsonl")], &ReadOptions::default()).unwrap();
    let told = reading.refused[0].to_string();
    assert!(
        told.contains("y.jsonl:1: `completion` holds half"),
        "{told}"
    );
}

#[test]
fn lists_of_one_document_are_sides_if_their_names_are() {
    let list = |side: &str, count: usize| {
        let row = |n: usize| format!("{{\"text\": \"{side} {n}\"}}");
        (0..count).map(row).collect::<Vec<_>>().join(",\n")
    };
    let text = format!(
        "{{\"version\": 1, \"train\": [{}], \"validation\": [{}],\n\"test\": [{}]}}",
        list("train", 3),
        list("valid", 2),
        list("test", 1)
    );
    let dir = folder(&[("two.json", &text)]);
    let inputs = Inputs::find(&[dir.path().join("two.json")]).unwrap();
    let said: Vec<String> = inputs
        .files
        .iter()
        .map(|input| {
            let reading = Reading::of_files(std::slice::from_ref(input), &ReadOptions::default());
            let reading = reading.unwrap();
            let side = input.side.map_or("-", Side::name);
            assert_eq!(reading.files[0].list, input.list);
            format!("{side}: {}", said(&reading.records).len())
        })
        .collect();
    assert_eq!(said, ["train: 3", "valid: 2", "test: 1"]);
    // A list of another kind beside them is not passed over in silence.
    let dir = folder(&[("x.json", &text.replace("\"validation\"", "\"labels\""))]);
    let inputs = Inputs::find(&[dir.path().join("x.json")]).unwrap();
    let reading = Reading::of_files(&inputs.files, &ReadOptions::default());
    let told = reading.unwrap_err().to_string();
    assert!(told.contains("exactly one list of rows"), "{told}");
}

#[test]
fn columns_of_a_llama_factory_index_are_all_that_is_read() {
    let row = r#"[{"prompt": "p", "instruction": "i", "input": "in", "output": "o", "system": "s", "q": "asked", "a": "answered"}]"#;
    let read = |columns: &str| {
        let index = format!("{{\"mine\": {{\"file_name\": \"a.json\"{columns}}}}}");
        let dir = folder(&[("a.json", row), ("dataset_info.json", &index)]);
        let inputs = Inputs::find(&[dir.path()]).unwrap().decided();
        let inputs = inputs.map_err(|error| error.to_string())?;
        let reading = Reading::of_files(&inputs.files, &ReadOptions::default());
        let reading = reading.map_err(|error| error.to_string())?;
        let texts: Vec<String> = reading.records[0]
            .parts()
            .map(|part| part.text.to_owned())
            .collect();
        Ok::<_, String>((texts, reading.files[0].unused.clone()))
    };
    let (texts, unread) = read(r#", "columns": {"prompt": "q", "response": "a"}"#).unwrap();
    assert_eq!(texts, ["asked", "answered"]);
    for key in ["input", "system", "instruction", "output", "prompt"] {
        assert!(
            unread.iter().any(|listed| listed == key),
            "{key}: {unread:?}"
        );
    }
    let (texts, unread) = read("").unwrap();
    assert_eq!(texts, ["i\n\nin", "o"]);
    assert!(unread.iter().any(|listed| listed == "system"), "{unread:?}");
    let named = r#", "columns": {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}"#;
    assert_eq!(read(named).unwrap().0, ["s", "i\n\nin", "o"]);
    let told = read(r#", "columns": {"prompt": "q"}"#).unwrap_err();
    assert!(told.contains("names none for `response`"), "{told}");
    let told = read(r#", "columns": {"prompt": "q", "response": "gone"}"#).unwrap_err();
    assert!(told.contains("no column `gone` for `output`"), "{told}");
}
