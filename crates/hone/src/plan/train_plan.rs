//! What will happen: settings met with a model, a dataset and a machine.
//!
//! Two things are worked out here and shown before anything starts: whether the run fits into memory, and how long it
//! takes. A run that does not fit is refused with what would.

use super::cadence::Cadence;
use super::chosen::{Chosen, Origin};
use super::error::PlanError;
use super::facts::{Facts, PlanLine};
use super::fit::{Fit, Held, training_plan};
use super::options::Settings;
use super::table::OptionInfo;
use super::values::{Method, Own, Size};
use crate::base::OpenBase;
use crate::dataset::{Dataset, Validation, files_line};
use crate::machine::loaded_bytes;
use crate::screen::{count, duration, plural};
use hone_data::Sampler;
use hone_finetune::rehearsed::{Rehearsed, Work};
use hone_ledger::words::shortened;
use hone_ledger::{ContentId, Seed};
use hone_model::{Adapter, AdapterSize, BaseFormat, Ia3, LoraConfig, Targets};
use hone_text::Renderer;
use hone_train::{Data, OptimizerKind, RunIdentity, TrainingPlan, two_digits};
use serde_json::{Map, Value, json};

/// Everything a run needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainPlan {
    /// Every option with its origin.
    pub settings: Settings,
    /// The adapter.
    pub lora: LoraConfig,
    /// How the base is held.
    pub base_format: BaseFormat,
    /// What the training loop does.
    pub training: TrainingPlan,
    /// What was found of model, data and machine.
    pub facts: Facts,
    /// Memory the run is expected to need.
    pub memory: Size,
    /// Whether the base is read from disk layer by layer instead of being held in memory.
    pub streams_base: bool,
    /// What there is to compute.
    pub work: Work,
    /// Rows of the validation set.
    pub valid_rows: usize,
    /// What the run will write: checkpoints, adapters, and pages of the optimiser's.
    pub disk: Size,
    /// Base, data and template in one hash.
    pub content: ContentId,
    /// All of the plan that decides about a number of the run, in one hash: what a checkpoint belongs to.
    pub identity: String,
}

/// Options that count by what follows from them and stands elsewhere in a plan: the learning rate of every step, the number
/// of steps, and the words of the template.
const COUNTED_ELSEWHERE: [&str; 4] = ["lr", "epochs", "minutes", "date"];

/// Memory of a process beside its own pages and its tensors: the libraries of the system, stacks and buffers of a few threads,
/// the compiled patterns of the rules that rows are read under, and gaps that the allocator cannot use; as measured. The
/// number of threads does not count: a plan must not depend on it.
const PROCESS_BYTES: usize = 28 << 20;

/// What a tokenizer keeps for a token: its text in the file, its text, its merge, its places in their tables, and the gaps
/// that reading it left; as measured.
const TOKEN_BYTES: usize = 832;

/// What the program takes whatever it trains. The same for the same program, so that the same run file gives the same plan.
fn program_bytes(open: &OpenBase) -> usize {
    // Pages of the program count once they were touched, which a run does with half to two thirds of them.
    let own_bytes = loaded_bytes() / 4 * 3;
    let tokens = open.renderer.tokenizer().vocab_size();
    own_bytes + PROCESS_BYTES + TOKEN_BYTES * tokens
}

impl TrainPlan {
    /// Works out the plan; time is not known yet, so a time budget still counts as its bound on epochs. A run that is
    /// continued, by what it `begun` with, keeps its numbers.
    pub fn draw(
        settings: Settings,
        open: &OpenBase,
        dataset: &Dataset,
        base: ContentId,
        begun: Option<&TrainingPlan>,
    ) -> Result<Self, PlanError> {
        let config = open.weights.config();
        let settings = settings.met_with(config);
        let lora = lora_config(&settings).with_new_tokens(&open.new_ids(), config)?;
        let size = Adapter::size(&lora, config)?;
        let lengths = Adapter::lengths(&lora, config)?;
        let kind = settings.optimizer.value;
        let base_format = match settings.method.value {
            Method::Lora => BaseFormat::Stored,
            Method::Qlora => BaseFormat::Nf4,
        };
        let sampler = sampler(&settings, dataset.train.len());
        let steps = match begun {
            Some(begun) => begun.steps,
            None => sampler.steps(settings.epochs.value),
        };
        let rows = Data {
            train: &dataset.train,
            valid: &dataset.valid,
            tasks: &dataset.tasks,
        };
        let rehearsed = Rehearsed::new(&open.weights, &lora, rows, sampler)?;
        let fit = Fit::find(
            &settings,
            &rehearsed,
            Held {
                program_bytes: program_bytes(open),
                base_bytes: open.loaded_bytes(base_format),
                nf4_bytes: open.loaded_bytes(BaseFormat::Nf4),
                moment_bytes: kind.resident_bytes(&lengths),
                best_bytes: match dataset.valid.is_empty() {
                    true => 0,
                    false => 4 * lengths.iter().sum::<usize>(),
                },
                is_mapped: base_format == BaseFormat::Stored && open.weights.is_mapped(),
            },
            steps,
            begun,
        )?;
        let training = training_plan(&settings, steps, fit);
        let rows = dataset.train.iter().chain(&dataset.valid);
        let content = open.content(base, json!(dataset.ids()), rows.map(|row| &row.ids));
        let mut plan = Self {
            facts: Facts::default(),
            memory: fit.memory,
            streams_base: fit.streams_base,
            work: rehearsed.work(&training)?,
            valid_rows: dataset.valid.len(),
            disk: disk_needed(&training, &lengths),
            settings,
            lora,
            base_format,
            training,
            content,
            identity: String::new(),
        };
        match begun {
            Some(begun) => plan.repeat(begun),
            None => plan.pace_validations(),
        }
        plan.identity = plan.identify();
        plan.facts = plan.describe(open, dataset, size, state_line(kind, &lengths));
        Ok(plan)
    }

    /// Cuts the steps to a time budget, now that the first step has been measured; adds the time line.
    pub fn fit_into_time(&mut self, dataset: &Dataset, first_step_seconds: f64) {
        let pace = Pace::of(self.work, first_step_seconds);
        if let Some(minutes) = self.settings.minutes.value {
            let (seconds, most) = (minutes * 60.0, self.training.steps);
            // As if validations took their whole share; what they do not take is left for more steps.
            self.take_steps(pace.steps_in(seconds / 1.1).min(most));
            self.pace_validations();
            let validations = self.num_validations();
            let left = seconds - self.validation_seconds(pace);
            self.take_steps(pace.steps_in(left).min(most));
            if self.settings.eval_every.value.is_none() {
                self.training.eval_every = self.training.steps.div_ceil(validations);
            }
            let steps = self.steps_line(dataset);
            self.facts.steps = PlanLine::new("steps", steps, Origin::Measured);
            self.facts.validations = self.validations_line();
            self.identity = self.identify();
        }
        let time = self.time_at(first_step_seconds);
        self.facts.time = Some(PlanLine::new("time", time, Origin::Measured));
    }

    /// The plan of so many steps; which rows are evaluated stays as it was settled.
    fn take_steps(&mut self, steps: usize) {
        let fit = Fit {
            max_tokens: self.training.max_tokens,
            kept_layers: self.training.kept_layers,
            memory: self.memory,
            streams_base: self.streams_base,
        };
        let eval_rows = self.training.eval_rows;
        self.training = training_plan(&self.settings, steps, fit);
        self.training.eval_rows = eval_rows;
    }

    /// Settles how often the run is validated, and on how many rows.
    fn pace_validations(&mut self) {
        let steps = self.training.steps;
        let cadence = Cadence {
            steps,
            of_steps: steps as f64 * self.work.mean_step,
            of_look: self.work.look,
            rows: self.valid_rows,
            asked_every: self.settings.eval_every.value,
            asked_rows: self.settings.eval_rows.value,
        };
        (self.training.eval_every, self.training.eval_rows) = cadence.settle();
    }

    /// Validations after a step.
    fn num_validations(&self) -> usize {
        self.training.steps.div_ceil(self.training.eval_every)
    }

    /// Rows that each validation evaluates.
    fn evaluated_rows(&self) -> usize {
        let sampled = self.training.eval_rows.unwrap_or(self.valid_rows);
        sampled.min(self.valid_rows)
    }

    /// Time of all validations: one before the first step, the base's reading, and those that come after steps.
    fn validation_seconds(&self, pace: Pace) -> f64 {
        let looks = (1 + self.num_validations()) as f64;
        let part = self.evaluated_rows() as f64 / self.valid_rows.max(1) as f64;
        part * (looks * pace.look_seconds + pace.base_seconds)
    }

    fn validations_line(&self) -> PlanLine {
        let line = |value: String| PlanLine::new("validations", value, Origin::Derived);
        if self.valid_rows == 0 {
            return line("none, as there is no validation set".into());
        }
        let rows = match self.evaluated_rows() {
            rows if rows < self.valid_rows => {
                format!("{rows} of {} rows, chosen by the seed", self.valid_rows)
            }
            rows => format!("all {}", plural(rows, "row")),
        };
        // The share does not depend on how fast the machine is.
        let pace = Pace::of(self.work, self.work.first_step);
        let share = self.validation_seconds(pace)
            / (self.training.steps as f64 * pace.step_seconds).max(1e-9);
        let stop = match self.training.patience {
            None => String::new(),
            Some(patience) => format!(
                "; the run ends after {} that {} not better by more than {}",
                plural(patience, "validation"),
                if patience == 1 { "is" } else { "are" },
                self.training.min_improvement
            ),
        };
        line(format!(
            "{} of {rows}: about {:.0} % of the steps' time{stop}",
            1 + self.num_validations(),
            100.0 * share
        ))
    }

    /// How long the run takes in all, by the time of its first step.
    pub fn time_at(&self, first_step_seconds: f64) -> String {
        let pace = Pace::of(self.work, first_step_seconds);
        let validation_seconds = self.validation_seconds(pace);
        let seconds = self.training.steps as f64 * pace.step_seconds + validation_seconds;
        let included = match validation_seconds {
            0.0 => "",
            _ => ", validations included",
        };
        format!(
            "about {}{included} ({} a step)",
            duration(seconds),
            duration(pace.step_seconds)
        )
    }

    /// Whether it says how long the run takes.
    pub fn is_timed(&self) -> bool {
        self.facts.time.is_some()
    }

    /// Takes the numbers of the run that is continued, but for what belongs to the machine.
    fn repeat(&mut self, begun: &TrainingPlan) {
        let (kind, kept_layers) = (self.training.optimizer.kind, self.training.kept_layers);
        let (_, save_every) = self.settings.intervals(begun.steps);
        self.training = begun.clone();
        self.training.save_every = save_every;
        // Where moments are kept may change; a change of how is refused when the checkpoint is opened.
        self.training.optimizer.kind = kind;
        self.training.kept_layers = kept_layers;
        // What suits a width may be another number today; the run goes on with its own.
        let peak = two_digits(f64::from(begun.learning_rate.peak));
        if self.settings.lr.value.is_none() && self.settings.rate().peak() != Some(peak) {
            self.settings.lr = Chosen::new(Some(peak), Origin::SavedRun);
        }
    }

    /// The hash of everything that decides about a number of the run. The whole plan is taken, and what may change is taken
    /// out of it, so that nothing has to be remembered when an option is added.
    fn identify(&self) -> String {
        let is_free = |name| OptionInfo::may_change(name) || COUNTED_ELSEWHERE.contains(&name);
        let options = self.settings.json().into_iter();
        let options = options.filter(|(name, _)| !is_free(name));
        let options = options.map(|(name, chosen)| (name.to_owned(), chosen.value));
        let options: Map<String, Value> = options.collect();
        RunIdentity::new(self.content, &self.lora, options, &self.training).id()
    }

    fn steps_line(&self, dataset: &Dataset) -> String {
        let per_epoch = sampler(&self.settings, dataset.train.len()).steps_per_epoch();
        let steps = self.training.steps;
        format!(
            "{steps} of {per_epoch} an epoch ({:.2} epochs)",
            steps as f64 / per_epoch as f64
        )
    }

    fn describe(
        &self,
        open: &OpenBase,
        dataset: &Dataset,
        size: AdapterSize,
        optimizer_state: PlanLine,
    ) -> Facts {
        let (weights, settings) = (&open.weights, &self.settings);
        let config = weights.config();
        let line = |name, value: String, origin| PlanLine::new(name, value, origin);
        let model = format!(
            "{}: {}, {} parameters, {} layers of {}, stored as {}",
            open.base.name,
            config.model_type,
            count(weights.num_parameters() as u64),
            config.num_layers,
            config.d_model,
            weights.format_summary()
        );
        let template = match open.printed_date() {
            Some(date) => format!("{}, printing the date {date}", open.form),
            None => open.form.to_string(),
        };
        let template_origin = match settings.chat_template.value {
            Some(_) => settings.chat_template.origin,
            None => Origin::Model,
        };
        let (tokens, supervised) = dataset.tokens();
        let training_set = format!(
            "{}, {} tokens, {} of them supervised; {} skipped",
            plural(dataset.train.len(), "example"),
            count(tokens as u64),
            count(supervised as u64),
            plural(dataset.num_skipped(), "row")
        );
        // Rows name their tasks, and may do so at length.
        let tasks: Vec<_> = dataset.tasks.iter().map(|task| shortened(task)).collect();
        let validation_origin = match dataset.validation {
            Validation::Side(_) | Validation::Built => Origin::Data,
            _ => settings.validation().origin,
        };
        let share = 100.0 * size.parameters as f64 / weights.num_parameters() as f64;
        let adapter = format!(
            "{} parameters, {share:.2} % of the base",
            count(size.parameters as u64)
        );
        let streamed = match self.streams_base {
            true => {
                let bytes = weights.size_bytes() as u64;
                format!(", base of {} streamed from disk", Size { bytes })
            }
            false => String::new(),
        };
        let memory = format!(
            "about {}, activations of {} of {} layers kept{streamed}",
            self.memory, self.training.kept_layers, config.num_layers
        );
        let disk = format!("about {}", self.disk);
        Facts {
            model: line("model", model, settings.model.origin),
            template: line("chat template", template, template_origin),
            end_of_reply: line("end of reply", end_of_reply(&open.renderer), Origin::Model),
            data: line("data", files_line(&dataset.files), settings.data.origin),
            rows: line("rows read", dataset.read_line(), Origin::Data),
            training_set: line("training set", training_set, Origin::Data),
            tasks: line("tasks", tasks.join(", "), Origin::Data),
            validation_set: line(
                "validation set",
                dataset.validation_line(),
                validation_origin,
            ),
            validations: self.validations_line(),
            adapter: line("adapter", adapter, Origin::Derived),
            steps: line("steps", self.steps_line(dataset), Origin::Derived),
            memory: line("memory needed", memory, Origin::Derived),
            disk: line("disk needed", disk, Origin::Derived),
            optimizer_state,
            time: None,
            notes: notes(dataset),
        }
    }
}

/// How fast this machine goes.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// An average step.
    step_seconds: f64,
    /// A validation of all rows.
    look_seconds: f64,
    /// The base's reading of the same rows.
    base_seconds: f64,
}

impl Pace {
    /// From the first step, by the work there is.
    fn of(work: Work, first_step_seconds: f64) -> Self {
        let seconds_per_flop = first_step_seconds / work.first_step.max(1.0);
        Self {
            step_seconds: seconds_per_flop * work.mean_step,
            look_seconds: seconds_per_flop * work.look,
            base_seconds: seconds_per_flop * work.base_look,
        }
    }

    /// Steps that fit into a time, at least one.
    fn steps_in(self, seconds: f64) -> usize {
        (seconds / self.step_seconds.max(1e-9)).max(1.0) as usize
    }
}

/// Two checkpoints are kept while a third is written, each with the best adapter so far; beside them the best and the last.
fn disk_needed(training: &TrainingPlan, lengths: &[usize]) -> Size {
    const COPIES: usize = 3;
    let kind = training.optimizer.kind;
    let state_bytes = kind.state_bytes(lengths);
    let adapter_bytes = 4 * lengths.iter().sum::<usize>();
    let paged_bytes = state_bytes - kind.resident_bytes(lengths);
    let bytes = COPIES * (2 * adapter_bytes + state_bytes) + 2 * adapter_bytes + paged_bytes;
    Size {
        bytes: bytes as u64,
    }
}

/// The token that replies are trained to end with.
fn end_of_reply(renderer: &Renderer) -> String {
    let end = renderer.end_of_reply().or(renderer.tokenizer().eos());
    let named = end.and_then(|id| Some(format!("{} ({id})", renderer.tokenizer().token(id)?)));
    named.unwrap_or_else(|| "none".into())
}

fn sampler(settings: &Settings, num_examples: usize) -> Sampler {
    let seed = Seed::new(settings.seed.value).child("shuffle");
    Sampler::new(num_examples, settings.batch_size.value, seed)
        .expect("a dataset has an example, a batch has one")
}

/// What the optimizer keeps, and whether it has to stay in memory.
fn state_line(kind: OptimizerKind, lengths: &[usize]) -> PlanLine {
    let bytes = kind.state_bytes(lengths) as u64;
    let place = match kind.resident_bytes(lengths) {
        0 => "paged: in a file, which memory need not hold",
        _ => "in memory",
    };
    let size = Size { bytes };
    PlanLine::new(
        "optimizer state",
        format!("{size}, {place}"),
        Origin::Derived,
    )
}

/// What a user may not expect of the data.
fn notes(dataset: &Dataset) -> Vec<PlanLine> {
    let remarks = dataset.files.iter().flat_map(|file| {
        let remarks = file.remarks().into_iter();
        remarks.map(|remark| format!("{}: {remark}", file.file.display()))
    });
    let remarks = remarks.map(|remark| PlanLine::new("rows", remark, Origin::Data));
    let context = (dataset.num_context_replies > 0).then(|| {
        let turns = plural(dataset.num_context_replies, "earlier turn");
        let line = format!(
            "{turns} of the assistant, not trained on: the template shows them otherwise once the conversation has gone on"
        );
        PlanLine::new("context only", line, Origin::Model)
    });
    let unread = dataset.unread_lines().into_iter();
    let unread = unread.map(|(name, line)| PlanLine::new(name, line, Origin::Data));
    remarks.chain(context).chain(unread).collect()
}

fn lora_config(settings: &Settings) -> LoraConfig {
    LoraConfig {
        rank: settings.rank.value,
        alpha: settings.alpha.value as f32,
        targets: Targets::parse(&settings.targets.value.join(",")),
        layers: settings.layers.value,
        dropout: settings.dropout.value as f32,
        rank_stabilised: settings.rslora.value,
        exclude: settings.exclude.value.clone(),
        rank_pattern: own(&settings.rank_pattern.value, |value| value as usize),
        alpha_pattern: own(&settings.alpha_pattern.value, |value| value as f32),
        dora: settings.dora.value,
        initial: settings.init.value,
        bias: settings.bias.value,
        whole: settings.modules_to_save.value.clone(),
        token_rows: settings.token_rows.value.clone(),
        head_rows: vec![],
        ia3: settings.ia3.value.then(|| Ia3 {
            feed_forward: settings.feed_forward.value.clone(),
        }),
    }
}

fn own<T>(patterns: &[Own], of_value: impl Fn(f64) -> T) -> Vec<(String, T)> {
    let pair = |own: &Own| (own.name.clone(), of_value(own.value));
    patterns.iter().map(pair).collect()
}
