//! The options of `hone train`, each in one place: what it is called, what it does, what it is where nobody says, which
//! values make sense, whether it may change when a run goes on, and what other programs call it.
//!
//! Flags, keys of a run file, decided values, the lines of a plan, `run.json`, `docs/options.md` and the answers to names of
//! other programs are made of this table; `table.rs` says how. An entry reads
//!
//! ```text
//! /// What it does, as help and docs/options.md say it
//! #[arg(…)]                                what clap has to know beside the name, if anything
//! name "VALUE": Type = default, origin;    without a default it stays open: an `Option`
//!     otherwise "…"                        what an option that is left open comes to
//!     range "…", |value, all| …            what a value that was given has to be, if not any will do
//!     a fact                               a line about something else tells of it: a plan does not list it
//!     on resume Kind "…"                   why it may be another one with --resume; without this it may not
//!     example …                            a value that changes what a run computes, as in a run file
//!     elsewhere "…", "…"                   names that other programs have for it, and what is different about them
//! ```
//!
//! Defaults are worked out when nothing is known but what was `given` and the `machine`. Of these, only `clap`'s derive sees
//! the attributes; a list is a repeated flag or, with a delimiter, one flag with commas.

use super::chosen::{Chosen, Origin};
use super::error::SettingError;
use super::table::{
    OnResume, OptionInfo, ResumeKind, as_typed, dashed, lacking, named, one_of, options, or_none,
    out_of_range,
};
use super::values::{BaseFacts, Machine, Method, Own, Shortcut, Size};
use crate::curation::RuleFlag;
use crate::data_flags::{ColumnFlag, SideFlag, nulls};
use hone_data::{DEFAULT_MAX_LENGTH, Nulls, TooLong};
use hone_model::{Activations, Initial, LayerRange, SaveDtype, TrainedBias};
use hone_text::{Date, TemplateOption};
use hone_train::{OptimizerKind, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::LazyLock;

options! { |given, machine|
"Model and data" {
    /// Base model: a directory, a .gguf file, a built-in name, or a hub id
    model "M": String = lacking("model", "for a start: --model smollm2-135m-instruct")?;
        a fact;
        on resume Place "where the base lies; what it is counts";
        example "smollm2-135m-instruct";
        elsewhere "model_name_or_path model_name model_id model_path base_model base_model_name_or_path base pretrained_model_name_or_path hf_model";

    /// Chat template: a name that the model has for one, `instruction`, `chatml`, or a .jinja file
    chat_template "TEMPLATE": String;
        otherwise "the model's own";
        a fact;
        on resume Place "where the template lies; what it is counts";
        example "chatml";
        elsewhere "template prompt_template chat_template_path jinja_template";

    /// What the chat template reads beside the turns, such as enable_thinking=false: JSON or text; may be given more than once
    template_option "NAME=VALUE": Vec<TemplateOption> = vec![];
        example ["enable_thinking=false"];
        elsewhere "chat_template_kwargs default_chat_template_kwargs chat_template_args template_kwargs", "one NAME=VALUE each, such as --template-option enable_thinking=false";
        elsewhere "enable_thinking reasoning_effort", "such as --template-option enable_thinking=false, where the chat template reads that name";

    /// Day that the chat template prints, where it prints one, as 2026-11-30
    date "DATE": Date;
        otherwise "today";
        a fact;
        example "2026-11-30";

    /// Dataset directory of `hone data build`, or files and folders of rows in any form that it reads; of folders with sides, train is trained on and validation evaluated on
    #[arg(num_args = 1..)]
    data "F": Vec<PathBuf> = lacking("data", "a JSONL file of examples: --data examples.jsonl")?;
        range "at least one file", |files, _| !files.is_empty();
        a fact;
        on resume Place "where the rows lie; what they are counts";
        example ["rows.jsonl"];
        elsewhere "dataset datasets dataset_name dataset_path dataset_dir train_file train_data train_dataset data_path data_files train_files input", "it takes files and folders";

    /// File of the validation set, in place of a validation side of --data or a share of it
    valid "F": PathBuf;
        a fact;
        on resume Place "where the rows of the validation set lie; what they are counts";
        example "validation.jsonl";
        elsewhere "eval_dataset val_dataset validation_file valid_file val_data eval_file test_datasets";

    /// Share of the data held out where neither --valid nor a validation side of --data is the validation set
    valid_share "SHARE": f64 = 0.05;
        range "at least 0 and below 1", |share, _| (0.0..1.0).contains(share);
        a fact;
        example 0.3;
        elsewhere "val_set_size val_size test_size split_dataset_ratio validation_split eval_split", "a share of the rows, never a count";

    /// Split rows that come as train and validation rows anew, with what belongs together on one side
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    regroup "BOOL": bool = false;
        example true;

    /// A field that stands in a column of another name, such as prompt=question; may be given more than once
    column "FIELD=COLUMN": Vec<ColumnFlag> = vec![];
        example ["prompt=question"];

    /// Which side a file or a split of a folder is: train, valid, test or skip, such as forget=train
    side "NAME=SIDE": Vec<SideFlag> = vec![];
        example ["forget=train"];

    /// Configuration of a folder's README.md, or dataset of its dataset_info.json
    config "NAME": Vec<String> = vec![];
        example ["default"];

    /// What to do about what a rule or a family of rules sees in files, such as personal-data=redact or leak=drop
    rule "RULE=ACTION": Vec<RuleFlag> = vec![];
        example ["exact-duplicate=drop"];

    /// Key of a row that is passed over whatever it holds; turn.KEY for keys of turns
    ignore_key "KEY": Vec<String> = vec![];
        example ["note"];

    /// What null properties of tool calls and tools are: keep or drop; rows of JSON that have one are refused without it
    #[arg(value_parser = nulls)]
    nulls "WHAT": Nulls;
        example "drop";
}
"Adapter" {
    /// lora keeps the base as stored, qlora holds it in 4-bit NF4
    method "METHOD": Method = Method::Lora;
        example "qlora";
        elsewhere "adapter_type finetuning_type fine_tune_type train_type tuner_type peft_type sft_type peft_method", "lora, or qlora for a base in 4 bits; --dora and --ia3 are options of their own";
        elsewhere "load_in_4bit quantization_bit quant_bits quantization use_qlora qlora bits use_bnb_nested_quant", "`qlora` holds the base in 4 bits (NF4); a base stored in fewer bits keeps them without it";

    /// Rank of the adapter
    rank "R": usize = 16;
        range "at least 1", |rank, _| *rank >= 1;
        example 4;
        elsewhere "r lora_r lora_rank lora_dim peft_r rank_dimension";

    /// Scale of the adapter, divided by its rank
    alpha "A": f64 = 32.0;
        range "above 0", |alpha, _| is_above_zero(*alpha);
        example 8;
        elsewhere "lora_alpha peft_lora_alpha";
        elsewhere "scale lora_scale", "mlx-lm's scale is alpha over rank, so --alpha is scale times rank";

    /// all-linear, or names such as q_proj,v_proj
    #[arg(value_delimiter = ',')]
    targets "NAMES": Vec<String> = owned(if given.is_ia3() { &IA3_TARGETS } else { &["all-linear"] });
        range "all-linear or names of layers", |targets, _| !targets.is_empty();
        example ["q_proj"];
        elsewhere "target_modules lora_target_modules lora_target lora_target_linear lora_modules keys linear_types", "`all-linear` is the default";

    /// Projections that get no adapter although --targets names them
    #[arg(value_delimiter = ',')]
    exclude "NAMES": Vec<String> = vec![];
        example ["q_proj"];
        elsewhere "exclude_modules lora_exclude_modules";

    /// Ranks that differ, such as down_proj=32,layers.0.self_attn.q_proj=4
    #[arg(value_delimiter = ',')]
    rank_pattern "NAME=R": Vec<Own> = vec![];
        range "a whole number of at least 1", |all, _| all.iter().all(|own| own.value >= 1.0 && own.value.fract() == 0.0);
        example ["q_proj=2"];

    /// Alphas that differ, written as --rank-pattern
    #[arg(value_delimiter = ',')]
    alpha_pattern "NAME=A": Vec<Own> = vec![];
        range "above 0", |all, _| all.iter().all(|own| own.value > 0.0);
        example ["q_proj=2"];

    /// Layers that get an adapter, such as 20-29 or 20-
    layers "RANGE": LayerRange;
        otherwise "all";
        example "1-";
        elsewhere "layers_to_transform peft_layers_to_transform lora_layers_to_transform", "a range such as 20-29";
        elsewhere "num_layers num_lora_layers lora_layers freeze_trainable_layers", "a range counted from the bottom: the last 16 of 30 layers are 14-";

    /// Share of adapter inputs dropped while training
    dropout "P": f64 = 0.0;
        range "at least 0 and below 1", |share, _| (0.0..1.0).contains(share);
        example 0.1;
        elsewhere "lora_dropout peft_lora_dropout";

    /// Divide alpha by the root of the rank
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    rslora "BOOL": bool = false;
        example true;
        elsewhere "use_rslora lora_use_rslora peft_use_rslora use_rs_lora";

    /// Learning rate of B over that of A (LoRA+); its authors use 16
    lora_plus "RATIO": f64 = 1.0;
        range "at least 1", |ratio, _| ratio.is_finite() && *ratio >= 1.0;
        example 4;
        elsewhere "loraplus_lr_ratio lorap_lr_ratio loraplus_ratio";

    /// Train length and direction of each row apart (DoRA)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    dora "BOOL": bool = false;
        example true;
        elsewhere "use_dora lora_use_dora peft_use_dora";

    /// What A and B start from: random, pissa, pissa-16 (16 rounds of a quicker search), olora, loftq
    init "START": Initial = Initial::Random;
        range "another start, or loftq with --method qlora", |init, all| *init != Initial::Loftq || all.method.value == Method::Qlora;
        example "olora";
        elsewhere "init_lora_weights init_weights peft_init_lora_weights pissa_init loftq_config", "random, pissa, pissa-16, olora or loftq";

    /// Biases of the base that are trained: none, all, or those of adapted projections
    #[arg(value_parser = one_of::<TrainedBias>(&["none: None of them", "all: Every bias of every linear layer", "adapted: Those of adapted projections"]))]
    bias "WHICH": TrainedBias = TrainedBias::None;
        example "adapted";
        elsewhere "lora_bias bias_type train_bias", "none, all or adapted";

    /// Modules that are fully trained: embed_tokens, lm_head, projections by name, or layers.3 for all of a layer
    #[arg(value_delimiter = ',', alias = "whole")]
    #[serde(alias = "whole")]
    modules_to_save "NAMES": Vec<String> = vec![];
        example ["embed_tokens"];
        elsewhere "lora_modules_to_save additional_target peft_modules_to_save";

    /// Tokens whose rows of the embedding are trained, by number
    #[arg(value_delimiter = ',')]
    token_rows "IDS": Vec<u32> = vec![];
        example [5];
        elsewhere "trainable_token_indices";

    /// Tokens to add to the vocabulary, by their text; their rows are trained
    #[arg(value_delimiter = ',')]
    new_tokens "TOKENS": Vec<String> = vec![];
        example ["<part>"];
        elsewhere "add_tokens add_special_tokens new_special_tokens additional_special_tokens tokens", "their rows are trained";

    /// Train a factor for each output of the targets in place of A and B (IA3)
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    ia3 "BOOL": bool = false;
        example true;

    /// Targets of --ia3 whose inputs get the factors; down_proj if not given
    #[arg(value_delimiter = ',')]
    feed_forward "NAMES": Vec<String> = owned(if given.is_ia3() { &IA3_FEED_FORWARD } else { &[] });
        example ["up_proj"];
        elsewhere "feedforward_modules ia3_feedforward_modules";
}
"Training" {
    /// Directory of the run: adapter, events, report
    out "DIR": PathBuf = lacking("out", "a new directory for the results: --out runs/first")?;
        a fact;
        on resume Place "where the run lies; it may have been moved";
        example "runs/first";
        elsewhere "output_dir output out_dir output_path save_dir save_path outfile export_dir mlx_path";

    /// Passes over the data
    epochs "N": f64 = if given.minutes.is_some() { 3.0 } else { 1.0 };
        range "above 0", |epochs, _| is_above_zero(*epochs);
        example 3;
        elsewhere "num_train_epochs num_epochs train_epochs n_epochs max_epochs";
        elsewhere "iters num_iters iterations", "one of mlx-lm's iterations is a batch, so --epochs is iters times batch size over rows";
        elsewhere "max_steps num_steps num_training_steps total_steps", "--epochs is steps times --batch-size over rows; --minutes is a time budget";

    /// Time budget; decides the number of steps, at most --epochs (3 if not given)
    minutes "MIN": f64;
        range "above 0", |minutes, _| is_above_zero(*minutes);
        example 10;

    /// AdamW with its state in f32 or in 8 bits; a paged state may leave memory when it is short
    #[arg(value_parser = one_of::<OptimizerKind>(&["adamw: In f32", "adamw8bit: In 8 bits, as bitsandbytes does", "paged-adamw: In f32, in pages of a file", "paged-adamw8bit: In 8 bits, in pages of a file"]))]
    optimizer "NAME": OptimizerKind = OptimizerKind::AdamW;
        on resume Free "its state may be paged or not; its form has to stay";
        example "adamw8bit";
        elsewhere "optim optimizer_type", "adamw, adamw8bit, paged-adamw or paged-adamw8bit";

    /// Peak learning rate
    lr "LR": f64;
        otherwise "by the base's width";
        // The engine computes in f32.
        range "above 0 and in the range of f32", |lr, _| is_above_zero(*lr) && is_above_zero(f64::from(*lr as f32));
        example 0.0003;
        elsewhere "learning_rate base_lr peak_lr max_lr";

    /// How the learning rate falls
    #[arg(value_parser = one_of::<Schedule>(&["cosine: Half a cosine down to zero", "linear: A straight line down to zero", "constant: Flat"]))]
    schedule "SHAPE": Schedule = Schedule::Cosine;
        example "constant";
        elsewhere "lr_scheduler_type lr_scheduler lr_schedule scheduler learning_rate_scheduler", "cosine, linear or constant, each after the warm-up";

    /// Share of the steps over which the learning rate rises
    warmup_ratio "SHARE": f64 = 0.05;
        range "at least 0 and below 1", |share, _| (0.0..1.0).contains(share);
        example 0.5;
        elsewhere "warmup_steps warmup num_warmup_steps warmup_iters", "a share of all steps, not a number of them";

    /// Examples per optimiser step
    batch_size "N": usize = 8;
        range "at least 1", |examples, _| *examples >= 1;
        example 4;
        elsewhere "per_device_train_batch_size micro_batch_size train_batch_size per_device_batch_size", "the examples of a whole optimizer step: what others write as per-device batch times gradient accumulation";

    /// Parts a batch is computed in; more parts need less memory
    accumulate "N": usize = 1;
        range "between 1 and --batch-size, which it divides into parts", |parts, all| (1..=all.batch_size.value).contains(parts);
        example 2;
        elsewhere "gradient_accumulation_steps grad_accumulation_steps grad_accum gradient_accumulation", "it divides --batch-size into parts and does not multiply it: for 4 parts of 2, --batch-size 8 --accumulate 4";

    /// Longest example in tokens
    max_length "TOKENS": usize = DEFAULT_MAX_LENGTH;
        range "at least 2", |tokens, _| *tokens >= 2;
        example 60;
        elsewhere "max_seq_length max_seq_len cutoff_len sequence_len model_max_length block_size max_length_tokens seq_len max_sequence_length";

    /// What happens to longer examples; either way they are counted and listed
    #[arg(value_parser = one_of::<TooLong>(&["drop: It is left out", "truncate: Its end is cut"]))]
    too_long "POLICY": TooLong = TooLong::Drop;
        example "truncate";
        elsewhere "truncation_strategy excess_length_strategy truncation truncation_mode", "drop or truncate";

    /// Largest norm of the gradient; 0 leaves it alone
    clip "NORM": f64 = 1.0;
        range "0 or more", |norm, _| norm.is_finite() && *norm >= 0.0;
        example 0.3;
        elsewhere "max_grad_norm gradient_clipping clip_grad_norm grad_clip";

    /// Decoupled weight decay of AdamW
    weight_decay "W": f64 = 0.0;
        range "0 or more", |decay, _| decay.is_finite() && *decay >= 0.0;
        example 0.1;
        elsewhere "wd adam_weight_decay";

    /// Steps between validations; ten a run if not given, fewer where they would take more than a tenth of its steps' time
    eval_every "STEPS": usize;
        range "at least 1", |steps, _| *steps >= 1;
        example 7;
        elsewhere "eval_steps steps_per_eval eval_interval eval_step val_check_interval evals_per_epoch", "a number of optimizer steps";

    /// Rows of the validation set that are evaluated, of each task its share, chosen by the seed; if not given, all, or so many that validations take a tenth of the steps' time
    eval_rows "N": usize;
        range "at least 1", |rows, _| *rows >= 1;
        example 2;
        elsewhere "max_eval_samples eval_limit val_batches eval_iters eval_batches", "a number of rows";

    /// End the run after so many validations in a row that were not better; the best adapter is kept
    patience "N": usize;
        otherwise "all steps are taken";
        range "at least 1", |validations, _| *validations >= 1;
        example 2;
        elsewhere "early_stopping_patience early_stopping early_stop";

    /// By more than this, in nats per supervised token, validation loss has to fall to be better for --patience
    min_improvement "NATS": f64 = 0.001;
        range "0 or more", |least, _| least.is_finite() && *least >= 0.0;
        example 0.01;
        elsewhere "early_stopping_threshold early_stopping_min_delta min_delta";

    /// Steps between checkpoints; as --eval-every if that is given, else about ten in a run
    save_every "STEPS": usize;
        range "at least 1", |steps, _| *steps >= 1;
        on resume Free "when checkpoints are made";
        example 7;
        elsewhere "save_steps save_interval checkpoint_interval saves_per_epoch steps_per_save", "a number of optimizer steps";

    /// Form in which the adapter is written; it is trained in f32
    #[arg(value_parser = one_of::<SaveDtype>(&["f32: As trained", "bf16: Half the size, the range of f32", "f16: Half the size, more digits, up to 65504"]))]
    save_dtype "FORM": SaveDtype = SaveDtype::F32;
        on resume Free "the form of the adapter's files, which are written from the same numbers";
        example "bf16";
        elsewhere "adapter_dtype save_safetensors_dtype output_dtype";

    /// Seed of everything random
    seed "SEED": u64 = 0;
        example 1;
        elsewhere "data_seed random_state random_seed";
}
"Machine" {
    /// Threads; the result does not depend on it. All cores if not given
    threads "N": usize = machine.threads, Measured;
        range "between 1 and 1024", |threads, _| (1..=1024).contains(threads);
        on resume Moment "sums have the same order on any number of them";
        example 2;
        elsewhere "num_workers dataset_num_proc preprocessing_num_workers dataset_processes dataloader_num_workers num_proc num_threads nthreads";

    /// Memory the run may use, such as 2GB; what is free if not given
    memory "SIZE": Size = machine.memory, Measured;
        on resume Moment "what follows from it, the size of micro-batches, stays as it was";
        example "2GB";
        elsewhere "max_memory gpu_memory_limit", "such as 4GB";

    /// Form in which activations are kept for the backward pass; bf16 takes half the memory and rounds gradients a little
    #[arg(value_parser = one_of::<Activations>(&["f32: As computed", "bf16: Rounded to half the memory"]))]
    activations "FORM": Activations = Activations::F32;
        example "bf16";

    /// Shortcuts not to take, for comparison; each leaves out work that changes nothing
    #[arg(value_delimiter = ',')]
    without "NAMES": Vec<Shortcut> = vec![];
        example ["last-layer"];
}
}

/// Where IA3 goes by default, as in PEFT for llamas.
const IA3_TARGETS: [&str; 3] = ["k_proj", "v_proj", "down_proj"];
const IA3_FEED_FORWARD: [&str; 1] = ["down_proj"];

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn is_above_zero(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

impl RawTrain {
    /// Whether factors are trained in place of `A` and `B`, which have other defaults.
    fn is_ia3(&self) -> bool {
        self.ia3 == Some(true)
    }
}

impl Settings {
    /// Every option by its name, its value as JSON.
    pub fn json(&self) -> Vec<(&'static str, Chosen<Value>)> {
        let all = serde_json::to_value(self).expect("options are plain data");
        let chosen = |option: &'static OptionInfo| {
            let chosen = serde_json::from_value(all[option.name].clone());
            (option.name, chosen.expect("each has a value and an origin"))
        };
        OPTIONS.iter().map(chosen).collect()
    }
}

impl OptionInfo {
    /// What is known of the option of this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        OPTIONS.iter().find(|option| option.name == name)
    }

    /// Whether a run may go on with another value of this option.
    pub fn may_change(name: &str) -> bool {
        Self::of(name).is_some_and(|option| option.on_resume.is_some())
    }

    /// What it is where nobody says, in words, unless its description has to explain.
    pub fn default_words(&self) -> Option<&str> {
        static DEFAULTS: LazyLock<Vec<(String, String)>> = LazyLock::new(defaults);
        let mut defaults = DEFAULTS.iter();
        let default = defaults.find(|(name, _)| name == self.name);
        default.map(|(_, words)| words.as_str())
    }
}

/// What options are where nothing is asked but what is needed; without those that depend on the machine.
fn defaults() -> Vec<(String, String)> {
    let asked = RawTrain {
        model: Some(String::new()),
        data: Some(vec!["".into()]),
        out: Some("".into()),
        ..RawTrain::default()
    };
    let machine = Machine {
        threads: 1,
        memory: Size { bytes: 1 },
    };
    let settings = Settings::decide(&asked, &asked, Origin::RunFile, machine);
    let settings = settings.expect("defaults are in range");
    let rows = settings.json().into_iter();
    let rows = rows.filter(|(_, chosen)| chosen.origin == Origin::Default);
    rows.filter_map(|(name, chosen)| Some((name.to_owned(), shown(name, &chosen.value)?)))
        .collect()
}

/// A description with the default that goes with it.
fn help(name: &str, description: &str) -> String {
    let description = description.trim_start();
    match OptionInfo::of(name).and_then(OptionInfo::default_words) {
        Some(default) => format!("{description} [default: {default}]"),
        None => description.to_owned(),
    }
}

/// The value of an option in a line, or what it comes to without one; `None` where that is nothing.
pub(super) fn shown(name: &str, value: &Value) -> Option<String> {
    let otherwise = OptionInfo::of(name).map_or("", |option| option.otherwise);
    match value {
        Value::Null if otherwise.is_empty() => None,
        Value::Null => Some(otherwise.to_owned()),
        Value::Array(values) if values.is_empty() => None,
        value => Some(as_typed(value)),
    }
}
