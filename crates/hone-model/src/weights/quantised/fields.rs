//! The fields of `quantization_config`: each is read, known to change no number, or refused.

use serde_json::{Map, Value as Json};

use crate::one_line::one_line;

use super::{Packing, Quantised};

/// A field that says something that is not computed.
#[derive(Debug, PartialEq)]
pub(super) struct Wrong {
    pub field: String,
    pub found: String,
    pub known: String,
}

/// What is said of quantisation.
pub(super) fn read(said: &Json) -> Result<Quantised, Wrong> {
    let Some(map) = said.as_object() else {
        return Err(wrong("", said, "an object"));
    };
    let fields = Fields { map };
    let method = match fields.get("quant_method") {
        // bitsandbytes did not write it at first.
        None if map.contains_key("load_in_4bit") => "bitsandbytes".into(),
        None => Json::Null,
        Some(method) => method.clone(),
    };
    match method.as_str() {
        Some("bitsandbytes") => bitsandbytes(&fields),
        Some("gptq") => gptq(&fields),
        Some("awq") => awq(&fields),
        Some("fp8") => fp8(&fields),
        Some("compressed-tensors") => compressed(&fields),
        _ => Err(wrong(
            "quant_method",
            &method,
            "bitsandbytes (4 bits), gptq, awq, fp8 and compressed-tensors (8-bit floats)",
        )),
    }
}

fn bitsandbytes(fields: &Fields) -> Result<Quantised, Wrong> {
    fields.only(
        "load_in_4bit",
        &[true.into()],
        "4-bit weights of bitsandbytes",
    )?;
    fields.only("_load_in_4bit", &[true.into()], "4-bit weights")?;
    for field in ["load_in_8bit", "_load_in_8bit"] {
        fields.only(
            field,
            &[false.into()],
            "4-bit weights of bitsandbytes, not 8-bit ones",
        )?;
    }
    fields.only(
        "bnb_4bit_quant_type",
        &["nf4".into(), "fp4".into()],
        "nf4 and fp4",
    )?;
    fields.only(
        "bnb_4bit_quant_storage",
        &["uint8".into()],
        "codes in bytes",
    )?;
    // Nested scales and skipped modules are seen in the tensors; the rest is about computing and 8 bits.
    fields.no_others(&[
        "quant_method",
        "load_in_4bit",
        "_load_in_4bit",
        "load_in_8bit",
        "_load_in_8bit",
        "bnb_4bit_quant_type",
        "bnb_4bit_quant_storage",
        "bnb_4bit_use_double_quant",
        "bnb_4bit_compute_dtype",
        "llm_int8_enable_fp32_cpu_offload",
        "llm_int8_has_fp16_weight",
        "llm_int8_skip_modules",
        "llm_int8_threshold",
    ])?;
    Ok(Quantised::BitsAndBytes)
}

fn gptq(fields: &Fields) -> Result<Quantised, Wrong> {
    fields.must("bits", &[4.into()], "4-bit GPTQ")?;
    fields.only("pack_dtype", &["int32".into()], "words of 32 bits")?;
    fields.only("is_marlin_format", &[false.into()], "GPTQ's own layout")?;
    for field in ["dynamic", "adapter", "rotation"] {
        fields.only(field, &[], "checkpoints without it")?;
    }
    let format = fields.only(
        "checkpoint_format",
        &["gptq".into(), "gptq_v2".into()],
        "gptq and gptq_v2",
    )?;
    // Which groups and orders there are is seen in the tensors; the rest says how the codes were found, or is about kernels.
    fields.no_others(&[
        "quant_method",
        "bits",
        "pack_dtype",
        "is_marlin_format",
        "dynamic",
        "adapter",
        "rotation",
        "checkpoint_format",
        "group_size",
        "desc_act",
        "sym",
        "act_group_aware",
        "batch_size",
        "backend",
        "block_name_to_quantize",
        "cache_block_outputs",
        "damp_percent",
        "damp_auto_increment",
        "dataset",
        "disable_exllama",
        "exllama_config",
        "hyb_act",
        "lm_head",
        "max_input_length",
        "meta",
        "model_file_base_name",
        "model_name_or_path",
        "model_seqlen",
        "module_name_preceding_first_block",
        "modules_in_block_to_quantize",
        "mse",
        "pad_token_id",
        "parallel_packing",
        "static_groups",
        "tokenizer",
        "true_sequential",
        "use_cuda_fp16",
        "use_exllama",
    ])?;
    Ok(Quantised::Words(Packing::Gptq {
        group_len: fields.group_len("group_size")?,
        adds_one: format != Some("gptq_v2"),
    }))
}

fn awq(fields: &Fields) -> Result<Quantised, Wrong> {
    for (field, is_needed) in [("bits", true), ("w_bit", false)] {
        match is_needed && !fields.map.contains_key("w_bit") {
            true => fields.must(field, &[4.into()], "4-bit AWQ")?,
            false => fields.only(field, &[4.into()], "4-bit AWQ")?,
        };
    }
    let layouts = ["gemm".into(), "GEMM".into()];
    fields.only("version", &layouts, "the gemm layout")?;
    fields.only("zero_point", &[true.into()], "codes around zero points")?;
    fields.only("backend", &["autoawq".into()], "autoawq's layout")?;
    // Fused modules and kernels compute the same; skipped modules are seen in the tensors.
    fields.no_others(&[
        "quant_method",
        "bits",
        "w_bit",
        "version",
        "zero_point",
        "backend",
        "group_size",
        "q_group_size",
        "modules_to_not_convert",
        "do_fuse",
        "modules_to_fuse",
        "fuse_max_seq_len",
        "exllama_config",
    ])?;
    let field = match fields.map.contains_key("q_group_size") {
        true => "q_group_size",
        false => "group_size",
    };
    Ok(Quantised::Words(Packing::Awq {
        group_len: fields.group_len(field)?,
    }))
}

fn fp8(fields: &Fields) -> Result<Quantised, Wrong> {
    fields.only("fmt", &["e4m3".into()], "e4m3")?;
    fields.only("scale_fmt", &["float".into()], "scales that are f32")?;
    let block = match fields.get("weight_block_size") {
        None => None,
        Some(said) => {
            let sides = said.as_array().map(|sides| {
                let side = |side: &Json| side.as_u64().filter(|side| *side > 0);
                sides.iter().map(side).collect::<Vec<_>>()
            });
            match sides.as_deref() {
                Some([Some(rows), Some(cols)]) => Some((*rows as usize, *cols as usize)),
                _ => return Err(wrong("weight_block_size", said, "[rows, columns]")),
            }
        }
    };
    // Only weights are in eight bits here: activations stay f32, whatever scheme a kernel would round them by.
    fields.no_others(&[
        "quant_method",
        "fmt",
        "scale_fmt",
        "weight_block_size",
        "activation_scheme",
        "dequantize",
        "modules_to_not_convert",
        "ignored_layers",
    ])?;
    Ok(Quantised::Fp8 { block })
}

fn compressed(fields: &Fields) -> Result<Quantised, Wrong> {
    let formats = ["float-quantized".into(), "naive-quantized".into()];
    fields.must("format", &formats, "float-quantized")?;
    fields.only(
        "quantization_status",
        &["compressed".into(), "frozen".into()],
        "finished checkpoints",
    )?;
    let empty = [Json::Object(Map::new()), Json::Array(Vec::new())];
    for field in ["kv_cache_scheme", "sparsity_config", "transform_config"] {
        fields.only(field, &empty, "checkpoints without it")?;
    }
    fields.no_others(&[
        "quant_method",
        "format",
        "quantization_status",
        "kv_cache_scheme",
        "sparsity_config",
        "transform_config",
        "config_groups",
        "global_compression_ratio",
        "ignore",
        "version",
    ])?;
    let groups = fields.get("config_groups").and_then(Json::as_object);
    let Some(groups) = groups.filter(|groups| !groups.is_empty()) else {
        let found = fields.get("config_groups").cloned().unwrap_or_default();
        return Err(wrong("config_groups", &found, "one group at least"));
    };
    let mut block = None;
    let nothing = Map::new();
    for (name, group) in groups {
        let weights = Fields {
            map: group["weights"].as_object().unwrap_or(&nothing),
        };
        let found = compressed_weights(&weights).map_err(|wrong| Wrong {
            field: format!(
                "config_groups.{name}.weights.{}",
                wrong.field.trim_start_matches("quantization_config.")
            ),
            ..wrong
        })?;
        block = block.or(found);
    }
    Ok(Quantised::Fp8 { block })
}

/// The block of weights in a group of compressed-tensors.
fn compressed_weights(weights: &Fields) -> Result<Option<(usize, usize)>, Wrong> {
    weights.must("num_bits", &[8.into()], "floats of 8 bits")?;
    weights.must("type", &["float".into()], "floats of 8 bits")?;
    weights.only("symmetric", &[true.into()], "scales without zeros")?;
    weights.only("dynamic", &[false.into()], "scales in the file")?;
    weights.only("actorder", &[false.into()], "columns in their order")?;
    let known = ["tensor".into(), "channel".into(), "block".into()];
    weights.must("strategy", &known, "tensor, channel and block")?;
    match weights.get("block_structure") {
        None => Ok(None),
        Some(said) => match said.as_array().map(Vec::as_slice) {
            Some([rows, cols]) => match (rows.as_u64(), cols.as_u64()) {
                (Some(rows @ 1..), Some(cols @ 1..)) => Ok(Some((rows as usize, cols as usize))),
                _ => Err(wrong("block_structure", said, "[rows, columns]")),
            },
            _ => Err(wrong("block_structure", said, "[rows, columns]")),
        },
    }
}

struct Fields<'a> {
    map: &'a Map<String, Json>,
}

impl<'a> Fields<'a> {
    /// A field that says something.
    fn get(&self, field: &str) -> Option<&'a Json> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// A field that, if it says something, says one of these. Text comes back.
    fn only(&self, field: &str, known: &[Json], names: &str) -> Result<Option<&'a str>, Wrong> {
        match self.get(field) {
            None => Ok(None),
            Some(value) if known.contains(value) => Ok(value.as_str()),
            Some(value) => Err(wrong(field, value, names)),
        }
    }

    /// A field that says one of these.
    fn must(&self, field: &str, known: &[Json], names: &str) -> Result<Option<&'a str>, Wrong> {
        match self.get(field) {
            None => Err(wrong(field, &Json::Null, names)),
            Some(_) => self.only(field, known, names),
        }
    }

    /// Columns of a group; `None` for all of a row, written -1.
    fn group_len(&self, field: &str) -> Result<Option<usize>, Wrong> {
        let said = self.get(field).cloned().unwrap_or_default();
        match said.as_i64() {
            Some(-1) => Ok(None),
            Some(len @ 32..) if len % 32 == 0 => Ok(Some(len as usize)),
            _ => Err(wrong(
                field,
                &said,
                "multiples of 32, and -1 for whole rows",
            )),
        }
    }

    /// Refuses what nobody has looked at: it may change numbers.
    fn no_others(&self, known: &[&str]) -> Result<(), Wrong> {
        let mut fields = self.map.iter();
        let other =
            fields.find(|(field, value)| !value.is_null() && !known.contains(&field.as_str()));
        match other {
            Some((field, value)) => Err(wrong(field, value, "checkpoints without this field")),
            None => Ok(()),
        }
    }
}

fn wrong(field: &str, found: &Json, known: &str) -> Wrong {
    let mut found = match found {
        Json::Null => "missing".to_owned(),
        found => one_line(found),
    };
    if found.len() > 80 {
        found = found.chars().take(77).chain("...".chars()).collect();
    }
    Wrong {
        field: ["quantization_config", field].join(if field.is_empty() { "" } else { "." }),
        found,
        known: known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(said: Json) -> String {
        let wrong = read(&said).unwrap_err();
        format!("{} is {}; {}", wrong.field, wrong.found, wrong.known)
    }

    #[test]
    fn what_is_written_by_the_usual_tools_is_understood() {
        let bnb = json!({
            "_load_in_4bit": true, "_load_in_8bit": false, "bnb_4bit_compute_dtype": "bfloat16",
            "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": true, "llm_int8_enable_fp32_cpu_offload": false,
            "llm_int8_has_fp16_weight": false, "llm_int8_skip_modules": ["lm_head"],
            "llm_int8_threshold": 6.0, "load_in_4bit": true, "load_in_8bit": false,
            "quant_method": "bitsandbytes"
        });
        assert_eq!(read(&bnb), Ok(Quantised::BitsAndBytes));
        let gptq = json!({
            "bits": 4, "group_size": 128, "damp_percent": 0.01, "desc_act": true, "static_groups": false,
            "sym": false, "true_sequential": true, "model_name_or_path": null, "model_file_base_name": "model",
            "quant_method": "gptq", "checkpoint_format": "gptq"
        });
        let expected = |adds_one| {
            Quantised::Words(Packing::Gptq {
                group_len: Some(128),
                adds_one,
            })
        };
        assert_eq!(read(&gptq), Ok(expected(true)));
        let mut second = gptq.clone();
        second["checkpoint_format"] = "gptq_v2".into();
        assert_eq!(read(&second), Ok(expected(false)));
        let awq = json!({
            "bits": 4, "group_size": 128, "modules_to_not_convert": null, "quant_method": "awq",
            "version": "gemm", "zero_point": true
        });
        let group_len = Some(128);
        assert_eq!(read(&awq), Ok(Quantised::Words(Packing::Awq { group_len })));
        let fp8 = json!({
            "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
            "weight_block_size": [128, 128]
        });
        let block = Some((128, 128));
        assert_eq!(read(&fp8), Ok(Quantised::Fp8 { block }));
        let compressed = json!({
            "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
            "quantization_status": "compressed", "kv_cache_scheme": null, "global_compression_ratio": 1.5,
            "config_groups": {"group_0": {"targets": ["Linear"],
                "input_activations": {"num_bits": 8, "type": "float", "dynamic": true},
                "weights": {"num_bits": 8, "type": "float", "symmetric": true, "strategy": "channel",
                    "dynamic": false, "group_size": null}}}
        });
        assert_eq!(read(&compressed), Ok(Quantised::Fp8 { block: None }));
    }

    #[test]
    fn what_is_not_computed_is_refused_by_name() {
        let cases = [
            (
                json!({"quant_method": "hqq"}),
                "quantization_config.quant_method is \"hqq\"; bitsandbytes",
            ),
            (
                json!({"quant_method": "bitsandbytes", "load_in_8bit": true}),
                "quantization_config.load_in_8bit is true; 4-bit",
            ),
            (
                json!({"quant_method": "bitsandbytes", "bnb_4bit_quant_storage": "bfloat16"}),
                "quantization_config.bnb_4bit_quant_storage is \"bfloat16\"",
            ),
            (
                json!({"quant_method": "gptq", "bits": 3, "group_size": 128}),
                "quantization_config.bits is 3; 4-bit GPTQ",
            ),
            (
                json!({"quant_method": "gptq", "bits": 4, "group_size": 16}),
                "quantization_config.group_size is 16; multiples of 32",
            ),
            (
                json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": "marlin"}),
                "quantization_config.checkpoint_format is \"marlin\"",
            ),
            (
                json!({"quant_method": "gptq", "bits": 4, "group_size": 32, "new_idea": 7}),
                "quantization_config.new_idea is 7; checkpoints without this field",
            ),
            (
                json!({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}),
                "quantization_config.version is \"gemv\"; the gemm layout",
            ),
            (
                json!({"quant_method": "awq", "group_size": 128}),
                "quantization_config.bits is missing; 4-bit AWQ",
            ),
            (
                json!({"quant_method": "fp8", "fmt": "e5m2"}),
                "quantization_config.fmt is \"e5m2\"; e4m3",
            ),
            (
                json!({"quant_method": "compressed-tensors", "format": "pack-quantized"}),
                "quantization_config.format is \"pack-quantized\"; float-quantized",
            ),
            (
                json!({"quant_method": "compressed-tensors", "format": "float-quantized",
                    "config_groups": {"a": {"weights": {"num_bits": 4, "type": "int"}}}}),
                "config_groups.a.weights.num_bits is 4; floats of 8 bits",
            ),
            (json!([4]), "quantization_config is [4]; an object"),
            (
                json!({"bits": 4}),
                "quantization_config.quant_method is missing",
            ),
        ];
        for (said, expected) in cases {
            let refusal = refusal(said);
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
