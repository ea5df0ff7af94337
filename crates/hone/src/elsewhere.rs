//! What other programs call our options, and what they have that is no option here.
//!
//! People come with the names of PEFT, TRL, transformers, Axolotl, LLaMA-Factory, Unsloth, ms-swift, mlx-lm and
//! llama.cpp in their fingers. The nearest of our names by spelling is nonsense for most of them (`lora_rank` is no slip for
//! `lr`), so they are answered from this table, on the command line and in run files alike, with the difference in meaning
//! where there is one.

/// What an option of another program is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// An option of ours, and what is different about it; empty where nothing is.
    Option(&'static str, &'static str),
    /// No option, because it is what Hone does anyway, or does by itself.
    None(&'static str),
    /// Nothing: Hone has nothing of the kind, and what there is in its place.
    Never(&'static str),
}

/// Names of others, with `_` and a space between two, and what they are here.
type Row = (&'static str, Here);

use Here::Option as Is;

/// The options of training, and those of the other verbs whose names do not clash with them.
const TABLE: &[Row] = &[
    // What is trained on what.
    (
        "model_name_or_path model_name model_id model_path base_model base_model_name_or_path base pretrained_model_name_or_path hf_model",
        Is("model", ""),
    ),
    (
        "dataset datasets dataset_name dataset_path dataset_dir train_file train_data train_dataset data_path data_files train_files input",
        Is("data", "it takes files and folders"),
    ),
    (
        "eval_dataset val_dataset validation_file valid_file val_data eval_file test_datasets",
        Is("valid", ""),
    ),
    (
        "val_set_size val_size test_size split_dataset_ratio validation_split eval_split",
        Is("valid-share", "a share of the rows, never a count"),
    ),
    (
        "output_dir output out_dir output_path save_dir save_path outfile export_dir mlx_path",
        Is("out", ""),
    ),
    // The adapter.
    (
        "adapter_type finetuning_type fine_tune_type train_type tuner_type peft_type sft_type peft_method",
        Is(
            "method",
            "lora, or qlora for a base in 4 bits; --dora and --ia3 are options of their own",
        ),
    ),
    (
        "load_in_4bit quantization_bit quant_bits quantization use_qlora qlora bits use_bnb_nested_quant",
        Is(
            "method",
            "`qlora` holds the base in 4 bits (NF4); a base stored in fewer bits keeps them without it",
        ),
    ),
    (
        "r lora_r lora_rank lora_dim peft_r rank_dimension",
        Is("rank", ""),
    ),
    ("lora_alpha peft_lora_alpha", Is("alpha", "")),
    (
        "scale lora_scale",
        Is(
            "alpha",
            "mlx-lm's scale is alpha over rank, so --alpha is scale times rank",
        ),
    ),
    ("lora_dropout peft_lora_dropout", Is("dropout", "")),
    (
        "target_modules lora_target_modules lora_target lora_target_linear lora_modules keys linear_types",
        Is("targets", "`all-linear` is the default"),
    ),
    ("exclude_modules lora_exclude_modules", Is("exclude", "")),
    (
        "lora_modules_to_save additional_target peft_modules_to_save",
        Is("modules-to-save", ""),
    ),
    (
        "use_rslora lora_use_rslora peft_use_rslora use_rs_lora",
        Is("rslora", ""),
    ),
    ("use_dora lora_use_dora peft_use_dora", Is("dora", "")),
    (
        "loraplus_lr_ratio lorap_lr_ratio loraplus_ratio",
        Is("lora-plus", ""),
    ),
    (
        "init_lora_weights init_weights peft_init_lora_weights pissa_init loftq_config",
        Is("init", "random, pissa, pissa-16, olora or loftq"),
    ),
    (
        "lora_bias bias_type train_bias",
        Is("bias", "none, all or adapted"),
    ),
    (
        "layers_to_transform peft_layers_to_transform lora_layers_to_transform",
        Is("layers", "a range such as 20-29"),
    ),
    (
        "num_layers num_lora_layers lora_layers freeze_trainable_layers",
        Is(
            "layers",
            "a range counted from the bottom: the last 16 of 30 layers are 14-",
        ),
    ),
    ("trainable_token_indices", Is("token-rows", "")),
    (
        "add_tokens add_special_tokens new_special_tokens additional_special_tokens tokens",
        Is("new-tokens", "their rows are trained"),
    ),
    (
        "feedforward_modules ia3_feedforward_modules",
        Is("feed-forward", ""),
    ),
    // How long and how fast.
    (
        "num_train_epochs num_epochs train_epochs n_epochs max_epochs",
        Is("epochs", ""),
    ),
    (
        "iters num_iters iterations",
        Is(
            "epochs",
            "one of mlx-lm's iterations is a batch, so --epochs is iters times batch size over rows",
        ),
    ),
    (
        "max_steps num_steps num_training_steps total_steps",
        Is(
            "epochs",
            "--epochs is steps times --batch-size over rows; --minutes is a time budget",
        ),
    ),
    ("learning_rate base_lr peak_lr max_lr", Is("lr", "")),
    (
        "lr_scheduler_type lr_scheduler lr_schedule scheduler learning_rate_scheduler",
        Is(
            "schedule",
            "cosine, linear or constant, each after the warm-up",
        ),
    ),
    (
        "warmup_steps warmup num_warmup_steps warmup_iters",
        Is("warmup-ratio", "a share of all steps, not a number of them"),
    ),
    (
        "per_device_train_batch_size micro_batch_size train_batch_size per_device_batch_size",
        Is(
            "batch-size",
            "the examples of a whole optimizer step: what others write as per-device batch times gradient accumulation",
        ),
    ),
    (
        "gradient_accumulation_steps grad_accumulation_steps grad_accum gradient_accumulation",
        Is(
            "accumulate",
            "it divides --batch-size into parts and does not multiply it: for 4 parts of 2, --batch-size 8 --accumulate 4",
        ),
    ),
    (
        "max_seq_length max_seq_len cutoff_len sequence_len model_max_length block_size max_length_tokens seq_len max_sequence_length",
        Is("max-length", ""),
    ),
    (
        "truncation_strategy excess_length_strategy truncation truncation_mode",
        Is("too-long", "drop or truncate"),
    ),
    (
        "max_grad_norm gradient_clipping clip_grad_norm grad_clip",
        Is("clip", ""),
    ),
    ("wd adam_weight_decay", Is("weight-decay", "")),
    (
        "optim optimizer_type",
        Is(
            "optimizer",
            "adamw, adamw8bit, paged-adamw or paged-adamw8bit",
        ),
    ),
    (
        "eval_steps steps_per_eval eval_interval eval_step val_check_interval evals_per_epoch",
        Is("eval-every", "a number of optimizer steps"),
    ),
    (
        "save_steps save_interval checkpoint_interval saves_per_epoch steps_per_save",
        Is("save-every", "a number of optimizer steps"),
    ),
    ("data_seed random_state random_seed", Is("seed", "")),
    (
        "num_workers dataset_num_proc preprocessing_num_workers dataset_processes dataloader_num_workers num_proc num_threads nthreads",
        Is("threads", ""),
    ),
    ("max_memory gpu_memory_limit", Is("memory", "such as 4GB")),
    (
        "adapter_dtype save_safetensors_dtype output_dtype",
        Is("save-dtype", ""),
    ),
    (
        "resume_from_checkpoint resume_from auto_resume_from_checkpoints resume_adapter_file resume_checkpoint",
        Is("resume", "with --out, the directory of the run"),
    ),
    // Models that answer.
    (
        "adapter_name_or_path adapter_path peft_model peft_model_id peft_path lora lora_path lora_adapter lora_model_dir adapters checkpoint",
        Is("adapter", ""),
    ),
    (
        "max_new_tokens n_predict num_predict max_completion_tokens",
        Is("max-tokens", ""),
    ),
    ("temp", Is("temperature", "")),
    (
        "system_prompt default_system system_message",
        Is("system", ""),
    ),
    (
        "ctx_size n_ctx num_ctx context_length max_model_len",
        Is("context", ""),
    ),
    ("outtype quant ftype quant_type", Is("type", "")),
    ("max_shard_size export_size", Is("shard-size", "")),
    (
        "template prompt_template chat_template_path jinja_template",
        Is("chat-template", ""),
    ),
    (
        "chat_template_kwargs default_chat_template_kwargs chat_template_args template_kwargs",
        Is(
            "template-option",
            "one NAME=VALUE each, such as --template-option enable_thinking=false",
        ),
    ),
    (
        "enable_thinking reasoning_effort",
        Is(
            "template-option",
            "such as --template-option enable_thinking=false, where the chat template reads that name",
        ),
    ),
    // What is no option.
    (
        "packing sample_packing neat_packing padding_free group_by_length pad_to_sequence_len length_column_name",
        Here::None("rows are always packed, without padding, and never see one another"),
    ),
    (
        "mask_prompt completion_only_loss assistant_only_loss train_on_responses_only train_on_eos",
        Here::None(
            "replies are trained on with the token that ends them, and prompts are not; rows of plain text are trained on whole",
        ),
    ),
    (
        "train_on_inputs train_on_prompt",
        Here::Never(
            "prompts are never trained on; what is to be trained on whole is a row of plain text, {\"text\": \"…\"}",
        ),
    ),
    (
        "mask_history loss_scale",
        Here::Never(
            "every reply of a conversation is trained on; \"weight\": 0 in a turn leaves it out, and 1 takes it in",
        ),
    ),
    (
        "bf16 fp16 tf32 pure_bf16 float16 half_precision_backend mixed_precision torch_dtype dtype_train",
        Here::None(
            "numbers are computed in f32 and the base keeps its stored form; --save-dtype is the form of the adapter's file",
        ),
    ),
    (
        "load_in_8bit",
        Here::Never("--method qlora holds the base in 4 bits, and a GGUF base of q8_0 stays in 8"),
    ),
    (
        "gradient_checkpointing grad_checkpoint use_gradient_checkpointing activation_offloading disable_gradient_checkpointing",
        Here::None(
            "as many layers keep their activations as fit into memory; --memory says how much there is",
        ),
    ),
    (
        "flash_attn flash_attention attn_implementation use_flash_attn sdp_attention xformers_attention use_unsloth use_liger_kernel enable_liger_kernel",
        Here::None("there is one kernel for each thing that is computed, and it is the fast one"),
    ),
    (
        "device device_map gpus num_gpus gpu_ids use_cpu no_cuda n_gpu_layers ngl nproc_per_node",
        Here::Never(
            "everything is computed on the processor of this machine; --threads says on how many threads",
        ),
    ),
    (
        "deepspeed fsdp fsdp_config ddp_find_unused_parameters accelerate_config local_rank",
        Here::Never(
            "a run is of one process on one machine; --threads says how many threads it has",
        ),
    ),
    (
        "push_to_hub hub_model_id hub_token export_hub_model_id report_to wandb_project use_wandb run_name wandb_entity mlflow_tracking_uri",
        Here::Never(
            "nothing is sent anywhere; report.html and events.jsonl in the run's directory have it all",
        ),
    ),
    (
        "logging_steps steps_per_report logging_dir logging_strategy plot_loss",
        Here::None("every step is in events.jsonl, and report.html draws them"),
    ),
    (
        "save_total_limit overwrite_output_dir save_strategy save_only_model",
        Here::None(
            "the two newest checkpoints are kept, and a directory that holds a run is never written over",
        ),
    ),
    (
        "load_best_model_at_end metric_for_best_model greater_is_better",
        Here::None(
            "adapter/ always is the one with the lowest validation loss, last/ the one of the last step",
        ),
    ),
    (
        "early_stopping_patience early_stopping early_stopping_threshold",
        Here::Never(
            "a run takes all its steps, and adapter/ is the one with the lowest validation loss",
        ),
    ),
    (
        "trust_remote_code",
        Here::Never("no code from a model's repository is ever run"),
    ),
    (
        "streaming low_cpu_mem_usage lazy_preprocess",
        Here::None("what does not fit into --memory is read from disk by itself"),
    ),
    (
        "do_train do_eval use_peft stage rl train",
        Here::None("`hone train` trains an adapter on what its rows say, and nothing else"),
    ),
    (
        "neftune_noise_alpha noisy_embedding_alpha",
        Here::Never(
            "no noise is put on embeddings; --dropout is what keeps an adapter from learning by heart",
        ),
    ),
    (
        "remove_unused_columns dataset_text_field field_messages messages_column",
        Here::None("the shape of a row is recognised by its keys; `hone data show` says which"),
    ),
];

/// What `name` of another program is here, in whatever mixture of `-`, `_` and capitals it was written.
pub fn find(name: &str) -> Option<Here> {
    let name = name
        .trim_start_matches('-')
        .to_lowercase()
        .replace('-', "_");
    let row = TABLE
        .iter()
        .find(|(names, _)| names.split(' ').any(|known| known == name));
    row.map(|(_, here)| *here)
}

/// What other programs call an option of ours.
pub fn called(ours: &str) -> Vec<&'static str> {
    let rows = TABLE
        .iter()
        .filter(|(_, here)| matches!(here, Here::Option(name, _) if *name == ours));
    rows.flat_map(|(names, _)| names.split(' ')).collect()
}

/// What is said after our name, where something is different.
pub fn remark(note: &str) -> String {
    match note {
        "" => String::new(),
        note => format!(": {note}"),
    }
}

/// Our options that some name of others stands for.
#[cfg(test)]
pub(crate) fn options() -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter_map(|(_, here)| match here {
        Here::Option(ours, _) => Some(*ours),
        Here::None(_) | Here::Never(_) => None,
    })
}

/// Verbs of other programs and the one that does the same here.
pub fn find_verb(name: &str) -> Option<&'static str> {
    let verb = match name.to_lowercase().as_str() {
        "finetune" | "fine-tune" | "fine_tune" | "tune" | "sft" | "fit" | "lora" | "pretrain"
        | "resume" => "train",
        "fuse" | "merge-lora" | "merge_lora" | "merge-and-unload" => "merge",
        "convert" | "quantize" | "quantise" | "gguf" => "export",
        "evaluate" | "evaluation" | "test" | "benchmark" | "score" => "eval",
        "infer" | "inference" | "run" | "complete" | "predict" | "ask" => "generate",
        "download" | "fetch" | "get" => "pull",
        "list" | "ls" | "history" | "ps" => "runs",
        "preprocess" | "dataset" | "datasets" | "curate" | "check" => "data",
        _ => return None,
    };
    Some(verb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::option_names;
    use std::collections::BTreeSet;

    #[test]
    fn the_names_that_people_bring_are_answered_with_ours() {
        for (theirs, ours) in [
            ("lora_r", "rank"),
            ("--lora-rank", "rank"),
            ("-r", "rank"),
            ("lora_alpha", "alpha"),
            ("learning_rate", "lr"),
            ("num_train_epochs", "epochs"),
            ("per_device_train_batch_size", "batch-size"),
            ("gradient_accumulation_steps", "accumulate"),
            ("max_seq_length", "max-length"),
            ("cutoff_len", "max-length"),
            ("sequence_len", "max-length"),
            ("lr_scheduler_type", "schedule"),
            ("lora_target_modules", "targets"),
            ("load_in_4bit", "method"),
            ("output_dir", "out"),
            ("val_set_size", "valid-share"),
            ("dataset", "data"),
            ("model_name_or_path", "model"),
            ("Base-Model", "model"),
            ("iters", "epochs"),
            ("num_layers", "layers"),
            ("additional_target", "modules-to-save"),
            ("use_rslora", "rslora"),
            ("max_grad_norm", "clip"),
        ] {
            let Some(Here::Option(name, _)) = find(theirs) else {
                panic!("{theirs} is not known");
            };
            assert_eq!(name, ours, "{theirs}");
        }
        assert_eq!(find("colour"), None);
    }

    #[test]
    fn no_name_stands_twice_and_none_is_an_option_of_ours() {
        let ours: BTreeSet<String> = option_names().into_iter().collect();
        let mut seen = BTreeSet::new();
        for name in TABLE.iter().flat_map(|(names, _)| names.split(' ')) {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(!ours.contains(&name.replace('_', "-")), "{name} is ours");
        }
    }
}
