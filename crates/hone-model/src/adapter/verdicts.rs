//! What others do with an adapter: read it right, refuse it, or, worst, read it wrong and say nothing.
//!
//! Each rule is what the source of that program does: PEFT 0.21, vLLM's `peft_helper.py`, llama.cpp's
//! `convert_lora_to_gguf.py` and `llama-adapter.cpp`, Ollama's converter, mlx-lm's `tuner`.

use super::facts::Facts;
use super::methods::METHODS;
use super::runtimes::{Outcome, Runtime, Said, Verdict};

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
        let mut said = Said::default();
        let damage = self.damage.as_ref().filter(|_| runtime != Runtime::Hone);
        if let Some(damage) = damage {
            said.wrong(&format!("the adapter itself is wrong: {damage}"));
        }
        match runtime {
            Runtime::Hone => self
                .refusal
                .iter()
                .for_each(|refusal| said.refuses(refusal)),
            Runtime::Peft => self.in_peft(&mut said),
            Runtime::Vllm => self.in_vllm(&mut said),
            Runtime::LlamaCpp => self.in_llama_cpp(&mut said),
            Runtime::Ollama => self.in_ollama(&mut said),
            Runtime::Mlx => said.refuses("reads its own format: `hone export --to mlx` writes it"),
        }
        Verdict {
            runtime,
            outcome: said.outcome,
            reasons: said.reasons,
        }
    }

    fn in_peft(&self, said: &mut Said) {
        said.wrong_if(
            self.lacks_prefix,
            "names without `base_model.model.` are passed over with one warning",
        );
        if let Some(method) = &self.changes_base {
            said.notes(format!("repeats `{method}` on the base when it loads: right only with the same base, rank and precision"));
        }
    }

    fn wrong_if_passed_over(&self, said: &mut Said, but: &str) {
        for key in self.passed_over.iter().filter(|key| *key != but) {
            said.wrong(&format!("`{key}` is passed over"));
        }
    }

    fn refuses_if_unsaid(&self, said: &mut Said, wanted: &[&str]) {
        for key in self
            .unsaid
            .iter()
            .filter(|key| wanted.contains(key) && !self.ia3)
        {
            said.refuses(&format!("wants `{key}` to be set"));
        }
    }

    fn in_vllm(&self, said: &mut Said) {
        self.refuses_if_unsaid(said, &["r", "lora_alpha", "target_modules"]);
        self.wrong_if_passed_over(said, "");
        self.judge_methods(Runtime::Vllm, said);
        said.refuses_if(
            self.lacks_prefix,
            "names without `base_model.model.` are refused",
        );
        self.wrong_if_base_changed(said);
        self.refuses_new_tokens(said);
    }

    fn in_llama_cpp(&self, said: &mut Said) {
        self.refuses_if_unsaid(said, &["lora_alpha"]);
        self.wrong_if_passed_over(said, "alora_invocation_tokens");
        self.judge_methods(Runtime::LlamaCpp, said);
        self.refuses_new_tokens(said);
        self.wrong_if_base_changed(said);
        if said.outcome == Outcome::Wrong {
            said.notes("`hone export --to gguf-adapter` writes it with the scales in the numbers");
        }
    }

    fn judge_methods(&self, runtime: Runtime, said: &mut Said) {
        METHODS
            .iter()
            .for_each(|method| method.judge(self, runtime, said));
    }

    fn refuses_new_tokens(&self, said: &mut Said) {
        said.refuses_if(
            self.new_tokens > 0,
            "has no rows for tokens beyond the base's vocabulary: `hone merge` makes a model that has",
        );
    }

    fn in_ollama(&self, said: &mut Said) {
        self.in_llama_cpp(said);
        said.refuses_if(
            !self.unusual_modules.is_empty(),
            &format!(
                "its converter knows q, k, v, o, gate, up and down, not {}",
                self.unusual_modules.join(", ")
            ),
        );
        said.notes("one adapter for one model; a GGUF adapter in the Modelfile is the surer way");
    }

    fn wrong_if_base_changed(&self, said: &mut Said) {
        if let Some(method) = &self.changes_base {
            said.wrong(&format!(
                "`{method}` changed the base, and this is not done again here"
            ));
        }
    }
}
