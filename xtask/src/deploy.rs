//! The proof by others: llama.cpp and transformers read what Hone exports, and answer as it does.
//!
//! Tiny models of every family with adapters; tokens of a SentencePiece vocabulary; conversations in chat templates of every
//! kind, as transformers writes them and as Go does from a Modelfile; and twenty prompts to the real base
//! (`hone pull smollm2-135m-instruct`; without it that part is left out with a line that says so). llama-cpp-python is
//! installed in an environment of its own. Nothing here runs in CI.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::python::{
    environment, llama_cpp_environment, output, release_binary, run, write_families,
};

const BASE: &str = "smollm2-135m-instruct";

const VARIANTS: [&str; 3] = ["plain", "rslora", "patterns"];

const PROMPTS: [&str; 20] = [
    "What is the capital of Portugal?",
    "Name three rivers in Europe.",
    "Write a short poem about rain.",
    "Explain what a compiler does.",
    "How many days are in a leap year?",
    "Give me a recipe for pancakes.",
    "What does the word brisk mean?",
    "Translate good morning to Spanish.",
    "Why do leaves fall in autumn?",
    "Tell me a story about a fox.",
    "List the planets of the solar system.",
    "What is 12 times 12?",
    "Describe a lighthouse in one sentence.",
    "How do magnets work?",
    "Write a function that adds two numbers in Python.",
    "What should I pack for a hike?",
    "Who was Marie Curie?",
    "Suggest a name for a small boat.",
    "What is the difference between rain and snow?",
    "Summarise the story of the tortoise and the hare.",
];

/// Who reads what is written, and its interpreter.
struct Reader {
    program: &'static str,
    python: PathBuf,
}

/// Exports models and adapters, and asks others for their answers.
pub fn deploy(root: &Path) -> Result<()> {
    let hone = release_binary(root)?;
    let llama_cpp = llama_cpp_environment(root)?;
    let transformers = environment(root)?;
    let work = root.join("target/deploy");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let prompts = work.join("prompts.txt");
    fs::write(&prompts, PROMPTS.join("\n"))?;
    write_families(root, &work.join("families"))?;
    let mut families = Command::new(&llama_cpp);
    families.arg(root.join("fixtures/scripts/llama_cpp_families.py"));
    run(families.arg(work.join("families")))?;
    same_tokens(root, &hone, &work, [&transformers, &llama_cpp])?;
    let mut forms = Command::new(&transformers);
    forms.arg(root.join("fixtures/scripts/exported_forms.py"));
    forms
        .arg(&hone)
        .arg(root.join("fixtures/models/tiny-llama-untied"));
    run(forms.arg(work.join("forms")))?;

    let base = work.join("base");
    if !is_pulled(&hone)? {
        println!("skipped: {BASE} is not on this machine; `hone pull {BASE}` fetches it");
        return Ok(());
    }
    // In f32, so that llama.cpp computes with the same numbers: for 4-bit weights it rounds activations too.
    let mut gguf = Command::new(&hone);
    run(gguf
        .args([
            "export", "--to", "gguf", "--type", "f32", "--model", BASE, "--quiet", "--out",
        ])
        .arg(&base))?;
    let base = base.join("model.gguf");
    let hf = work.join("hf");
    run(Command::new(&hone)
        .args(["export", "--to", "hf", "--model", BASE, "--quiet", "--out"])
        .arg(&hf))?;
    let mut make = Command::new(&transformers);
    run(make
        .arg(root.join("fixtures/scripts/deploy_adapters.py"))
        .arg(hf.join("config.json"))
        .arg(&work))?;

    let mut all_same = true;
    let llama_cpp = Reader {
        program: "llama-cpp-python",
        python: llama_cpp,
    };
    let transformers = Reader {
        program: "transformers",
        python: transformers,
    };
    let forms = [
        ("gguf-adapter", &base, &llama_cpp),
        ("gguf", &base, &llama_cpp),
        ("hf", &hf, &transformers),
    ];
    for variant in VARIANTS {
        for (form, base, reader) in forms {
            let out = work.join(format!("{variant}-{form}"));
            let mut export = Command::new(&hone);
            export.args(["export", "--to", form, "--type", "f32", "--json", "--quiet"]);
            export.args(["--keep-anyway", "--verify-with", reader.program]);
            export.env("HONE_PYTHON", &reader.python);
            export.arg("--model").arg(base);
            export.arg("--adapter").arg(work.join(variant));
            export.arg("--prompts").arg(&prompts);
            export.arg("--out").arg(&out);
            all_same &= report(variant, form, &output(&mut export)?)?;
            fs::remove_dir_all(out)?;
        }
    }
    ensure!(
        all_same,
        "what others make of an export differs from what was trained"
    );
    Ok(())
}

/// Lets llama.cpp tokenize with the exported vocabulary of a SentencePiece model, beside the `tokenizers` package.
fn same_tokens(root: &Path, hone: &Path, work: &Path, pythons: [&PathBuf; 2]) -> Result<()> {
    let (model, texts, out) = (
        work.join("sentencepiece"),
        work.join("prompts.txt"),
        work.join("sentencepiece-gguf"),
    );
    let scripts = root.join("fixtures/scripts");
    let mut make = Command::new(pythons[0]);
    make.arg(scripts.join("sentencepiece_model.py"));
    make.arg(root.join("fixtures/models/tiny-llama-untied"));
    run(make.arg(&model).arg(&texts))?;
    let mut export = Command::new(hone);
    export.args(["export", "--to", "gguf", "--type", "f32", "--quiet"]);
    run(export.arg("--model").arg(&model).arg("--out").arg(&out))?;
    let mut ask = Command::new(pythons[1]);
    ask.arg(scripts.join("llama_cpp_tokens.py"));
    run(ask.arg(out.join("model.gguf")).arg(model.join("ids.json")))
}

fn is_pulled(hone: &PathBuf) -> Result<bool> {
    let asked = Command::new(hone)
        .args(["logits", "--model", BASE, "--ids", "1"])
        .output()?;
    Ok(asked.status.success())
}

/// One line; whether everything was the same.
fn report(variant: &str, form: &str, answer: &str) -> Result<bool> {
    let last = answer.lines().last().unwrap_or_default();
    let said: Value =
        serde_json::from_str(last).with_context(|| format!("`hone export` said {answer:?}"))?;
    let parity = &said["parity"];
    let Some(other) = parity["others"].get(0) else {
        println!("{variant:9} {form:13} was not read by anybody else");
        return Ok(false);
    };
    let same = &other["same_continuations"];
    println!(
        "{variant:9} {form:13} {}: {} of {} continuations the same, mean KL {:.1e} nats, top-1 agreement {:.2} %, greatest logit \
         difference {:.1e}; read back by Hone: mean KL {:.1e}",
        other["program"].as_str().unwrap_or_default(),
        same[0],
        same[1],
        number(&other["mean_kl"]),
        100.0 * number(&other["top1_agreement"]),
        number(&other["max_logit_difference"]),
        number(&parity["mean_kl"])
    );
    Ok(same[0] == same[1] && other["holds"] == true && parity["holds"] == true)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
