//! The programs that can be given an adapter, and what each would do with it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// A program that can be given an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Hone itself.
    Hone,
    /// Hugging Face PEFT.
    Peft,
    /// vLLM.
    Vllm,
    /// llama.cpp, through its converter.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// Ollama, given the safetensors.
    Ollama,
    /// mlx-lm.
    Mlx,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Hone,
        Self::Peft,
        Self::Vllm,
        Self::LlamaCpp,
        Self::Ollama,
        Self::Mlx,
    ];

    /// As a person writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hone => "hone",
            Self::Peft => "peft",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
            Self::Mlx => "mlx",
        }
    }
}

impl FromStr for Runtime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|runtime| runtime.name() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|runtime| runtime.name()).collect();
            format!("`{text}` is none of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a program would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It gives the logits that were trained.
    Right,
    /// It says no.
    Refuses,
    /// It gives other logits and does not say so.
    Wrong,
}

/// What one program would do with an adapter, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which program.
    pub runtime: Runtime,
    /// What it would do.
    pub outcome: Outcome,
    /// Why, and what to know besides.
    pub reasons: Vec<String>,
}

impl Verdict {
    pub(super) fn notes(&mut self, reason: impl Into<String>) {
        self.reasons.push(reason.into());
    }

    /// What is refused is not read wrong any more.
    pub(super) fn refuses(&mut self, reason: impl Into<String>) {
        self.outcome = Outcome::Refuses;
        self.notes(reason);
    }

    pub(super) fn wrong(&mut self, reason: impl Into<String>) {
        if self.outcome == Outcome::Right {
            self.outcome = Outcome::Wrong;
        }
        self.notes(reason);
    }

    /// Of one program alone, where it `holds`, as the others that end so.
    pub(super) fn notes_if(&mut self, of: Runtime, holds: bool, reason: &str) {
        if holds && self.runtime == of {
            self.notes(reason);
        }
    }

    pub(super) fn refuses_if(&mut self, of: Runtime, holds: bool, reason: &str) {
        if holds && self.runtime == of {
            self.refuses(reason);
        }
    }

    pub(super) fn wrong_if(&mut self, of: Runtime, holds: bool, reason: &str) {
        if holds && self.runtime == of {
            self.wrong(reason);
        }
    }
}
