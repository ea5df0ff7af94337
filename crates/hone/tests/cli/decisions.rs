//! Findings lead to decisions: what is offered beside a finding is taken as it is, and decides it.

use hone_curate::recipe::{Curation, RawRecipe};
use hone_curate::{Check, Finding, Tools, curate, rules};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::time::{Duration, Instant};

use crate::command::Place;

/// What is offered about findings of a kind.
#[derive(Debug)]
struct Offer {
    heading: String,
    command: String,
    section: String,
    line: String,
}

/// The offers about a rule, as they stand on the terminal.
fn offers(stdout: &str, rule: &str) -> Vec<Offer> {
    let mut offers = Vec::new();
    let mut heading = "";
    let mut lines = stdout.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with(' ') {
            heading = line;
        }
        let is_of_rule = heading.starts_with(&format!("{rule} ("));
        let is_of_rule = is_of_rule && !line.trim().starts_with("why ");
        if let (true, Some((_, command))) = (is_of_rule, line.split_once(": hone ")) {
            let next = lines.peek().expect("a line of a recipe follows");
            let (section, line) = next
                .trim()
                .strip_prefix("in a recipe, under ")
                .and_then(|rest| rest.split_once(": "))
                .unwrap_or_else(|| panic!("{next}"));
            offers.push(Offer {
                heading: heading.to_owned(),
                command: command.to_owned(),
                section: section.to_owned(),
                line: line.to_owned(),
            });
        }
    }
    offers
}

/// The findings of a rule, by what was decided.
fn decisions(place: &Place, command: &str, rule: &str) -> BTreeSet<String> {
    let ran = place.run(&format!("{command} --json"));
    assert!(
        ran.code == 0 || ran.code == 4,
        "{command} ended with {}: {}",
        ran.code,
        ran.stderr
    );
    let findings = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    findings
        .filter(|finding| finding["rule"] == rule)
        .map(|finding| finding["decision"].as_str().unwrap().to_owned())
        .collect()
}

/// The same by a recipe, without a process of its own.
fn decisions_by(recipe: &Path, rule: &str) -> BTreeSet<String> {
    let curation = Curation::resolve(RawRecipe::read(recipe).unwrap()).unwrap();
    let tools = Tools {
        usable: &|_| Ok(None),
        skips_unusable: false,
        text_tokens: &|text| text.split_whitespace().count(),
        worth: None,
        watch: &|_, _, _| {},
    };
    let mut found = BTreeSet::new();
    let mut sink = |finding: &Finding| {
        if finding.rule == rule {
            let decision = serde_json::to_value(finding.decision).unwrap();
            found.insert(decision.as_str().unwrap().to_owned());
        }
        Ok(())
    };
    curate(&curation, tools, recipe.parent().unwrap(), &mut sink).unwrap();
    found
}

/// What a decision makes of findings.
fn decided_by(action: &str) -> &'static [&'static str] {
    match action {
        "redact" | "pseudonymise" => &["changed"],
        "drop" => &["dropped"],
        "allow" => &["allowed"],
        "report" => &["reported"],
        "off" | "regroup" => &[],
        other => panic!("{other}"),
    }
}

fn action_of<'a>(command: &'a str, rule: &str) -> &'a str {
    let last = command.rsplit("--").next().unwrap().trim();
    let action = last.rsplit_once(&format!("{rule}="));
    let action = action.map_or(last, |(_, action)| action);
    action.split([':', '\'']).next().unwrap()
}

/// Takes everything that is offered about a rule, by command and by recipe, and looks what came of it.
fn take_offers(place: &Place, recipe: &str, rule: &str) -> usize {
    place.write("recipe.toml", recipe);
    let ran = place.run("data check --recipe recipe.toml");
    assert!(ran.code == 0 || ran.code == 4, "{rule}: {}", ran.stderr);
    let offers = offers(&ran.stdout, rule);
    for offer in &offers {
        let action = action_of(&offer.command, rule);
        let expected: BTreeSet<String> =
            decided_by(action).iter().map(|&name| name.into()).collect();
        let found = decisions(place, &offer.command, rule);
        assert_eq!(found, expected, "{rule}: {offer:?}");
        let decided = place.write("decided.toml", &with_line(recipe, offer, rule));
        let found = match recipe.starts_with("model") {
            true => decisions(place, "data check --recipe decided.toml", rule),
            false => decisions_by(&decided, rule),
        };
        assert_eq!(found, expected, "{rule}: {offer:?}");
    }
    offers.len()
}

/// The recipe with the offered line in the place of the one it has.
fn with_line(recipe: &str, offer: &Offer, rule: &str) -> String {
    let own = format!("{rule} = ");
    let lines = recipe.lines().filter(|line| !line.starts_with(&own));
    let mut text = String::new();
    for line in lines {
        text += &format!("{line}\n");
        if line == offer.section {
            text += &format!("{}\n", offer.line);
        }
    }
    assert!(
        text.contains(&offer.line),
        "{recipe} has no {}",
        offer.section
    );
    text
}

/// Rows and parameters of the first case of each rule about single rows that finds something.
fn cases(dir: &Path, found: &mut Vec<(String, String, String)>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            cases(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.extend(case(&fs::read_to_string(&path).unwrap()));
        }
    }
}

fn case(text: &str) -> Option<(String, String, String)> {
    let name = text.lines().next().unwrap().trim_start_matches("# ");
    let (mut params, mut rows) = (String::new(), String::new());
    let mut block = None;
    for line in text.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                block = Some(kind);
                if kind == "toml" || kind == "json" && params.is_empty() {
                    rows.clear();
                }
            }
            (Some("findings"), Some(_)) => (block, params, rows) = (None, "".into(), "".into()),
            (Some(_), Some(_)) => block = None,
            (Some("json"), None) => rows += &format!("{line}\n"),
            (Some("toml"), None) => params += &format!("{line}, "),
            (Some("findings"), None) => return Some((name.into(), params, rows)),
            _ => {}
        }
    }
    None
}

/// Everything else is only listed, so that it hides nothing.
const LISTED: &str = "format = \"report\"\nduplicate = \"report\"\npersonal-data = \"report\"\nharm = \"report\"\nlicence = \"report\"\n\
                      leak = \"report\"\nquality = \"report\"\n";

fn recipe(rule: &str, section: &str) -> String {
    let section = format!("{rule} = {section}\n");
    format!(
        "max-bad-rows = 1.0\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[split]\nvalid = 0.0\n[rules]\n{LISTED}{section}"
    )
}

#[test]
fn what_is_offered_about_a_finding_of_any_rule_about_rows_decides_it() {
    let mut known = Vec::new();
    let rules_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hone-curate/src/rules");
    cases(&rules_dir, &mut known);
    let place = Place::new();
    for entry in rules::all().filter(|entry| matches!(entry.check, Check::Row(_))) {
        let rule = entry.doc.name;
        // Lengths are counted by a model only.
        if rule == "too-long" {
            continue;
        }
        let (_, params, rows) = known.iter().find(|(name, ..)| name == rule).expect(rule);
        let sources = rules_dir.to_str().unwrap();
        let params = params.replace("src/rules", sources);
        place.write("rows.jsonl", rows);
        let section = |action: &str| format!("{{ {params}action = \"{action}\" }}");
        // Undecided, left out and listed: what decides each.
        let offered = ["ask", "drop", "report"]
            .map(|action| take_offers(&place, &recipe(rule, &section(action)), rule));
        assert!(
            offered[0] >= 2 && offered[1] > 0 && offered[2] > 0,
            "{rule}: {offered:?}"
        );
    }
    let model = crate::command::model("tiny-llama-tied");
    place.write(
        "rows.jsonl",
        "{\"prompt\": \"What is red and round?\", \"completion\": \"An apple.\"}\n",
    );
    let long = recipe("too-long", "{ max-tokens = 3, action = \"ask\" }");
    assert!(take_offers(&place, &format!("model = \"{model}\"\n{long}"), "too-long") >= 2);
}

/// Words that are made up, the same ones for the same number.
fn words(number: usize, count: usize) -> String {
    let word = |at: usize| {
        let mut state = (number * 1000 + at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut letter = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let of = b"bdfgklmnprstvz";
            [of[(state >> 33) % of.len()], b"aeiou"[(state >> 47) % 5]]
        };
        let letters: Vec<u8> = (0..3).flat_map(|_| letter()).collect();
        String::from_utf8(letters).unwrap()
    };
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

fn asked(prompt: &str, reply: &str) -> String {
    json!({ "prompt": prompt, "completion": reply }).to_string() + "\n"
}

#[test]
fn what_is_offered_about_copies_and_leaks_decides_them() {
    let place = Place::new();
    let text = "The ferry leaves the old harbour shortly after the fishermen return with their nets and a good catch";
    let typo = text.replace("fishermen", "fishremen");
    let held = asked(text, "It carries parcels to the islands.");
    let twins = [
        (
            "exact-duplicate",
            asked(text, "Yes.") + &asked(text, "Yes. "),
        ),
        (
            "near-duplicate",
            asked(text, &words(1, 12)) + &asked(&typo, &words(1, 12)),
        ),
        (
            "same-prompt",
            asked(text, &words(1, 12)) + &asked(text, &words(2, 12)),
        ),
        (
            "same-reply",
            (0..12)
                .map(|number| asked(&words(number, 12), text))
                .collect(),
        ),
    ];
    for (rule, rows) in twins {
        place.write("rows.jsonl", &rows);
        for (action, least) in [("ask", 2), ("drop", 1), ("report", 2)] {
            let offered = take_offers(&place, &recipe(rule, &format!("\"{action}\"")), rule);
            assert!(offered >= least, "{rule}, {action}: {offered}");
        }
    }
    let leaks = [
        ("prompt-exact", asked(text, &words(3, 12))),
        (
            "reworded-prompt",
            asked(&format!("Please say {typo}"), &words(3, 12)),
        ),
        (
            "gpt3-13",
            asked(&format!("Read this. {text}! Then think."), &words(3, 12)),
        ),
        (
            "tulu3-8",
            asked(&format!("Read this. {text}! Then think."), &words(3, 12)),
        ),
        (
            "datatrove-12",
            asked(&format!("Read this. {text}! Then think."), &words(3, 12)),
        ),
    ];
    place.write("held.jsonl", &held);
    for (rule, rows) in leaks {
        place.write("rows.jsonl", &(rows + &asked(&words(7, 12), &words(8, 12))));
        for (action, least) in [("ask", 2), ("drop", 1), ("report", 2)] {
            let bench = "benchmarks = [\"held.jsonl\"]\n";
            let recipe = format!("{bench}{}", recipe(rule, &format!("\"{action}\"")));
            let offered = take_offers(&place, &recipe, rule);
            assert!(offered >= least, "{rule}, {action}: {offered}");
        }
    }
}

#[test]
fn a_split_that_came_with_the_files_is_offered_to_be_made_anew_and_one_that_the_user_settled_is_not()
 {
    let place = Place::new();
    let row = |number: usize, reply: usize| asked(&words(number, 12), &words(reply, 12));
    let rows: String = (0..20).map(|number| row(number, number + 500)).collect();
    place.write("train.jsonl", &rows);
    place.write(
        "valid.jsonl",
        &(0..4)
            .map(|number| row(number, number + 900))
            .collect::<String>(),
    );
    let ran = place.run("data check train.jsonl valid.jsonl --rule prompt-exact=ask");
    let offered = offers(&ran.stdout, "prompt-exact");
    assert!(
        offered[0]
            .heading
            .ends_with("4 undecided, between the sides of your split"),
        "{offered:?}"
    );
    assert_eq!(offered[0].section, "[split]");
    for offer in &offered {
        let found = decisions(&place, &offer.command, "prompt-exact");
        assert!(!found.contains("undecided"), "{offer:?}");
    }
    let sources =
        "[[sources]]\nfiles = [\"train.jsonl\"]\n[[sources]]\nfiles = [\"valid.jsonl\"]\n";
    place.write(
        "anew.toml",
        &format!(
            "{sources}[rules]\nprompt-exact = \"ask\"\n[split]\n{}\n",
            offered[0].line
        ),
    );
    assert!(decisions(&place, "data check --recipe anew.toml", "prompt-exact").is_empty());
    place.write(
        "settled.toml",
        &format!("{sources}side = \"valid\"\n[rules]\nprompt-exact = \"ask\"\n"),
    );
    let ran = place.run("data check --recipe settled.toml");
    assert!(
        ran.stdout.contains("prompt-exact (leak): 4 undecided\n"),
        "{}",
        ran.stdout
    );
    assert!(!ran.stdout.contains("--regroup"), "{}", ran.stdout);
}

/// What a page says, without its tags.
fn said(html: &str) -> String {
    let (_, body) = html.split_once("<main>").unwrap();
    let text: String = body
        .split('<')
        .map(|part| part.split_once('>').map_or(part, |(_, text)| text))
        .collect();
    [
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
        ("&#x2f;", "/"),
    ]
    .iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}

const ROWS: &str = r#"{"prompt": "Whom do I ask about the ferry in winter?", "completion": "Write to ana.berg@nordlicht-mail.de before noon."}
{"prompt": "How tall is the tower in the middle of the old town?", "completion": "About sixty metres, counted from the pavement to the tip of the spire."}
{"prompt": "How tall is the tower in the middle of the old town?", "completion": "About sixty metres, counted from the pavement to the tip of the spire. "}
{"prompt": "What is long?", "completion": "As an AI language model, I cannot say that a banana is long."}
"#;

#[test]
fn the_report_says_what_the_terminal_says_in_its_order_the_undecided_first() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    let ran = place.run("data build --from rows.jsonl --valid-share 0 --out out");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    assert!(
        ran.stdout
            .starts_with("email (personal-data): 1 undecided\n"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout
            .contains("there:  Write to ⟦a••••••••••••••••••••••••e⟧ before noon."),
        "{}",
        ran.stdout
    );
    let html = fs::read_to_string(place.path("out/report.html")).unwrap();
    let page = said(&html);
    let mut rest = page.as_str();
    for line in ran.stdout.lines().filter(|line| *line != "out") {
        let line = line.trim().replace("hone data rules ", "");
        let at = rest
            .find(&line)
            .unwrap_or_else(|| panic!("{line} is not in {rest}"));
        rest = &rest[at + line.len()..];
    }
    // The pages of the rules lie in the report: nothing has to be fetched.
    for rule in ["email", "exact-duplicate", "assistant-self"] {
        assert!(
            html.contains(&format!("href=\"#rule-{rule}\""))
                && html.contains(&format!("id=\"rule-{rule}\""))
        );
    }
    assert!(!html.contains("http://") && !html.contains("https://"));
    let first = fs::read_to_string(place.path("out/findings.jsonl")).unwrap();
    assert!(
        first.lines().next().unwrap().contains("\"undecided\""),
        "{first}"
    );
    // The same for programs.
    let ran = place.run("data check rows.jsonl --json");
    assert!(ran.stdout.lines().next().unwrap().contains("\"undecided\""));
    let kinds = ran.json()["kinds"].clone();
    assert_eq!(kinds[0]["rule"], "email");
    assert_eq!(
        kinds[0]["ways"][0]["command"],
        "hone data check rows.jsonl --rule email=redact"
    );
    assert_eq!(kinds[0]["ways"][0]["recipe"], "email = \"redact\"");
}

#[test]
fn rows_that_the_user_evaluates_by_stay_whatever_a_rule_sees_in_them() {
    let place = Place::new();
    let broken = asked(
        "Say it in Latin-1.",
        "Das schÃ¶nste MÃ¤dchen trÃ¤gt grÃ¼ne SchÃ¼he.",
    );
    let empty = asked("Who rings the bell?", "");
    place.write(
        "rows.jsonl",
        &(0..9)
            .map(|number| asked(&words(number, 9), &words(number + 50, 9)))
            .collect::<String>(),
    );
    place.write(
        "held.jsonl",
        &format!(
            "{broken}{empty}not a row\n{}",
            asked(&words(77, 9), &words(78, 9))
        ),
    );
    for side in ["valid", "test"] {
        place.write("recipe.toml", &format!(
            "max-bad-rows = 1.0\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[[sources]]\nfiles = [\"held.jsonl\"]\nside = \"{side}\"\n[split]\nvalid = 0.0\n"
        ));
        let ran = place.run(&format!("data build recipe.toml --out {side}"));
        let rows = fs::read_to_string(place.path(&format!("{side}/{side}.jsonl"))).unwrap();
        assert_eq!(rows.lines().count(), 2, "{}", ran.stdout);
        assert!(
            ran.stdout
                .contains("mojibake (format): 1 reported, in rows to evaluate by")
                && ran.stdout.contains("; evaluation rows stay"),
            "{}",
            ran.stdout
        );
        // Nothing can be made of these, and that is said.
        assert!(
            ran.stdout.contains("empty-reply (format): 1 dropped")
                && ran.stdout.contains("unusable-row (format): 1 dropped"),
            "{}",
            ran.stdout
        );
    }
}

/// Rows of which each has a copy with a typing error.
fn pairs(count: usize) -> String {
    let pair = |number: usize| {
        let (text, reply) = (words(number, 20), words(number + 500, 12));
        let word = text.split(' ').nth(7).unwrap();
        let typo = [&word[..2], &word[3..4], &word[2..3], &word[4..]].concat();
        asked(&text, &reply) + &asked(&text.replacen(word, &typo, 1), &reply)
    };
    (0..count).map(pair).collect()
}

#[test]
fn a_build_that_would_leave_out_much_of_a_collection_stops_and_says_how_to_go_on() {
    let place = Place::new();
    place.write("rows.jsonl", &pairs(14));
    let before = place.hidden();
    let ran = place.run("data build --from rows.jsonl --valid-share 0 --out out");
    assert_eq!(ran.code, 4, "{}{}", ran.stdout, ran.stderr);
    assert!(!place.path("out").exists() && place.hidden() == before);
    let said = &ran.stderr;
    assert!(
        said.contains("of the collection rows would leave")
            && said.contains("near-duplicate, such as rows.jsonl:")
            && said.contains("is kept)"),
        "{said}"
    );
    // Each command that goes on is taken as it is.
    let ways: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("hint: "))
        .map(|line| {
            line.split_once(": hone ")
                .unwrap()
                .1
                .split(" (in")
                .next()
                .unwrap()
        })
        .collect();
    let kept = |way: &str| {
        let ran = place.ok(way);
        let rows = fs::read_to_string(place.path("out/train.jsonl")).unwrap();
        fs::remove_dir_all(place.path("out")).unwrap();
        assert!(!ran.stderr.contains("nothing is written"));
        rows.lines().count()
    };
    let kept: Vec<usize> = ways.iter().map(|way| kept(way)).collect();
    assert!(kept == [14, 28, 14], "{ways:?}: {kept:?}");
    // A check says it beforehand.
    let ran = place.run("data check rows.jsonl");
    assert!(
        ran.stderr.contains("`hone data build` stops, because"),
        "{}",
        ran.stderr
    );
}

#[test]
fn copies_to_the_letter_decided_rules_and_a_handful_of_rows_stop_no_build() {
    let place = Place::new();
    let one = asked(&words(1, 12), &words(2, 12));
    place.write("rows.jsonl", &(one.repeat(30) + &pairs(4)));
    let ran = place.ok("data build --from rows.jsonl --valid-share 0 --out copies");
    assert!(
        ran.stderr.contains("of the collection rows left"),
        "{}",
        ran.stderr
    );
    place.write("rows.jsonl", &pairs(8));
    place.ok("data build --from rows.jsonl --valid-share 0 --out few");
    place.write("rows.jsonl", &pairs(14));
    place.write("recipe.toml", "[[sources]]\nfiles = [\"rows.jsonl\"]\n[rules]\nduplicate = \"drop\"\n[split]\nvalid = 0.0\n");
    place.ok("data build recipe.toml --out decided");
    place.write(
        "recipe.toml",
        "max-dropped = 0.9\n[[sources]]\nfiles = [\"rows.jsonl\"]\n[split]\nvalid = 0.0\n",
    );
    place.ok("data build recipe.toml --out allowed");
}

#[test]
fn where_no_row_is_left_the_findings_and_the_report_say_why() {
    let place = Place::new();
    let row = asked("Write to olga.berg@kranich-it.ch", "done");
    place.write("rows.jsonl", &row);
    place.write("bench.jsonl", &row);
    let ran =
        place.run("data build --from rows.jsonl --benchmark bench.jsonl --valid-share 0 --out out");
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("no row is left to train on, of 1 row read"),
        "{}",
        ran.stderr
    );
    for file in ["out/findings.jsonl", "out/report.html"] {
        let text = fs::read_to_string(place.path(file)).unwrap();
        assert!(
            text.contains("prompt-exact") && !text.contains("olga"),
            "{text}"
        );
    }
    assert!(
        ran.stdout.contains("prompt-exact (leak): 1 dropped"),
        "{}",
        ran.stdout
    );
    let built = "data build --from rows.jsonl --benchmark bench.jsonl --valid-share 0 --rule email=redact --out none";
    assert_eq!(place.run(built).code, 1);
    let refused = place.refusal("train --model {tied} --out run --dry-run --data none");
    assert!(refused.contains("none of the 0 rows"), "{refused}");
}

#[test]
#[cfg(unix)]
fn a_build_and_a_check_that_are_stopped_leave_nothing_and_say_so() {
    let place = Place::new();
    let rows: String = (0..30_000)
        .map(|number| asked(&words(number, 30), &words(number + 7, 60)))
        .collect();
    place.write("rows.jsonl", &rows);
    let before = place.hidden();
    for (line, said) in [
        (
            "data build --from rows.jsonl --out out",
            "stopped: nothing is kept of out",
        ),
        ("data check rows.jsonl", "stopped: a check writes nothing"),
    ] {
        let mut command = place.command(line);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let since = Instant::now();
        while line.contains("build")
            && place.hidden() == before
            && since.elapsed() < Duration::from_secs(30)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(400));
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert!(!place.path("out").exists());
        assert_eq!(place.hidden(), before);
    }
}

#[test]
fn training_on_a_split_that_leaks_says_whose_it_is_and_offers_to_split_anew() {
    let place = Place::new();
    let row = |number: usize, reply: usize| asked(&words(number, 12), &words(reply, 12));
    fs::create_dir(place.path("rows")).unwrap();
    let train: String = (0..20).map(|number| row(number, number + 500)).collect();
    let valid: String = (0..4).map(|number| row(number, number + 900)).collect();
    place.write("rows/train.jsonl", &train);
    place.write("rows/valid.jsonl", &valid);
    place.write("a.jsonl", &train);
    place.write("b.jsonl", &valid);
    for data in [
        "rows",
        "a.jsonl --valid b.jsonl",
        "rows --valid rows/valid.jsonl",
    ] {
        let train = format!("train --model {{tied}} --out run --dry-run --data {data}");
        let refused = place.refusal(&train);
        assert!(
            refused.contains("4 of prompt-exact, between the sides of your split"),
            "{refused}"
        );
        assert!(refused.contains("--rule prompt-exact=drop"), "{refused}");
        assert!(
            refused.contains("with what belongs together on one side: --regroup"),
            "{refused}"
        );
        let planned = place.ok(&format!("{train} --regroup"));
        assert!(
            planned.stderr.contains("24 rows read: 24 usable")
                && planned
                    .stderr
                    .contains("train and validation rows split anew"),
            "{data}: {}",
            planned.stderr
        );
    }
    // A dataset that was built with the question open.
    let ran = place.run("data build --from rows --rule prompt-exact=ask --out open");
    assert_eq!(ran.code, 4, "{}", ran.stderr);
    let refused = place.refusal("train --model {tied} --out run --dry-run --data open");
    assert!(
        refused.contains("hone data build --from open --regroup --out open-regrouped"),
        "{refused}"
    );
    place.ok("data build --from open --regroup --out open-regrouped");
    place.ok("train --model {tied} --out run --dry-run --data open-regrouped");
    let refused =
        place.refusal("train --model {tied} --out run --dry-run --data open-regrouped --regroup");
    assert!(
        refused.contains("--regroup can change nothing about open-regrouped"),
        "{refused}"
    );
}

#[test]
fn a_row_that_leaves_for_another_reason_waits_for_no_decision() {
    let place = Place::new();
    let address =
        "Write to bo.lund@kranich-it.ch before the market in the upper village begins at noon.";
    let copy = address
        .replace("upper", "uper")
        .replace("begins", "begins,");
    let row = |text: &str| json!({ "prompt": "Whom do I ask?", "completion": text }).to_string();
    let decided = [row(address), row(&copy)].join("\n");
    // The copy leaves, and the row that stays is decided about by itself.
    place.write("rows.jsonl", &decided);
    let ran = place.run("data check rows.jsonl --valid-share 0");
    assert!(
        ran.stdout.contains("email (personal-data): 1 undecided\n"),
        "{}",
        ran.stdout
    );
    let leaves = "email (personal-data): 1 reported, in rows that leave for another reason\n";
    assert!(ran.stdout.contains(leaves), "{}", ran.stdout);
    assert!(
        offers(&ran.stdout, "email")
            .iter()
            .all(|offer| !offer.heading.contains("leave")),
        "{}",
        ran.stdout
    );
    // A row leaves by a rule that comes later, as a copy of a row without an address, or because fewer are chosen.
    let addressed = |number: usize, reply: &str| asked(&words(number, 12), reply);
    let long = words(77, 40);
    let with_address = format!("{long} bo.lund@kranich-it.ch");
    place.write(
        "longer.jsonl",
        &(addressed(1, &long) + &addressed(1, &with_address) + &addressed(2, &words(3, 20))),
    );
    for rule in ["", "--rule near-duplicate=drop", "--rule same-prompt=drop"] {
        let ran = place.run(&format!(
            "data check longer.jsonl --valid-share 0 --json {rule}"
        ));
        let findings = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        for finding in findings.filter(|finding| finding["rule"] == "email") {
            let line = finding["line"].as_u64().unwrap();
            let has_left = ran.stdout.lines().any(|other| {
                let other: Value = serde_json::from_str(other).unwrap();
                other["line"] == line && other["decision"] == "dropped"
            });
            let decision = if has_left { "reported" } else { "undecided" };
            assert_eq!(finding["decision"], decision, "{rule}: {finding}");
            assert_eq!(finding["leaves"] == true, has_left, "{rule}: {finding}");
        }
    }
    // Weights leave a collection out.
    place.write(
        "a.jsonl",
        &(0..6)
            .map(|number| asked(&words(number, 12), &words(number + 50, 12)))
            .collect::<String>(),
    );
    place.write(
        "b.jsonl",
        &addressed(40, "Write to bo.lund@kranich-it.ch, please."),
    );
    place.write(
        "recipe.toml",
        "[[sources]]\nfiles = [\"a.jsonl\"]\n[[sources]]\nfiles = [\"b.jsonl\"]\n[split]\nvalid = 0.0\n[mix]\nweights = { a = 1, b = 0 }\n",
    );
    let ran = place.run("data build recipe.toml --out mixed");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(leaves), "{}", ran.stdout);
    place.ok("train --model {tied} --out run --dry-run --data mixed");
    // A row to evaluate by stays whatever it repeats, and so does the question about it.
    fs::create_dir(place.path("sided")).unwrap();
    place.write("sided/train.jsonl", &row(address));
    place.write("sided/test.jsonl", &row(&copy));
    let ran = place.run("data check sided");
    assert!(
        ran.stdout.contains("email (personal-data): 1 undecided"),
        "{}",
        ran.stdout
    );
}
