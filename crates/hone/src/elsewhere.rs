//! What other programs call our options, and what they have that is no option here.
//!
//! People come with the names of PEFT, TRL, transformers, Axolotl, LLaMA-Factory, Unsloth, ms-swift, mlx-lm and
//! llama.cpp in their fingers. The nearest of our names by spelling is nonsense for most of them (`lora_rank` is no slip for
//! `lr`), so they are answered from this table, on the command line and in run files alike, with the difference in meaning
//! where there is one.

use crate::plan::OPTIONS;

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

/// Options of the other verbs, and what is none; the options of training have their names in `plan/options.rs`.
const TABLE: &[Row] = &[
    // A run that goes on.
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
    let mut rows = rows();
    let row = rows.find(|(names, _)| names.split(' ').any(|known| known == name));
    row.map(|(_, here)| here)
}

fn rows() -> impl Iterator<Item = Row> {
    let of_training = OPTIONS.iter().flat_map(|option| {
        let names = option.elsewhere.iter();
        names.map(|(names, note)| (*names, Is(option.name, note)))
    });
    of_training.chain(TABLE.iter().copied())
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
    rows().filter_map(|(_, here)| match here {
        Here::Option(ours, _) => Some(ours),
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
        let ours: BTreeSet<&str> = option_names().into_iter().collect();
        let mut seen = BTreeSet::new();
        for name in rows().flat_map(|(names, _)| names.split(' ')) {
            assert!(seen.insert(name), "{name} stands twice");
            assert!(!ours.contains(&*name.replace('_', "-")), "{name} is ours");
        }
    }
}
