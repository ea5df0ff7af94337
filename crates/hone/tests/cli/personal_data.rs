//! Personal data through the command: found where people write, and gone from everything that is written.

use serde_json::{Value, json};
use std::fs;

use crate::command::{Place, Ran};

/// What a build with redaction writes, as one text for each file.
fn redacted(place: &Place, rows: &str) -> Vec<(String, String)> {
    place.write("rows.jsonl", rows);
    place.ok("data build --from rows.jsonl --valid-share 0 --rule duplicate=off --rule personal-data=redact --out out");
    let files = fs::read_dir(place.path("out")).unwrap();
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(&path).unwrap())
    };
    files.map(|file| read(file.unwrap().path())).collect()
}

fn train(files: &[(String, String)]) -> &str {
    let train = files.iter().find(|(name, _)| name == "train.jsonl");
    &train.unwrap().1
}

fn texts(files: &[(String, String)]) -> Vec<String> {
    let text = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        row["text"].as_str().unwrap().to_owned()
    };
    train(files).lines().map(text).collect()
}

/// The rules that see something in each row, as `hone data check` tells.
fn seen(place: &Place, rows: &str) -> Vec<Vec<String>> {
    place.write("rows.jsonl", rows);
    let ran = place.run("data check --json --rule duplicate=off --rule leak=off rows.jsonl");
    let findings = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut seen = vec![Vec::new(); rows.lines().count()];
    for finding in findings.filter(|finding| finding["family"] == "personal-data") {
        let line = finding["line"].as_u64().unwrap() as usize;
        seen[line - 1].push(finding["rule"].as_str().unwrap().to_owned());
    }
    seen
}

fn rows(texts: &[&str]) -> String {
    texts
        .iter()
        .map(|text| format!("{}\n", json!({ "text": text })))
        .collect()
}

fn each_has(place: &Place, rule: &str, texts: &[&str]) {
    for (text, seen) in texts.iter().zip(seen(place, &rows(texts))) {
        assert_eq!(seen, [rule], "{text}");
    }
}

#[test]
fn a_password_in_a_url_leaves_whole_and_its_host_stays() {
    let place = Place::new();
    let files = redacted(
        &place,
        &rows(&[
            "postgres://app:k2@9zP@db.hafenkontor.no:5432/app",
            "Clone https://lina:q7Lw0p@code.hafenkontor.no/repo.git",
        ]),
    );
    assert_eq!(
        texts(&files),
        [
            "postgres://<CREDENTIALS>@db.hafenkontor.no:5432/app",
            "Clone https://<CREDENTIALS>@code.hafenkontor.no/repo.git",
        ]
    );
}

#[test]
fn numbers_are_found_beside_letters_and_marks_of_any_script() {
    let place = Place::new();
    each_has(
        &place,
        "card",
        &[
            "card “4539578763621486” ok",
            "我的信用卡号4539578763621486请查收",
            "Kreditkarte\u{a0}4539578763621486",
            "card 4539 5787 6362 1486 03/27",
            "ref,card\n12,4539578763621486",
        ],
    );
    each_has(
        &place,
        "iban",
        &[
            "iban “DE02120300000000202051” ok",
            "IBAN：DE02120300000000202051。",
        ],
    );
    each_has(&place, "mac-address", &["MAC：a4:5e:60:c2:11:9c。"]);
}

#[test]
fn telephone_numbers_are_found_as_they_are_dialled_from_abroad_and_with_any_blank() {
    let place = Place::new();
    each_has(
        &place,
        "phone",
        &[
            "Call me on 0033 6 12 34 56 78",
            "Telefon 0049 30 9018 2034",
            "call 011 44 20 7946 1234",
            "Tel: +49\u{a0}151\u{a0}23456789",
            "Phone: 415‑867‑2309",
            "Call 138 1234 5678",
            "Call (11) 91234-5678",
        ],
    );
    each_has(&place, "national-number", &["SSN 421‑63‑2810"]);
}

#[test]
fn what_is_shown_of_a_row_is_masked_whatever_is_decided_about_it() {
    let place = Place::new();
    let row =
        r#"{"prompt":"Write to olga.berg@kranich-it.ch or +41 79 234 56 78","completion":"done"}"#;
    // What repeats a benchmark's row leaves, so that another has to stay.
    let stays = r#"{"prompt":"What rings at noon?","completion":"The bell of the old town hall."}"#;
    place.write("rows.jsonl", &format!("{row}\n{stays}\n"));
    place.write("bench.jsonl", &format!("{row}\n"));
    let ran =
        place.run("data build --from rows.jsonl --benchmark bench.jsonl --valid-share 0 --out out");
    for name in ["findings.jsonl", "report.html"] {
        let text = fs::read_to_string(place.path("out").join(name)).unwrap();
        assert!(text.contains("prompt-exact"), "{text}");
        for value in ["olga.berg", "kranich", "234 56"] {
            assert!(!text.contains(value), "{value} in {name}: {text}");
        }
    }
    assert!(!ran.stdout.contains("olga") && !ran.stderr.contains("olga"));
}

#[test]
fn json_in_a_reply_is_json_without_its_numbers_too() {
    let place = Place::new();
    let reply = |reply: &str| {
        let row = json!({ "prompt": "Give JSON", "completion": reply });
        let files = redacted(&place, &format!("{row}\n"));
        fs::remove_dir_all(place.path("out")).unwrap();
        let row: Value = serde_json::from_str(train(&files)).unwrap();
        let reply = row["messages"][1]["content"].as_str().unwrap();
        serde_json::from_str::<Value>(reply).unwrap_or_else(|error| panic!("{reply}: {error}"))
    };
    assert_eq!(
        reply(r#"{"pan":4539578763621486,"ok":true}"#),
        json!({ "pan": 0, "ok": true })
    );
    assert_eq!(
        reply(
            r#"{"mail": "bo@kranich-it.ch", "phones": ["+41 79 234 56 78"], "cards": [4539578763621486]}"#
        ),
        json!({ "mail": "<EMAIL>", "phones": ["<PHONE>"], "cards": [0] })
    );
}

#[test]
fn an_address_is_taken_whole_in_any_script_and_no_more_than_the_address() {
    let place = Place::new();
    let files = redacted(
        &place,
        &rows(&[
            "https://hk.no/?mail=bo@kranich-it.ch&x=1",
            "info.büro@mueller-bau.de",
            "peter@müller-bau.de",
            "user bo.lund [at] kranich-it [dot] ch",
            "联系bo@kranich-it.ch吧",
            "mail bo.lund at kranich-it dot ch",
            "foo@bar.com, jo@example.co.uk, test@test.com, look at github.com",
        ]),
    );
    assert_eq!(
        texts(&files),
        [
            "https://hk.no/?mail=<EMAIL>&x=1",
            "<EMAIL>",
            "<EMAIL>",
            "user <EMAIL>",
            "联系<EMAIL>吧",
            "mail <EMAIL>",
            "foo@bar.com, jo@example.co.uk, test@test.com, look at github.com",
        ]
    );
}

#[test]
fn a_value_is_gone_from_all_that_a_row_carries() {
    let place = Place::new();
    let tools = json!([{ "function": { "name": "pay", "description": "for bo@kranich-it.ch", "default": 4539578763621486u64 } }]);
    let first = json!({
        "group": "bo@kranich-it.ch", "origin": "https://bo:geheim1@hk.no/x", "task": "for bo@kranich-it.ch", "tools": tools,
        "messages": [
            { "role": "system", "content": "You serve bo@kranich-it.ch. Phone 079 234 56 78." },
            { "role": "user", "content": "Charge card 4539 5787 6362 1486 and say 079 234 56 78" },
            { "role": "assistant", "content": "", "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "pay", "arguments": { "pan": 4539578763621486u64, "bo@kranich-it.ch": "079 234 56 78" } } }] },
            { "role": "tool", "content": "{\"pan\": 4539578763621486}", "tool_call_id": "c1", "name": "pay" },
            { "role": "assistant", "content": "Done for bo@kranich-it.ch!" },
        ],
    });
    let said = |reply: &str| json!([{ "role": "user", "content": "hi there" }, { "role": "assistant", "content": reply }]);
    let second = json!({ "messages": said("fine"), "group": "bo@kranich-it.ch", "licence": "MIT, Bo <bo@kranich-it.ch>" });
    let third = json!({ "messages": said("well"), "group": "eva@kranich-it.ch" });
    let files = redacted(&place, &format!("{first}\n{second}\n{third}\n"));
    for (name, text) in &files {
        for value in [
            "kranich",
            "geheim1",
            "4539578763621486",
            "4539 5787",
            "234 56 78",
        ] {
            assert!(!text.contains(value), "{value} in {name}: {text}");
        }
    }
    let rows: Vec<Value> = train(&files)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let groups: Vec<&str> = rows
        .iter()
        .map(|row| row["group"].as_str().unwrap())
        .collect();
    // Two groups stay two.
    assert_eq!(groups, ["<EMAIL> 1", "<EMAIL> 1", "<EMAIL> 2"]);
    assert_eq!(rows[0]["origin"], "https://<CREDENTIALS>@hk.no/x");
    assert_eq!(rows[0]["tools"][0]["function"]["default"], 0);
}

#[test]
fn days_of_birth_are_found_in_many_languages() {
    let place = Place::new();
    each_has(
        &place,
        "birth-date",
        &[
            "nascido em 12/03/1985",
            "ur. 12.03.1985 w Lodzi",
            "出生日期：1985年3月12日",
            "дата рождения: 12.03.1985",
            "geboortedatum 12-03-1985",
            "född 1985-03-12",
            "doğum tarihi 12.03.1985",
            "생년월일: 1985년 3월 12일",
            "تاريخ الميلاد: ١٢/٠٣/١٩٨٥",
            "जन्म तिथि 12/03/1985",
        ],
    );
}

#[test]
fn the_languages_in_which_names_are_not_looked_for_are_named() {
    let place = Place::new();
    let all = rows(&[
        "私の名前は山田太郎です。",
        "我叫王小明，住在北京。",
        "제 이름은 김민수입니다.",
        "Меня зовут Иван Петров.",
        "اسمي أحمد محمود وأسكن في القاهرة",
        "मेरा नाम राजेश कुमार है।",
        "My name is Ann.",
        "Ich heiße Jörg.",
        "Benim adım Ayşe Yılmaz.",
    ]);
    place.write("rows.jsonl", &all);
    // Only the reply is in Japanese, behind a prompt with an accent.
    let mixed = json!({ "prompt": "Où est-elle ?", "completion": "私の名前は鈴木花子です。" });
    place.write("mixed.jsonl", &format!("{mixed}\n"));
    let said = "names are not looked for in ar (1 row), hi (1 row), ja (2 rows), ko (1 row), ru (1 row), zh (1 row)";
    let ran = place.run("data check --rule duplicate=off rows.jsonl mixed.jsonl");
    assert!(ran.stderr.contains(said), "{}", ran.stderr);
    // Turkish is written in Latin letters, and its names are looked for.
    let name = "rows.jsonl:9, text: perhaps a person's name";
    assert!(ran.stdout.contains(name), "{}", ran.stdout);
    let last =
        |ran: &Ran| serde_json::from_str::<Value>(ran.stdout.lines().last().unwrap()).unwrap();
    let ran = place.run("data check --rule duplicate=off rows.jsonl mixed.jsonl --json");
    assert_eq!(last(&ran)["names_not_looked_for"], said);
    let ran =
        place.run("data build --from rows.jsonl mixed.jsonl --valid-share 0 --out out --json");
    assert_eq!(last(&ran)["names_not_looked_for"], said);
    let report = fs::read_to_string(place.path("out/report.html")).unwrap();
    assert!(report.contains(said));
    let off = place.run("data check --rule duplicate=off --rule person-name=off rows.jsonl --json");
    assert!(!off.stderr.contains("not looked for"));
    assert!(last(&off)["names_not_looked_for"].is_null());
}

#[test]
fn what_is_replaced_in_one_row_is_replaced_in_all_and_a_name_of_a_file_that_has_it_stops_the_build()
{
    let place = Place::new();
    // In the second row no word tells that it is a telephone number, and a date is no one's.
    let rows = rows(&[
        "Call me on 79234567 or 0792345678. Born 12.03.1985.",
        "Code 0792345678, invoice of 12.03.1985",
    ]);
    let files = redacted(&place, &rows);
    assert_eq!(texts(&files)[1], "Code <PHONE>, invoice of 12.03.1985");
    let findings = &files
        .iter()
        .find(|(name, _)| name == "findings.jsonl")
        .unwrap()
        .1;
    assert!(
        findings.contains("what was found in another row stands here, too"),
        "{findings}"
    );
    for (name, text) in &files {
        assert!(!text.contains("0792345678"), "{name}: {text}");
    }
    let name = "0792345678.jsonl";
    place.write(name, &rows);
    let line =
        format!("data build --from {name} --valid-share 0 --rule personal-data=redact --out again");
    let ran = place.run(&line);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stderr
            .contains("a value that the rule `phone` found and replaced still stands in ")
            && ran.stderr.contains("nothing was written")
            && ran.stderr.contains("name of a file")
            && !ran.stderr.contains("0792345678"),
        "{}",
        ran.stderr
    );
    assert!(!place.path("again").exists());
}

#[test]
fn a_full_name_and_a_street_with_its_number_are_replaced_in_all_rows_and_a_first_name_and_a_town_are_not()
 {
    let place = Place::new();
    let rows = rows(&[
        "Dear Jörg Hinterhuber, you live in Munich, Lindenstraße 14b.",
        "the mail of jörg went to Jörg Hinterhuber's door at lindenweg 2",
        "(Lindenstraße 14b) is a house in Munich; so says Jörg.",
    ]);
    let files = redacted(&place, &rows);
    let texts = texts(&files);
    assert!(texts[2].contains("in Munich"), "{}", texts[2]);
    for (name, text) in &files {
        for value in ["Jörg Hinterhuber", "Lindenstraße 14b"] {
            assert!(!text.contains(value), "{name}: {text}");
        }
    }
}

#[test]
fn words_that_the_page_of_a_rule_has_too_stop_no_build() {
    let place = Place::new();
    let text = "Dear American Express, my card 4539 5787 6362 1486 was lost.";
    let files = redacted(&place, &rows(&[text]));
    assert_eq!(
        texts(&files),
        ["Dear <PERSON>, my card <CREDIT_CARD> was lost."]
    );
    let report = files.iter().find(|(name, _)| name == "report.html");
    // The page of the rule about cards names who issues them.
    assert!(report.unwrap().1.contains("American Express"));
}

#[test]
fn a_difference_of_datasets_is_shown_masked() {
    let place = Place::new();
    let row = |text: &str| rows(&["What rings at noon is the bell.", text]);
    place.write(
        "rows.jsonl",
        &row("Write to olga.berg@kranich-it.ch, she knows."),
    );
    place.run("data build --from rows.jsonl --valid-share 0 --out one");
    place.write(
        "rows.jsonl",
        &row("Write to otto.berg@kranich-it.ch, he knows."),
    );
    place.run("data build --from rows.jsonl --valid-share 0 --out two");
    for line in ["data diff one two", "data diff one two --json"] {
        let ran = place.run(line);
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        assert!(
            ran.stdout.contains("Write to o•") && !ran.stdout.contains("kranich"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn made_up_names_of_numbers_tell_countries_apart_and_spellings_not() {
    let place = Place::new();
    let numbers = [
        "079 234 56 78",
        "+41 79 234 56 78",
        "0041 79 234 56 78",
        "+49 79 234 56 79",
        "+41 79 234 56 79",
        "(415) 867-2309",
        "+1 415-867-2309",
    ];
    let texts: Vec<String> = numbers
        .iter()
        .map(|number| format!("My phone number is {number} at work"))
        .collect();
    place.write(
        "rows.jsonl",
        &rows(&texts.iter().map(String::as_str).collect::<Vec<_>>()),
    );
    place.write(
        "recipe.toml",
        "pseudonym-key = \"names.key\"\nsplit = { valid = 0.0 }\n[rules]\nduplicate = \"off\"\nphone = \"pseudonymise\"\n[[sources]]\nfiles = [\"rows.jsonl\"]\n",
    );
    place.ok("data build recipe.toml --out out");
    let named = fs::read_to_string(place.path("out/train.jsonl")).unwrap();
    let names: Vec<&str> = named
        .lines()
        .map(|line| {
            line.split_once("<PHONE-")
                .unwrap()
                .1
                .split_once('>')
                .unwrap()
                .0
        })
        .collect();
    assert!(names[0] == names[1] && names[1] == names[2], "{named}");
    assert!(names[3] != names[4] && names[4] != names[0], "{named}");
    assert_eq!(names[5], names[6], "{named}");
}
