//! `hone eval --task`: tasks as files, for a base and an adapter, and what is wrong with a file in one line.

use crate::command::{Place, fixtures};
use serde_json::Value;

/// A task of two choices, with its rows.
fn capitals(place: &Place) {
    let rows: Vec<String> = (0..8)
        .map(|i| {
            format!(
                r#"{{"n":{i},"choices":["It is {i}.","No."],"right":{},"half":"{}"}}"#,
                i % 2,
                i / 4
            )
        })
        .collect();
    place.write("rows-of-task.jsonl", &rows.join("\n"));
    place.write(
        "numbers.toml",
        "version = 3\nkind = \"multiple_choice\"\nrows = \"rows-of-task.jsonl\"\nprompt = \"Say the number {{ n }}\"\n\
         choices = \"choices\"\ntarget = \"right\"\nmetrics = [\"acc\", \"acc_norm\"]\n",
    );
}

fn trained(place: &Place) {
    place.examples("rows.jsonl", 16);
    place.ok("train --model {tied} --data rows.jsonl --lr 1e-2 --max-length 256 --out run");
}

#[test]
fn a_task_is_put_to_base_and_adapter_and_kept() {
    let place = Place::new();
    trained(&place);
    capitals(&place);
    place.write(
        "say.toml",
        "name = \"say\"\nkind = \"generate_until\"\nrows = \"rows-of-task.jsonl\"\nmessages = [{role = \"user\", content = \"Say the number {{ n }}\"}]\n\
         target = \"It is {{ n }}.\"\nmetrics = [\"exact_match\", \"rougeL\"]\n[generation]\nmax-tokens = 8\n",
    );
    let eval = "eval --model {tied} --adapter run/adapter --task numbers.toml --task say.toml";
    let ran = place.ok(&format!("{eval} --out report"));
    let table: Vec<&str> = ran.stdout.lines().collect();
    let lines = |start: &str| table.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((lines("numbers "), lines("say ")), (2, 2), "{}", ran.stdout);
    assert!(ran.stdout.contains("acc_norm"), "{}", ran.stdout);
    assert!(
        ran.stderr.contains("numbers, version 3: 8 questions"),
        "{}",
        ran.stderr
    );
    let seen = "the adapter was trained on the prompts of 6 of these 8 rows of say";
    assert!(ran.stderr.contains(seen), "{}", ran.stderr);
    assert!(ran.stdout.contains("say: contaminated: "), "{}", ran.stdout);

    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    let report: Value = serde_json::from_str(&read("report/report.json")).unwrap();
    let task = &report["task_files"][0];
    assert_eq!(
        (&task["task"], &task["version"]),
        (&"numbers".into(), &"3".into())
    );
    let score = &task["scores"][0];
    assert_eq!(score["metric"]["name"], "acc");
    for key in ["value", "standard_error", "interval"] {
        assert!(
            !score["base"][key].is_null() && !score["tuned"][key].is_null(),
            "{score}"
        );
    }
    assert!(score["difference"]["p"].is_number(), "{score}");
    let answers: Vec<Value> = read("report/answers.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 16);
    let first = &answers[0];
    assert_eq!(first["prompt"], "Say the number 0");
    assert_eq!(first["target"][0], "It is 0.");
    let likelihoods = first["tuned"]["log_likelihoods"].as_array().unwrap();
    let better = likelihoods[0].as_f64() > likelihoods[1].as_f64();
    assert_eq!(first["tuned"]["scores"]["acc"], f64::from(u8::from(better)));
    assert!(
        answers[8]["tuned"]["answers"][0].is_string(),
        "{}",
        answers[8]
    );
    assert_eq!(answers[8]["prompt"][0]["content"], "Say the number 0");

    // What was said is kept, and does not depend on slots and threads.
    let again = place.ok(&format!("{eval} --json"));
    assert_eq!(again.json()["task_files"], report["task_files"]);
    let kept = again
        .stderr
        .matches("answers of an earlier evaluation")
        .count();
    assert_eq!(kept, 4, "{}", again.stderr);
    let fresh = place.ok(&format!("{eval} --json --fresh --slots 1 --threads 1"));
    assert_eq!(fresh.json()["task_files"], report["task_files"]);

    // Beside rows, in one table.
    let both = place.ok(&format!("{eval} --data rows.jsonl --max-tokens 4 --rows 4"));
    for start in ["even ", "odd ", "numbers ", "say "] {
        assert!(
            both.stdout.lines().any(|line| line.starts_with(start)),
            "{}",
            both.stdout
        );
    }
    assert!(
        both.stderr.contains("numbers: 4 of 8 questions"),
        "{}",
        both.stderr
    );
}

#[test]
fn a_task_file_of_lm_evaluation_harness_is_read_as_it_is() {
    let place = Place::new();
    let file = fixtures().join("tasks/choices.yaml").display().to_string();
    let ran = place.ok(&format!("eval --model {{tied}} --task {file} --json"));
    let task = &ran.json()["task_files"][0];
    assert_eq!(task["task"], "choices");
    let acc = task["scores"][0]["base"]["value"].as_f64().unwrap();
    assert!((acc - 1.0 / 3.0).abs() < 1e-9, "{task}");
    let table = place.ok(&format!("eval --model {{tied}} --task {file}"));
    let line = table
        .stdout
        .lines()
        .find(|line| line.contains("acc_norm"))
        .unwrap();
    assert!(line.contains("0.167 ± 0.112 ("), "{line}");
}

#[test]
fn what_is_wrong_with_a_task_is_one_line_before_a_model_is_opened() {
    let place = Place::new();
    capitals(&place);
    let toml = std::fs::read_to_string(place.path("numbers.toml")).unwrap();
    let yaml = "task: why\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows-of-task.jsonl}}\ntest_split: test\n\
                output_type: multiple_choice\ndoc_to_text: \"{{n}}\"\ndoc_to_choice: choices\ndoc_to_target: right\n";
    let error = |name: &str, text: &str| {
        place.write(name, text);
        let error = place.refusal(&format!("eval --model nowhere --task {name}"));
        assert!(error.lines().next().unwrap().len() < 300, "{error}");
        error
    };
    let starts = |name: &str, text: &str, start: &str| {
        let error = error(name, text);
        assert!(error.starts_with(start), "{error}\n{start}");
        error
    };
    let changed = |from: &str, to: &str| {
        assert!(toml.contains(from), "{from}");
        toml.replace(from, to)
    };
    let near = starts(
        "a.toml",
        &changed("choices =", "choises ="),
        "error: a.toml: unknown key `choises`",
    );
    assert!(near.contains("hint: did you mean `choices`?"), "{near}");
    starts(
        "b.toml",
        &changed("{{ n }}", "{{ m }}"),
        "error: rows-of-task.jsonl:1: `prompt` makes nothing of the row: it reads `m`, which the row has not",
    );
    let endless =
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}";
    starts(
        "c.toml",
        &changed("{{ n }}", endless),
        "error: rows-of-task.jsonl:1: `prompt` makes nothing of the row: ",
    );
    let large = "{% set ns = namespace(a='x' * 1000) %}{% for i in range(30) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}";
    starts(
        "d.toml",
        &changed("{{ n }}", large),
        "error: rows-of-task.jsonl:1: `prompt` makes nothing of the row: ",
    );
    starts(
        "e.toml",
        &changed("{{ n }}", "{{ n"),
        "error: e.toml: `prompt`: it is no Jinja: ",
    );
    starts(
        "f.toml",
        &changed("\"right\"", "\"{{ n + 1 }}\""),
        "error: rows-of-task.jsonl:2: `target` is 2: choices are from 0 to 1",
    );
    starts(
        "g.toml",
        &changed("\"choices\"", "[]"),
        "error: rows-of-task.jsonl:1: `choices` gives no choices",
    );
    starts(
        "h.toml",
        &changed("\"choices\"", "\"half\""),
        "error: rows-of-task.jsonl:1: `choices` gives no list: ",
    );
    starts(
        "i.toml",
        &changed("rows-of-task.jsonl", "row-of-task.jsonl"),
        "error: row-of-task.jsonl: ",
    );
    starts(
        "j.toml",
        &changed("multiple_choice", "choice"),
        "error: j.toml: `kind` is `choice`, which is no kind of task",
    );
    starts(
        "k.toml",
        &changed("acc_norm", "f1"),
        "error: k.toml: `metrics[1].name` names the metric `f1`",
    );
    starts(
        "l.toml",
        &format!("{toml}target = 2"),
        "error: l.toml: line ",
    );
    starts(
        "m.toml",
        &format!("{toml}[generation]\nmax-tokens = 3"),
        "error: m.toml: `generation` is for tasks of kind generate_until",
    );
    starts(
        "n.toml",
        &format!("{toml}[few-shot]\nnumber = 9"),
        "error: n.toml: `few-shot` asks for 9 examples, and there are 8 rows",
    );
    starts("o.txt", &toml, "error: o.txt is no task");
    starts(
        "a.yaml",
        &format!("{yaml}process_docs: !function utils.process"),
        "error: a.yaml: `process_docs` is the Python function `utils.process`",
    );
    starts(
        "b.yaml",
        &yaml.replace("dataset_path: json", "dataset_path: allenai/ai2_arc"),
        "error: b.yaml: `dataset_path` is `allenai/ai2_arc`, and Hone reads files of this machine",
    );
    starts(
        "c.yaml",
        "include: c.yaml\ntask: c",
        "error: c.yaml: includes itself",
    );
    place.write("e1.yaml", "include: d.yaml");
    starts(
        "d.yaml",
        "include: e1.yaml",
        "error: d.yaml: includes itself",
    );
    starts(
        "f.yaml",
        &format!("{yaml}a: &a [x, x]\nb: &b [*a, *a]\n"),
        "error: f.yaml: unknown key `a`",
    );
    starts(
        "g.yaml",
        &format!("{yaml}filter_list:\n- name: f\n  filter:\n  - function: custom\n"),
        "error: g.yaml: `filter_list[0].filter[0].function` names the filter `custom`",
    );
    starts(
        "h.yaml",
        &yaml.replace("test_split: test", "test_split: tset"),
        "error: h.yaml: `dataset_kwargs` names no file for the split `tset`",
    );
    starts(
        "i.yaml",
        &format!("{yaml}num_fewshot: 2"),
        "error: i.yaml: `fewshot_split` is missing",
    );
    starts("j.yaml", "task: [a, b]", "error: j.yaml: `task` is no name");
    starts("k.yaml", "- a", "error: k.yaml: is no table of keys");
    starts("l.yaml", "a: [", "error: l.yaml: is no YAML: ");
    let missing = place.refusal("eval --model nowhere --task number.toml");
    assert!(
        missing.starts_with("error: cannot read the task number.toml: "),
        "{missing}"
    );
    assert!(missing.contains("numbers.toml"), "{missing}");
    let twice = place.refusal("eval --model nowhere --task numbers.toml --task numbers.toml");
    assert!(
        twice.starts_with("error: two tasks are called `numbers`"),
        "{twice}"
    );
    let metric = place.refusal("eval --model nowhere --task numbers.toml --metric bleu");
    assert!(
        metric.starts_with("error: --metric is about the rows of --data"),
        "{metric}"
    );
}

#[test]
#[cfg(unix)]
fn a_command_scores_answers_and_may_fail_on_some() {
    let place = Place::new();
    trained(&place);
    // Right is what has the reference in it; row 3 takes for ever.
    let script = "read -r row; case \"$row\" in *'number 3\"'*) sleep 60;; *'number 5\"'*) cat /dev/zero;; *number*) echo 0.5;; esac";
    place.write("score.sh", script);
    let eval = "eval --model {tied} --adapter run/adapter --data rows.jsonl --max-tokens 3";
    let ran = place.ok(&format!(
        "{eval} --scorer 'sh score.sh' --scorer-seconds 1 --out report"
    ));
    let line = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("odd ") && line.contains("scorer"));
    let line = line.unwrap_or_else(|| panic!("{}", ran.stdout));
    // Six of eight odd rows have 0.5.
    assert!(
        line.contains(" 0.375 ") && line.contains("unclear"),
        "{line}"
    );
    let told = "base: the scorer failed on 2 of 16 answers, which count as 0; the first: ";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("rows.jsonl:4: it ran for more than 1 s"),
        "{}",
        ran.stderr
    );
    let report = std::fs::read_to_string(place.path("report/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["metrics"]["even"][0]["base"]["value"], 0.5);

    let error = place.refusal(&format!("{eval} --scorer 'sh -c \"echo fine\"'"));
    let whole =
        "error: the scorer `sh -c echo fine` said `fine`, which is no number (rows.jsonl:1)\n";
    assert!(error.starts_with(whole), "{error}");
    let error = place.refusal(&format!("{eval} --scorer ./no-such-program"));
    assert!(
        error.starts_with("error: the scorer `./no-such-program` begins with no program"),
        "{error}"
    );

    // A task names a command beside it.
    capitals(&place);
    std::fs::create_dir(place.path("own")).unwrap();
    place.write("own/right.sh", "grep -q '\"target\":\\[\"It is 1.\"\\]'\n");
    place.write(
        "own/say.toml",
        "kind = \"generate_until\"\nrows = \"../rows-of-task.jsonl\"\nprompt = \"{{ n }}\"\ntarget = \"It is {{ n }}.\"\nmetrics = []\nscorer = \"sh right.sh\"\n[generation]\nmax-tokens = 2\n",
    );
    let ran = place.ok("eval --model {tied} --task own/say.toml --json");
    let score = &ran.json()["task_files"][0]["scores"][0];
    assert_eq!(
        (&score["metric"]["name"], &score["base"]["value"]),
        (&"scorer".into(), &0.125.into())
    );
}

#[test]
fn parts_of_rows_and_questions_have_scores_of_their_own() {
    let place = Place::new();
    trained(&place);
    capitals(&place);
    let eval = "eval --model {tied} --adapter run/adapter --task numbers.toml --data rows.jsonl --max-tokens 3";
    let ran = place.ok(&format!("{eval} --by half --by length --out report"));
    let lines = |start: &str| {
        ran.stdout
            .lines()
            .filter(|line| line.starts_with(start))
            .count()
    };
    assert_eq!(
        (lines("numbers, half 0"), lines("numbers, half 1")),
        (2, 2),
        "{}",
        ran.stdout
    );
    assert_eq!(lines("length 1: up to 10 words"), 3, "{}", ran.stdout);
    let told = "by half: 4 more lines, of which one in 20 is told to differ by chance alone; they are not corrected for that";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let report = std::fs::read_to_string(place.path("report/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let halves = &report["by"]["half"]["task_files"];
    let acc = |half: &str| halves[format!("numbers, half {half}")][0]["base"].clone();
    let whole = report["task_files"][0]["scores"][0]["base"]["value"]
        .as_f64()
        .unwrap();
    assert_eq!(
        (acc("0")["rows"].as_u64(), acc("1")["rows"].as_u64()),
        (Some(4), Some(4))
    );
    let mean = (acc("0")["value"].as_f64().unwrap() + acc("1")["value"].as_f64().unwrap()) / 2.0;
    assert!((mean - whole).abs() < 1e-12);
    let one = place.ok("eval --model {tied} --task numbers.toml --by half");
    assert!(one.stdout.contains("numbers, half 1"), "{}", one.stdout);
    let error = place.refusal(&format!("{eval} --by halve"));
    assert!(
        error.starts_with("error: --by halve: no row of a task has such a key"),
        "{error}"
    );
}
