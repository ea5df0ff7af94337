//! `hone judge` with an imitated server: verdicts, budgets, and servers that refuse, stall or talk nonsense.

use crate::command::{Place, Ran};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server says to its nth question, from 0.
type Says = dyn Fn(usize, &Value) -> String + Send + Sync;

struct Server {
    address: String,
    asked: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(says: impl Fn(usize, &Value) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/v1", listener.local_addr().unwrap());
        let (asked, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
        let (counts, heard, says) = (asked.clone(), heads.clone(), Arc::new(says));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counts, heard, says) = (counts.clone(), heard.clone(), says.clone());
                std::thread::spawn(move || serve(stream, &counts, &heard, &*says));
            }
        });
        Self {
            address,
            asked,
            heads,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn serve(stream: TcpStream, asked: &AtomicUsize, heads: &Mutex<Vec<String>>, says: &Says) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    heads.lock().unwrap().push(head);
    let number = asked.fetch_add(1, Ordering::SeqCst);
    let answer = says(number, &serde_json::from_slice(&body).unwrap());
    let mut stream = stream;
    let _ = stream.write_all(answer.as_bytes());
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn reply(text: &str) -> String {
    let said = json!({
        "choices": [{ "message": { "role": "assistant", "content": text } }],
        "usage": { "total_tokens": 100 },
    });
    http("200 OK", "", &said.to_string())
}

/// Which of the two answers of a question is `better`.
fn prefers(question: &Value, better: &str) -> String {
    let user = question["messages"][1]["content"].as_str().unwrap();
    let (a, b) = user.split_once("### Answer B").unwrap();
    let a = &a[a.find("### Answer A").unwrap()..];
    match (a.contains(better), b.contains(better)) {
        (true, false) => reply("A it is: [[A]]"),
        (false, true) => reply("B it is: [[B]]"),
        _ => reply("Neither: [[C]]"),
    }
}

/// An evaluation of six rows of two tasks, as `hone eval --out` writes it; the tuned model's answers to the first four are good.
fn evaluated(place: &Place) {
    std::fs::create_dir_all(place.path("both")).unwrap();
    let line = |row: usize| {
        let said = |text: String| json!({ "text": text, "exact_match": false, "rougeL": 0.1, "loss": 1.0, "loss_tokens": 3 });
        json!({
            "source": format!("rows.jsonl:{row}"),
            "task": if row.is_multiple_of(2) { "even" } else { "odd" },
            "prompt": [{ "role": "user", "content": format!("Question {row}?") }],
            "reference": "The reference.",
            "base": said(format!("poor answer {row}")),
            "tuned": said(match row {
                6 => "poor answer 6".to_owned(),
                5 => "poor again".to_owned(),
                row => format!("good answer {row}"),
            }),
        })
        .to_string()
    };
    let lines: Vec<String> = (1..=6).map(line).collect();
    place.write("both/answers.jsonl", &(lines.join("\n") + "\n"));
    place.write("both/report.json", "{}");
}

fn judge(place: &Place, server: &Server, more: &str) -> Ran {
    place.run(&format!(
        "judge both --endpoint {} --judge tester {more}",
        server.address
    ))
}

#[test]
fn both_orders_decide_and_what_was_asked_is_not_asked_again() {
    let place = Place::new();
    evaluated(&place);
    let server = Server::start(|_, question| prefers(question, "good"));
    let ran = judge(&place, &server, "--json --out judged");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let all = &ran.json()["all"];
    // Five pairs in two orders; of the sixth the answers are equal.
    assert_eq!(server.asked(), 10);
    for (name, want) in [
        ("second", 4),
        ("first", 0),
        ("ties", 2),
        ("inconsistent", 0),
        ("unreadable", 0),
    ] {
        assert_eq!(all[name], want, "{name}: {all}");
    }
    assert_eq!(ran.json()["tokens"], 1000);
    let transcript = std::fs::read_to_string(place.path("judged/transcript.jsonl")).unwrap();
    assert_eq!(transcript.lines().count(), 10);
    assert!(transcript.contains("The reference.") && transcript.contains("A it is"));
    let verdicts = std::fs::read_to_string(place.path("judged/verdicts.jsonl")).unwrap();
    assert_eq!(verdicts.matches("\"second\"").count(), 4);

    let again = judge(&place, &server, "--json");
    assert_eq!((server.asked(), &again.json()["all"]), (10, all));
    // Another criterion is another question.
    judge(&place, &server, "--criteria Brevity. --rows 1");
    assert!(server.asked() > 10);
}

#[test]
fn a_judge_that_looks_at_the_order_decides_nothing() {
    let place = Place::new();
    evaluated(&place);
    let server = Server::start(|_, _| reply("[[A]]"));
    let ran = judge(&place, &server, "--json");
    let all = &ran.json()["all"];
    assert_eq!((&all["inconsistent"], &all["ties"]), (&json!(5), &json!(6)));
    assert_eq!(all["win_rate"]["value"], 0.5);
    let table = judge(&place, &server, "");
    assert!(table.stdout.contains("unclear"), "{}", table.stdout);
}

#[test]
fn answers_are_rated_one_by_one_too() {
    let place = Place::new();
    evaluated(&place);
    let server = Server::start(|_, question| {
        let user = question["messages"][1]["content"].as_str().unwrap();
        reply(match user.split_once("### Answer").unwrap().1 {
            user if user.contains("again") => "no idea",
            user if user.contains("good") => "[[8]]",
            _ => "[[3]]",
        })
    });
    let ran = judge(&place, &server, "--how single --json");
    let all = &ran.json()["all"];
    assert_eq!(
        (&all["first"]["value"], &all["second"]["value"]),
        (&json!(3.0), &json!(7.0))
    );
    assert_eq!(
        (&all["unreadable"], &all["difference"]["rows"]),
        (&json!(1), &json!(5))
    );
    let one = place.run(&format!(
        "judge both:tuned --how single --endpoint {} --judge tester",
        server.address
    ));
    assert!(
        one.stdout.contains("first 7.000") && one.stdout.contains("1 without a verdict"),
        "{}",
        one.stdout
    );
}

#[test]
fn a_judge_is_corrected_by_rows_that_people_rated() {
    let place = Place::new();
    evaluated(&place);
    let server = Server::start(|_, question| prefers(question, "good"));
    let rated = |rows: [(usize, &str); 4]| -> String {
        let line = |(row, better): (usize, &str)| {
            json!({ "source": format!("rows.jsonl:{row}"), "better": better }).to_string() + "\n"
        };
        rows.into_iter().map(line).collect()
    };
    place.write(
        "rated.jsonl",
        &rated([(1, "second"), (2, "second"), (5, "first"), (6, "tie")]),
    );
    let ran = judge(&place, &server, "--rated rated.jsonl");
    assert!(
        ran.stdout
            .contains("corrected by 4 rows that people rated: the second wins 0.667"),
        "{}",
        ran.stdout
    );
    place.write(
        "rated.jsonl",
        &rated([(1, "second"), (2, "second"), (3, "second"), (4, "second")]),
    );
    let ran = judge(&place, &server, "--rated rated.jsonl");
    assert!(
        ran.stdout
            .contains("not corrected: people have rated rows of one kind"),
        "{}",
        ran.stdout
    );
    place.write("rated.jsonl", "{\"source\": 7}\n");
    let ran = judge(&place, &server, "--rated rated.jsonl");
    assert!(
        ran.code == 1 && ran.stderr.contains("rated.jsonl, line 1"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_server_that_refuses_stalls_or_talks_nonsense_loses_nothing() {
    let place = Place::new();
    evaluated(&place);
    // Busy at first: asked again as soon as it says.
    let busy = Server::start(|number, question| match number {
        0 => http("429 Too Many Requests", "retry-after: 0\r\n", ""),
        1 => http("200 OK", "", "<html>"),
        2 => http("200 OK", "", "{\"choices\": []}"),
        _ => prefers(question, "good"),
    });
    let ran = judge(&place, &busy, "--json --tries 4");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("answered 429; asking again in 0ns"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.json()["all"]["second"], 4);

    // Breaks down after five questions: what was judged is kept, and the rest is asked later.
    let breaks = Server::start(|number, question| match number {
        ..5 => prefers(question, "good"),
        5 => http(
            "401 Unauthorized",
            "",
            "{\"error\": {\"message\": \"no such key\"}}",
        ),
        _ => prefers(question, "good"),
    });
    let ran = judge(&place, &breaks, "--json");
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr
            .contains("rows.jsonl:3 was not judged, 2 before it were")
            && ran.stderr.contains("401: no such key"),
        "{}",
        ran.stderr
    );
    let ran = judge(&place, &breaks, "--json");
    assert_eq!((ran.code, breaks.asked()), (0, 11), "{}", ran.stderr);

    let silent = Server::start(|_, _| {
        std::thread::sleep(Duration::from_secs(30));
        String::new()
    });
    let ran = judge(&place, &silent, "--timeout 1 --tries 1");
    assert!(
        ran.code == 1 && ran.stderr.contains("nothing came within 1s"),
        "{}",
        ran.stderr
    );

    let long = Server::start(|_, _| http("200 OK", "", &"x".repeat(5 << 20)));
    let ran = judge(&place, &long, "--tries 1");
    assert!(
        ran.code == 1 && ran.stderr.contains("longer than"),
        "{}",
        ran.stderr
    );

    let refused = |more: &str, why: &str| {
        let ran = place.run(&format!("judge {more} --judge tester"));
        assert!(
            ran.code != 0 && ran.stderr.contains(why),
            "{more}: {}",
            ran.stderr
        );
    };
    refused("both --endpoint ftp://here", "no address of a server");
    refused(
        "both:base --endpoint http://127.0.0.1:9",
        "nothing to be compared with",
    );
    refused(
        "both --endpoint http://127.0.0.1:9 --tries 1",
        "gives no answer",
    );
}

#[test]
fn the_budget_ends_a_run_and_a_key_is_told_to_the_server_alone() {
    let place = Place::new();
    evaluated(&place);
    let server = Server::start(|_, question| prefers(question, "good"));
    let mut command = place.command(&format!(
        "judge both --endpoint {} --judge tester --budget 1700 --json --out judged",
        server.address
    ));
    let ran = command
        .env("OPENAI_API_KEY", "sk-secret-of-ours")
        .output()
        .unwrap();
    let (said, warned) = (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
    );
    assert!(
        warned.contains("the budget of 1700 tokens is spent") && warned.contains("of 6 rows"),
        "{warned}"
    );
    let heads = server.heads.lock().unwrap().concat();
    assert!(heads.contains("Bearer sk-secret-of-ours"));
    assert!(!(said + &warned).contains("sk-secret"));
    for dir in ["judged", "home/evaluations"] {
        for entry in std::fs::read_dir(place.path(dir)).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(!text.contains("sk-secret"));
        }
    }
}
