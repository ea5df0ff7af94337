//! How a run is laid into memory: the size of its micro-batches, which layers keep what a step computed, and whether
//! the base is held at all.

use super::error::PlanError;
use super::options::Settings;
use super::values::{Shortcut, Size};
use hone_finetune::rehearsed::Rehearsed;
use hone_model::{Activations, Shortcuts};
use hone_tensor::BAND_BYTES;
use hone_train::{AdamWConfig, LearningRate, TrainingPlan};

/// What is in memory of a base that is streamed: the band in use, one beside it while threads change over.
const STREAMED_BYTES: usize = 2 * BAND_BYTES;

/// Larger micro-batches gain no speed and cost memory.
const MICRO_BATCH_TOKENS: usize = 8192;

/// What is in memory from the first step to the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub program_bytes: usize,
    pub base_bytes: usize,
    /// The same in 4 bits.
    pub nf4_bytes: usize,
    pub moment_bytes: usize,
    /// The adapter of the lowest validation loss, beside the one that is trained.
    pub best_bytes: usize,
    /// Whether the base is used as it lies on disk, so that it can be streamed.
    pub is_mapped: bool,
}

/// How a run is laid into memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fit {
    pub max_tokens: usize,
    pub kept_layers: usize,
    pub memory: Size,
    pub streams_base: bool,
}

impl Fit {
    /// As large as is useful, as small as need be; the base is streamed only where it must be.
    pub fn find(
        settings: &Settings,
        rehearsed: &Rehearsed,
        held: Held,
        steps: usize,
        begun: Option<&TrainingPlan>,
    ) -> Result<Self, PlanError> {
        let streamed = held.is_mapped && held.base_bytes > STREAMED_BYTES;
        let search = |streams_base| Search {
            settings,
            rehearsed,
            steps,
            begun,
            streams_base,
            held,
            fixed_bytes: held.program_bytes
                + held.moment_bytes
                + held.best_bytes
                + if streams_base {
                    STREAMED_BYTES
                } else {
                    held.base_bytes
                },
        };
        if let Some(fit) = search(false).run()? {
            return Ok(fit);
        }
        let last = search(streamed);
        match last.run()? {
            Some(fit) => Ok(fit),
            None => Err(last.refusal()?),
        }
    }
}

/// The search for a layout within a budget.
struct Search<'a> {
    settings: &'a Settings,
    rehearsed: &'a Rehearsed<'a>,
    steps: usize,
    /// The numbers of the run that is continued.
    begun: Option<&'a TrainingPlan>,
    streams_base: bool,
    held: Held,
    fixed_bytes: usize,
}

impl Search<'_> {
    /// The largest micro-batch that fits at all, then as many kept layers as fit with it.
    fn run(&self) -> Result<Option<Fit>, PlanError> {
        let Some(max_tokens) = self.max_tokens()? else {
            return Ok(None);
        };
        let all = self.rehearsed.num_layers();
        let (least, most) = match self.begun {
            // Rounded activations are not the ones that are computed again: which layers keep theirs shows in the numbers.
            Some(begun) if begun.activations == Activations::Bf16 => {
                (begun.kept_layers, begun.kept_layers)
            }
            _ => (0, all),
        };
        let Some(kept_layers) = self.most(least, most, |layers| (max_tokens, layers))? else {
            return Ok(None);
        };
        let fit = self.layout(max_tokens, kept_layers);
        let bytes = self.bytes(fit)? as u64;
        Ok(Some(Fit {
            memory: Size { bytes },
            ..fit
        }))
    }

    /// How gradients of a batch are put together shows in their last bits, so a continued run keeps its micro-batches.
    fn max_tokens(&self) -> Result<Option<usize>, PlanError> {
        if let Some(begun) = self.begun {
            return Ok(Some(begun.max_tokens));
        }
        let longest = self.rehearsed.longest();
        let plan = training_plan(self.settings, self.steps, self.layout(longest, 0));
        let batch = self.rehearsed.largest_batch(&plan);
        let wanted = batch.div_ceil(self.settings.accumulate.value);
        let wanted = wanted.min(MICRO_BATCH_TOKENS).max(longest);
        self.most(longest, wanted, |tokens| (tokens, 0))
    }

    /// The greatest number whose layout fits, if the least does.
    fn most(
        &self,
        least: usize,
        most: usize,
        layout: impl Fn(usize) -> (usize, usize),
    ) -> Result<Option<usize>, PlanError> {
        let budget = self.settings.memory.value.bytes as usize;
        let fits = |number| -> Result<bool, PlanError> {
            let (max_tokens, kept_layers) = layout(number);
            Ok(self.bytes(self.layout(max_tokens, kept_layers))? <= budget)
        };
        if fits(most)? {
            return Ok(Some(most));
        }
        if !fits(least)? {
            return Ok(None);
        }
        let (mut fitting, mut too_many) = (least, most);
        while too_many - fitting > 1 {
            let middle = fitting.midpoint(too_many);
            match fits(middle)? {
                true => fitting = middle,
                false => too_many = middle,
            }
        }
        Ok(Some(fitting))
    }

    fn layout(&self, max_tokens: usize, kept_layers: usize) -> Fit {
        Fit {
            max_tokens,
            kept_layers,
            memory: Size { bytes: 0 },
            streams_base: self.streams_base,
        }
    }

    fn bytes(&self, fit: Fit) -> Result<usize, PlanError> {
        let plan = training_plan(self.settings, self.steps, fit);
        Ok(self.fixed_bytes + self.rehearsed.peak_bytes(&plan)?)
    }

    /// Why nothing fits, and what would.
    fn refusal(&self) -> Result<PlanError, PlanError> {
        let longest = self.rehearsed.longest();
        let needed = self.bytes(match self.begun {
            Some(begun) => self.layout(begun.max_tokens, 0),
            None => self.layout(longest, 0),
        })?;
        let fixed = self.fixed_bytes + self.rehearsed.standing_bytes();
        let budget = self.settings.memory.value.bytes as usize;
        let room = budget.saturating_sub(fixed);
        let base_bytes = match self.streams_base {
            true => STREAMED_BYTES,
            false => self.held.base_bytes,
        };
        // A base in 4 bits is in memory whole.
        let with_qlora = needed - base_bytes + self.held.nf4_bytes;
        Ok(PlanError::NoMemory {
            needed: Size {
                bytes: needed as u64,
            },
            memory: self.settings.memory.value,
            longest,
            fitting: longest * room / (needed - fixed).max(1),
            program: Size {
                bytes: self.held.program_bytes as u64,
            },
            would_fit_qlora: self.held.nf4_bytes < base_bytes && with_qlora <= budget,
            is_resumed: self.begun.is_some(),
        })
    }
}

fn shortcuts(settings: &Settings) -> Shortcuts {
    let taken = |shortcut| !settings.without.value.contains(&shortcut);
    Shortcuts {
        shared_prefix: taken(Shortcut::SharedPrefix),
        distinct_tokens: taken(Shortcut::DistinctTokens),
        last_layer: taken(Shortcut::LastLayer),
        supervised_head: taken(Shortcut::SupervisedHead),
        lowest_layer: taken(Shortcut::LowestLayer),
    }
}

/// A promise of [`TrainPlan::draw`].
const RATE_IS_MET: &str = "a plan begins with settings that have met their base";

pub(super) fn training_plan(settings: &Settings, steps: usize, fit: Fit) -> TrainingPlan {
    let (rate, (eval_every, save_every)) = (settings.rate(), settings.intervals(steps));
    TrainingPlan {
        steps,
        batch_size: settings.batch_size.value,
        accumulate: settings.accumulate.value,
        max_tokens: fit.max_tokens,
        kept_layers: fit.kept_layers,
        activations: settings.activations.value,
        shortcuts: shortcuts(settings),
        activation_cache: !settings.without.value.contains(&Shortcut::ActivationCache),
        learning_rate: LearningRate::new(
            rate.peak().expect(RATE_IS_MET) as f32,
            settings.schedule.value,
            settings.warmup_ratio.value,
            steps,
        ),
        optimizer: AdamWConfig {
            kind: settings.optimizer.value,
            weight_decay: settings.weight_decay.value,
            clip: settings.clip.value as f32,
            lora_plus_ratio: Some(settings.lora_plus.value).filter(|ratio| *ratio != 1.0),
            whole: Some(rate.whole_share())
                .filter(|share| *share != 1.0 && !settings.modules_to_save.value.is_empty()),
            ..AdamWConfig::default()
        },
        seed: settings.seed.value,
        eval_every,
        eval_rows: settings.eval_rows.value,
        patience: settings.patience.value,
        min_improvement: settings.min_improvement.value,
        save_every,
    }
}
