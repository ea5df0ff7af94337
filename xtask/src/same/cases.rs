//! What is run to see whether a change changed anything: families, methods, optimizers, base formats, and every way out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// Something that a user does, in a directory of its own.
pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
}

/// One thing after another.
pub enum Step {
    /// Arguments of `hone`; words in capitals stand for paths ([`Inputs::real`]).
    Hone(String),
    /// Paths that are removed, as a user does who wants room, or as a crash leaves them.
    Remove(&'static [&'static str]),
}

/// A short training, one thread, so that what is measured is the change and not the machine.
const TRAIN: &str = "train -q --threads 1 --batch-size 8 --save-every 1 --out out";

/// Ways to train on the fixture model with its own chat template.
const TRAININGS: [(&str, &str); 30] = [
    ("lora", ""),
    ("lora of two targets", "--targets q_proj,v_proj --rank 8"),
    ("rslora", "--rslora"),
    ("lora plus", "--lora-plus 8"),
    ("dora", "--dora"),
    ("pissa", "--init pissa"),
    ("olora", "--init olora"),
    ("loftq", "--method qlora --init loftq"),
    ("ia3", "--ia3"),
    ("qlora", "--method qlora"),
    (
        "ranks by pattern",
        "--rank-pattern down_proj=4 --alpha-pattern down_proj=16",
    ),
    ("without a target", "--exclude k_proj"),
    ("upper layers", "--layers 1-"),
    ("dropout", "--dropout 0.1 --accumulate 2"),
    ("biases", "--model BIASED --bias all"),
    ("embedding whole", "--whole embed_tokens"),
    ("layer whole", "--whole layers.1"),
    ("token rows", "--token-rows 5,6"),
    ("new tokens", "--new-tokens <begin>,<finish>"),
    ("adamw8bit", "--optimizer adamw8bit"),
    ("paged adamw", "--optimizer paged-adamw"),
    ("paged adamw8bit", "--optimizer paged-adamw8bit"),
    (
        "linear, decayed, clipped",
        "--schedule linear --weight-decay 0.1 --clip 0.5",
    ),
    (
        "constant, warmed up",
        "--schedule constant --warmup-ratio 0.5",
    ),
    ("bf16 activations", "--activations bf16"),
    ("saved as bf16", "--save-dtype bf16"),
    ("saved as f16", "--save-dtype f16"),
    ("tied head", "--model TIED"),
    ("in shards", "--model SHARDED"),
    ("gguf base", "--model GGUF"),
];

/// Forms of a GGUF file that is written, then trained on.
const GGUF_TYPES: [&str; 9] = [
    "f32", "f16", "bf16", "q8_0", "q5_0", "q5_1", "q4_0", "q4_1", "q4_k_m",
];

/// Ways out for an adapter.
const WAYS_OUT: [(&str, &str); 6] = [
    ("merge", "merge"),
    ("merge into f32", "merge --dtype f32"),
    ("export to hf", "export --to hf"),
    ("export a gguf adapter", "export --to gguf-adapter"),
    ("export to ollama", "export --to ollama"),
    ("export to mlx", "export --to mlx"),
];

const COMBINATIONS: [&str; 7] = [
    "linear",
    "svd",
    "cat",
    "ties",
    "dare-linear",
    "dare-ties",
    "magnitude-prune",
];

/// Files that the cases read.
pub struct Inputs {
    fixtures: PathBuf,
    dir: PathBuf,
}

impl Inputs {
    /// Writes rows and gives each family of the fixtures a tokenizer: they carry none, for they are made to compare
    /// logits.
    pub fn write(root: &Path, dir: &Path) -> Result<Self> {
        let fixtures = root.join("fixtures");
        let row = |n: usize| {
            let (first, second) = (n, n % 7);
            json!({"prompt": format!("what is {first}+{second}?"), "completion": format!("it is {}", first + second)})
        };
        let rows = (0..24).map(|n| format!("{}\n", row(n)));
        fs::create_dir_all(dir)?;
        fs::write(dir.join("rows.jsonl"), rows.collect::<String>())?;
        let inputs = Self {
            fixtures,
            dir: dir.to_path_buf(),
        };
        for family in inputs.families()? {
            let to = inputs.dir.join("families").join(&family);
            fs::create_dir_all(&to)?;
            for name in ["config.json", "model.safetensors"] {
                let from = inputs.fixtures.join("families").join(&family).join("base");
                fs::copy(from.join(name), to.join(name))
                    .with_context(|| format!("{name} of the fixture family {family}"))?;
            }
            fs::write(to.join("tokenizer.json"), letters().to_string())?;
            let template = "{% for turn in messages %}{{ turn.content }}{{ '<end>' if turn.role == 'assistant' else '>' }}{% endfor %}";
            let config = json!({"eos_token": "<end>", "chat_template": template});
            fs::write(to.join("tokenizer_config.json"), config.to_string())?;
        }
        Ok(inputs)
    }

    /// The families that have a base among the fixtures.
    fn families(&self) -> Result<Vec<String>> {
        names(&self.fixtures.join("families"), "base/config.json")
    }

    /// The words of a command line, with paths in the place of words in capitals.
    pub fn real(&self, line: &str) -> Vec<String> {
        let models = self.fixtures.join("models");
        let real = |word: &str| {
            let path = match word.split_once(':').unwrap_or((word, "")) {
                ("BASE", _) => models.join("tiny-llama-untied"),
                ("TIED", _) => models.join("tiny-llama-tied"),
                ("BIASED", _) => models.join("tiny-llama-bias"),
                ("SHARDED", _) => models.join("tiny-llama-untied-sharded"),
                ("GGUF", _) => models.join("tiny-llama.gguf"),
                ("ROWS", "") => self.dir.join("rows.jsonl"),
                ("ROWS", name) => self.fixtures.join("rows").join(name),
                ("FAMILY", name) => self.dir.join("families").join(name),
                ("ADAPTER", name) => self.fixtures.join("adapters").join(name),
                _ => return word.to_owned(),
            };
            path.display().to_string()
        };
        line.split_whitespace().map(real).collect()
    }

    /// All cases.
    pub fn cases(&self) -> Result<Vec<Case>> {
        let case = |name: String, steps: Vec<Step>| Case { name, steps };
        let mut cases = Vec::new();
        for family in self.families()? {
            let model = format!("--model FAMILY:{family}");
            cases.push(case(
                format!("family {family}"),
                vec![
                    Step::Hone(format!("{TRAIN} {model} --data ROWS")),
                    Step::Hone(format!(
                        "eval -q --json --threads 1 {model} --adapter out/adapter --data ROWS"
                    )),
                    Step::Hone(format!(
                        "merge -q --json --threads 1 {model} --adapter out/adapter --out merged"
                    )),
                ],
            ));
        }
        for (name, flags) in TRAININGS {
            // The model of a case is the last that is named.
            let model = match flags.strip_prefix("--model ") {
                Some(rest) => rest.split_whitespace().next().unwrap_or_default(),
                None => "BASE",
            };
            let flags = flags.trim_start_matches(&format!("--model {model}"));
            cases.push(case(
                format!("train, {name}"),
                vec![
                    Step::Hone(format!("{TRAIN} --model {model} --data ROWS {flags}")),
                    Step::Hone(format!("eval -q --json --threads 1 --model {model} --adapter out/adapter --data ROWS")),
                ],
            ));
        }
        cases.push(case(
            "resume".to_owned(),
            vec![
                Step::Hone(format!(
                    "{TRAIN} --model BASE --data ROWS --optimizer adamw8bit --dropout 0.1"
                )),
                Step::Remove(&["out/checkpoints/step-00000003", "out/last", "out/adapter"]),
                Step::Hone(format!(
                    "{TRAIN} --model BASE --data ROWS --optimizer adamw8bit --dropout 0.1 --resume"
                )),
            ],
        ));
        let adapter = "--model BASE --adapter ADAPTER:tiny-llama-untied";
        for (name, line) in WAYS_OUT {
            cases.push(case(
                name.to_owned(),
                vec![Step::Hone(format!(
                    "{line} -q --json --threads 1 {adapter} --out written"
                ))],
            ));
        }
        for form in GGUF_TYPES {
            cases.push(case(
                format!("gguf {form}"),
                vec![
                    Step::Hone(format!("export --to gguf --type {form} -q --json --threads 1 {adapter} --out written")),
                    Step::Hone(format!("{TRAIN} --model written/model.gguf --data ROWS")),
                ],
            ));
        }
        for kind in COMBINATIONS {
            cases.push(case(
                format!("combine, {kind}"),
                vec![Step::Hone(format!(
                    "adapter combine -q --json --kind {kind} --density 0.5 --out written ADAPTER:tiny-llama-untied ADAPTER:tiny-llama-untied-rslora"
                ))],
            ));
        }
        for name in names(&self.fixtures.join("adapters"), "adapter_config.json")? {
            let model = ["tied", "bias"]
                .iter()
                .find(|kind| name.starts_with(&format!("tiny-llama-{kind}")));
            let model = match model {
                Some(&"tied") => "TIED",
                Some(_) => "BIASED",
                None => "BASE",
            };
            cases.push(case(
                format!("adapter {name}"),
                vec![
                    Step::Hone(format!("adapter check --json ADAPTER:{name} --model {model}")),
                    Step::Hone(format!("generate -q --threads 1 --temperature 0 --max-tokens 8 --model {model} --adapter ADAPTER:{name} --prompt hello")),
                    Step::Hone(format!("merge -q --json --threads 1 --model {model} --adapter ADAPTER:{name} --out merged")),
                ],
            ));
        }
        for name in ["chats.jsonl", "calls.parquet", "pairs.jsonl"] {
            cases.push(case(
                format!("dataset of {name}"),
                vec![Step::Hone(format!("data build -q --json --from ROWS:{name} --valid-share 0.2 --rule personal-data=redact --out written"))],
            ));
        }
        Ok(cases)
    }
}

/// The folders that hold a file, sorted.
fn names(folder: &Path, file: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().join(file).exists() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// A tokenizer of printable ASCII, one token for each character: as many as the families' 96 rows, with an end.
fn letters() -> Value {
    let token = |id: u8| match id {
        0 => "Ġ".to_owned(),
        id => char::from(b' ' + id).to_string(),
    };
    let mut vocabulary: Map<String, Value> = (0..95).map(|id| (token(id), json!(id))).collect();
    vocabulary.insert("<end>".to_owned(), json!(95));
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{
            "id": 95, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        }],
        "pre_tokenizer": bytes, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}
