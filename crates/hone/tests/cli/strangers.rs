//! What files, rows and models say reaches a terminal, a card, a Modelfile or a command line as text, and as nothing else.

use crate::command::{Place, Ran};
use hone::ledger::words::is_unruly;

/// Steers a terminal, ends the line, turns text round, and is long.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{9b}31m\n\r\u{202e}error: all is well";

fn hostile_rows(num_rows: usize) -> String {
    let long = "y".repeat(5000);
    let row = |i: usize| {
        let task = if i.is_multiple_of(2) { HOSTILE } else { &long };
        serde_json::json!({ "task": task, "prompt": format!("Say {HOSTILE} {i}"), "completion": format!("It is {i}.") }).to_string()
    };
    (0..num_rows).map(row).collect::<Vec<_>>().join("\n") + "\n"
}

fn assert_harmless(line: &str, ran: &Ran) {
    for said in [&ran.stdout, &ran.stderr] {
        let unruly = said.chars().find(|c| is_unruly(*c) && *c != '\n');
        assert_eq!(unruly, None, "hone {line}\n{said:?}");
        let forged = said.lines().find(|line| line.starts_with("error: all"));
        assert_eq!(forged, None, "hone {line}\n{said:?}");
        // JSON is for programs, and whole.
        let lines = said.lines().filter(|line| !line.starts_with('{'));
        let longest = lines.map(|line| line.chars().count()).max();
        assert!(longest < Some(4500), "hone {line}: {longest:?}");
    }
}

#[test]
#[cfg(unix)]
fn names_of_files_tasks_and_directories_are_one_line_that_steers_no_terminal() {
    let place = Place::new();
    let name = format!("rows{HOSTILE}.jsonl").replace('/', "");
    place.write(&name, &hostile_rows(12));
    std::fs::create_dir(place.path("folder")).unwrap();
    std::fs::write(place.path("folder").join(&name), hostile_rows(8) + "{\n").unwrap();
    let out = format!("run{HOSTILE}");
    for line in [
        format!(
            "train --model {{tied}} --data '{name}' --out '{out}' --epochs 1 --rank 2 --dry-run"
        ),
        format!("train --model {{tied}} --data '{name}' --out '{out}' --epochs 1 --rank 2"),
        "runs".into(),
        "runs --json".into(),
        format!("eval --model {{tied}} --data '{name}' --max-tokens 2"),
        format!("eval --model {{tied}} --data '{name}' --max-tokens 2 --json"),
        format!("data check '{name}'"),
        format!("data check '{name}' --json"),
        "data check folder".into(),
        format!("adapter check '{out}/adapter'"),
        format!("generate --model '{HOSTILE}' --prompt hi"),
        format!("train --model {{tied}} --data '{HOSTILE}' --out o"),
        format!("train '{HOSTILE}.toml'"),
        format!("data show --task '{HOSTILE}'"),
    ] {
        assert_harmless(&line, &place.run(&line));
    }
}

#[test]
fn a_row_is_shown_with_its_lines_and_nothing_that_steers() {
    let place = Place::new();
    place.write("rows.jsonl", &hostile_rows(2));
    for line in [
        "data show rows.jsonl",
        "data show rows.jsonl --model {tied}",
    ] {
        let ran = place.ok(line);
        let unruly = |c: char| is_unruly(c) && c != '\n';
        assert!(!ran.stdout.contains(unruly), "{:?}", ran.stdout);
        assert!(
            ran.stdout.contains(r"\u{1b}]0;owned\u{7}"),
            "{:?}",
            ran.stdout
        );
    }
}

#[test]
#[cfg(unix)]
fn a_command_that_is_suggested_means_what_it_says() {
    let place = Place::new();
    place.write("rows.jsonl", &hostile_rows(12));
    let ran = place.ok(
        "train --model {tied} --data rows.jsonl --out 'it is $(touch owned)' --epochs 1 --rank 2",
    );
    let chat = ran
        .stderr
        .lines()
        .find(|line| line.starts_with("chat "))
        .unwrap();
    assert!(
        chat.ends_with("--adapter 'it is $(touch owned)/adapter'"),
        "{chat}"
    );

    // A run whose record is damaged.
    place.write("it is $(touch owned)/run.json", "{");
    let said = place.ok("runs").stderr;
    let offered = format!(
        "`hone train --resume --out '{}'`",
        place.path("it is $(touch owned)").display()
    );
    assert!(said.contains(&offered), "{said}");

    // A column of another name is offered as a flag.
    place.write("odd.csv", "question; rm -rf ~,reply\na,b\n");
    let error = place
        .refusal("train --model {tied} --data odd.csv --out o --column 'prompt=question rm -rf ~'");
    assert!(
        error.contains("did you mean --column 'prompt=question; rm -rf ~'?"),
        "{error}"
    );
}

#[test]
#[cfg(unix)]
fn a_card_and_a_modelfile_hold_strangers_words_as_text() {
    let place = Place::new();
    let name = "a`b](http:evil) <img src=x>\n# Owned\n---\n.jsonl";
    place.write(name, &hostile_rows(24));
    place.ok(&format!(
        "train --model {{tied}} --data '{name}' --out run --rank 2 --epochs 1"
    ));
    // The base's own card tells its licence.
    let base = place.path("base");
    std::fs::create_dir(&base).unwrap();
    let fixture = crate::command::fixtures().join("models/tiny-llama-tied");
    for entry in std::fs::read_dir(fixture).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), base.join(entry.file_name())).unwrap();
        }
    }
    let licence = "mit]\u{1b}[2J, x: [y";
    std::fs::write(
        base.join("README.md"),
        format!("---\nlicense: {licence}\n---\n"),
    )
    .unwrap();
    place.ok("export --to hf --model base --adapter run/adapter --out out");
    let card = std::fs::read_to_string(place.path("out/README.md")).unwrap();
    let (head, body) = card[4..].split_once("\n---\n").unwrap();
    assert!(
        head.lines()
            .any(|line| line == r#"license: "mit]\u001b[2j, x: [y""#),
        "{head}"
    );
    assert!(
        !body.lines().any(|line| line == "# Owned" || line == "---"),
        "{body}"
    );
    let code = r"``a`b](http:evil) <img src=x>\n# Owned\n---\n.jsonl``";
    assert!(body.contains(code), "{body}");
    let rest = body.replace(code, "").replace(r"\]", "");
    assert!(
        !rest.contains("<img") && !rest.contains("](http") && !rest.contains('\u{1b}'),
        "{body}"
    );
}
