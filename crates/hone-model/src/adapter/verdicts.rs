//! What others do with an adapter: read it right, refuse it, or, worst, read it wrong and say nothing.
//!
//! Each rule is what the source of that program does: PEFT 0.21, vLLM's `peft_helper.py`, llama.cpp's
//! `convert_lora_to_gguf.py` and `llama-adapter.cpp`, Ollama's converter, mlx-lm's `tuner`.

use super::facts::Facts;
use super::methods::METHODS;
use super::runtimes::{Outcome, Runtime, Verdict};

impl Facts {
    /// What each program would do.
    pub fn verdicts(&self) -> Vec<Verdict> {
        Runtime::ALL
            .into_iter()
            .map(|runtime| self.verdict(runtime))
            .collect()
    }

    /// What one program would do.
    pub fn verdict(&self, runtime: Runtime) -> Verdict {
        if runtime == Runtime::Ollama {
            return self.in_ollama();
        }
        let mut said = Verdict {
            runtime,
            outcome: Outcome::Right,
            reasons: vec![],
        };
        let damage = self.damage.as_ref().filter(|_| runtime != Runtime::Hone);
        if let Some(damage) = damage {
            said.wrong(format!("the adapter itself is wrong: {damage}"));
        }
        match runtime {
            Runtime::Hone => self.refusal.iter().for_each(|why| said.refuses(why)),
            Runtime::Peft => self.in_peft(&mut said),
            Runtime::Vllm => {
                self.in_others(&mut said, &["r", "lora_alpha", "target_modules"], "");
            }
            Runtime::LlamaCpp | Runtime::Ollama => {
                self.in_others(&mut said, &["lora_alpha"], "alora_invocation_tokens");
            }
            Runtime::Mlx => said.refuses("reads its own format: `hone export --to mlx` writes it"),
        }
        said
    }

    fn in_peft(&self, said: &mut Verdict) {
        if self.lacks_prefix {
            said.wrong("names without `base_model.model.` are passed over with one warning");
        }
        if let Some(method) = &self.changes_base {
            said.notes(format!("repeats `{method}` on the base when it loads: right only with the same base, rank and precision"));
        }
    }

    /// vLLM and llama.cpp, which want settings to be `wanted`, and pass over those that PEFT applies, `but` one.
    fn in_others(&self, said: &mut Verdict, wanted: &[&str], but: &str) {
        let unsaid = self.unsaid.iter().filter(|key| wanted.contains(key));
        unsaid
            .filter(|_| !self.ia3)
            .for_each(|key| said.refuses(format!("wants `{key}` to be set")));
        let passed_over = self.passed_over.iter().filter(|key| *key != but);
        passed_over.for_each(|key| said.wrong(format!("`{key}` is passed over")));
        METHODS.iter().for_each(|method| method.judge(self, said));
        said.refuses_if(
            Runtime::Vllm,
            self.lacks_prefix,
            "names without `base_model.model.` are refused",
        );
        if let Some(method) = &self.changes_base {
            said.wrong(format!(
                "`{method}` changed the base, and this is not done again here"
            ));
        }
        if self.new_tokens > 0 {
            said.refuses("has no rows for tokens beyond the base's vocabulary: `hone merge` makes a model that has");
        }
        let is_wrong = said.outcome == Outcome::Wrong;
        said.notes_if(
            Runtime::LlamaCpp,
            is_wrong,
            "`hone export --to gguf-adapter` writes it with the scales in the numbers",
        );
    }

    /// As llama.cpp, with a converter of its own.
    fn in_ollama(&self) -> Verdict {
        let mut said = self.verdict(Runtime::LlamaCpp);
        said.runtime = Runtime::Ollama;
        if !self.unusual_modules.is_empty() {
            said.refuses(format!(
                "its converter knows q, k, v, o, gate, up and down, not {}",
                self.unusual_modules.join(", ")
            ));
        }
        said.notes("one adapter for one model; a GGUF adapter in the Modelfile is the surer way");
        said
    }
}
