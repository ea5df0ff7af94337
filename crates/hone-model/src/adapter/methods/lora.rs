//! Low-rank pairs (Hu et al. 2021): `y += s · (x·Aᵀ)·Bᵀ`, at linear layers, at experts, and at the embedding.
//!
//! Those of linear layers are in [`pairs`](crate::adapter::pairs); here is what LoRA says of itself, and its pair of the embedding.

use hone_ledger::Seed;
use hone_tensor::{Device, Index, MatRef, Tensor};

use crate::adapter::config::{AttachError, Initial, scale, together};
use crate::adapter::facts::Facts;
use crate::adapter::fitting::Fitting;
use crate::adapter::layout::Wanted;
use crate::adapter::method::Method;
use crate::adapter::pairs::{LowRank, Member};
use crate::adapter::raw::Module;
use crate::adapter::runtimes::{Runtime, Verdict};
use crate::adapter::select::Asked;
use crate::adapter::settings::is_of_experts;
use crate::adapter::spelling::Role;
use crate::adapter::table::{Param, ParamTable, transposed};
use crate::adapter::targets::target_matches;
use crate::adapter::trained::{Edit, EditRows, Rows, Trained, row_by_row};
use crate::adapter::weights::{AdapterWeights, LoraPair};
use crate::arch::{DecoderConfig, Group, Site};

pub(super) struct Lora;

/// vLLM's default for `--max-lora-rank`.
const VLLM_RANK: usize = 16;

/// Why a tensor is on no module of its adapter.
pub(super) const NOT_NAMED: &str = "is on a module that `target_modules` does not name";

impl Method for Lora {
    fn name(&self) -> &'static str {
        "LoRA"
    }

    fn roles(&self) -> &'static [Role] {
        &[
            Role::A,
            Role::B,
            Role::OutBias,
            Role::EmbeddingA,
            Role::EmbeddingB,
        ]
    }

    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError> {
        let config = asked.config;
        asked.refuse_at_parameters(config.dropout > 0.0, "dropout")?;
        let decomposes = config.initial != Initial::Random;
        asked.refuse_at_parameters(decomposes, "a start from the base's own vectors")?;
        if config.ia3.is_some() {
            return Ok(());
        }
        if asked.embedding {
            let is_other = config.dora || config.initial.is_subtracted();
            together([(
                is_other,
                "a low-rank adapter of `embed_tokens`",
                "DoRA or a start from the base's own vectors",
            )])?;
            let pair = (config.rank, config.alpha);
            wanted.add_rows(LowRankRows::new(asked.base, pair, config.rank_stabilised));
        }
        let ranks = config.rank_pattern.iter().map(|(name, _)| name);
        let alphas = config.alpha_pattern.iter().map(|(name, _)| name);
        asked.all_match("the ranks", ranks)?;
        asked.all_match("the alphas", alphas)?;
        wanted.pairs = asked
            .sites
            .iter()
            .map(|site| member(asked, *site))
            .collect();
        Ok(())
    }

    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted) {
        let (path, copies) = (site.path(), fitting.base.copies(site));
        if let Some(rank) = fitting.rank(&path, Role::A, Role::B, copies) {
            let alpha = fitting.settings.alpha_of(&path);
            wanted.pairs.push(Member { site, rank, alpha });
        }
    }

    fn fit_embedding(&self, fitting: &mut Fitting, wanted: &mut Wanted) {
        let (path, settings) = (fitting.base.names.embedding.0, fitting.settings);
        if let Some(rank) = fitting.rank(path, Role::EmbeddingA, Role::EmbeddingB, 1) {
            let pair = (rank, settings.alpha_of(path));
            wanted.add_rows(LowRankRows::new(
                fitting.base,
                pair,
                settings.rank_stabilised,
            ));
        }
        let is_shared = fitting.base.tied_head && settings.ties_weights;
        if let Some(pair) = fitting.at(path, Role::EmbeddingA).filter(|_| is_shared) {
            fitting.refuse(
                pair,
                "is a pair of the embedding that `ensure_weight_tying` gives to the head too",
            );
        }
    }

    fn unexpected(&self, role: Role, module: &Module) -> Option<&'static str> {
        let settings = module.settings;
        match role {
            Role::OutBias if !module.has_pair() => Some("belongs to no adapted module"),
            Role::OutBias if !settings.out_bias => {
                Some("is a bias of `B`, but `lora_bias` is false")
            }
            Role::OutBias => None,
            _ if module.is_no_target() => Some(NOT_NAMED),
            _ if settings.feed_forward.is_some() => Some("belongs to LoRA, and `peft_type` is IA3"),
            _ => None,
        }
    }

    fn lacks(&self, module: &Module) -> Option<Role> {
        let is_due = module.has_pair() && module.settings.out_bias;
        (is_due && !module.has(&[Role::OutBias])).then_some(Role::OutBias)
    }

    fn promised(&self, _: Site, module: &Module, _: &DecoderConfig) -> Option<Role> {
        let is_due = module.is_target() && module.settings.feed_forward.is_none();
        (is_due && !module.has(&[Role::A, Role::B])).then_some(Role::A)
    }

    fn take(&self, module: &Module, weights: &mut AdapterWeights) {
        let (path, settings) = (&module.path, module.settings);
        let scale = settings.scale_of(path);
        if let (Some(a), Some(b)) = (module.held(Role::A), module.held(Role::B)) {
            let pair = LoraPair {
                bias: module.held(Role::OutBias).map(|held| held.1),
                ..LoraPair::of(a, b, scale)
            };
            if settings.pattern_path(path) != *path {
                weights.parameters.insert(path.to_owned());
            }
            match is_of_experts(path) {
                true => {
                    let experts = pair.rank / settings.rank_of(path).max(1);
                    weights.pairs.extend(pair.by_expert(path, experts));
                }
                false => drop(weights.pairs.insert(path.to_owned(), pair)),
            }
        }
        let halves = (module.held(Role::EmbeddingA), module.held(Role::EmbeddingB));
        if let (Some((a_shape, a)), Some((b_shape, b))) = halves {
            let (vocab, rank, width) = (a_shape[1], a_shape[0], b_shape[0]);
            let a = (vec![vocab, rank], transposed(&a, rank, vocab));
            let b = (vec![rank, width], transposed(&b, width, rank));
            weights
                .embeddings
                .insert(path.to_owned(), LoraPair::of(b, a, scale));
        }
    }

    fn judge(&self, facts: &Facts, said: &mut Verdict) {
        let rank = facts.max_rank();
        said.wrong_if(
            Runtime::Vllm,
            facts.own_alphas,
            "`alpha_pattern` is passed over: one scale for all modules",
        );
        said.wrong_if(
            Runtime::Vllm,
            facts.own_ranks,
            "`rank_pattern` is passed over: one scale for all modules",
        );
        said.refuses_if(Runtime::Vllm, facts.experts, "pairs on experts (`target_parameters`) are read along other axes, which ends in a mismatch of shapes");
        let reason = format!("rank {rank} needs --max-lora-rank (its default is {VLLM_RANK})");
        said.notes_if(Runtime::Vllm, rank > VLLM_RANK, &reason);
        said.refuses_if(
            Runtime::LlamaCpp,
            facts.head && facts.tied,
            "embedding and head are one matrix there, which takes no pair of the head",
        );
        said.refuses_if(Runtime::LlamaCpp, facts.embedding && facts.tied, "embedding and head are one matrix there, so that a pair of the embedding is taken for the head's too");
        said.refuses_if(Runtime::LlamaCpp, facts.experts, "its converter does not know pairs on experts (`target_parameters`); `hone export --to gguf-adapter` does");
        said.wrong_if(
            Runtime::LlamaCpp,
            facts.rank_stabilised && rank > 1,
            "its converter passes over `use_rslora`: the scale becomes alpha / rank",
        );
        said.wrong_if(
            Runtime::LlamaCpp,
            facts.own_alphas,
            "its converter passes over `alpha_pattern`",
        );
    }
}

/// The pair that a configuration asks for at a projection.
fn member(asked: &Asked, site: Site) -> Member {
    let (config, path) = (asked.config, site.path());
    let times = match asked.is_doubled && site.group() == Group::ExpertsIn {
        true => 2,
        false => 1,
    };
    Member {
        site,
        rank: own(&config.rank_pattern, &path).unwrap_or(times * config.rank),
        alpha: own(&config.alpha_pattern, &path).unwrap_or(times as f32 * config.alpha),
    }
}

fn own<T: Copy>(patterns: &[(String, T)], path: &str) -> Option<T> {
    let mut patterns = patterns.iter();
    let found = patterns.find(|(name, _)| target_matches(name, path))?;
    Some(found.1)
}

/// A pair of the embedding: a token's row grows by `s · A[token]·Bᵀ`.
#[derive(Debug)]
pub(crate) struct LowRankRows {
    path: &'static str,
    rank: usize,
    scale: f32,
    vocab_size: usize,
    d_model: usize,
    /// `[vocabulary, rank]` begins here: transposed against the file, so that a token's numbers lie together.
    a_offset: usize,
    /// `[d_model, rank]` begins here.
    b_offset: usize,
}

impl LowRankRows {
    pub fn new(base: &DecoderConfig, (rank, alpha): (usize, f32), rank_stabilised: bool) -> Self {
        Self {
            path: base.names.embedding.0,
            rank,
            scale: scale(alpha, rank, rank_stabilised),
            vocab_size: base.vocab_size,
            d_model: base.d_model,
            a_offset: 0,
            b_offset: 0,
        }
    }

    fn b<'n>(&self, numbers: &'n Tensor) -> MatRef<'n> {
        numbers.window(self.b_offset, self.d_model, self.rank)
    }

    /// The low-rank numbers of tokens, `[ids, rank]`.
    fn hidden(&self, numbers: &Tensor, ids: &Index) -> Tensor {
        let device = numbers.device();
        let mut low = device.empty(ids.len(), self.rank);
        let a = numbers.window(self.a_offset, self.vocab_size, self.rank);
        device.gather_window(a, ids.all(), &mut low);
        low
    }
}

impl Trained for LowRankRows {
    fn place(&mut self, _: Option<&LowRank>, table: &mut ParamTable) {
        let (rank, vocab_size, d_model) = (self.rank, self.vocab_size, self.d_model);
        let param = |role, shape| Param::new(self.path, role, shape);
        self.a_offset = table.place(param(Role::EmbeddingA, (rank, vocab_size)));
        self.b_offset = table.place(param(Role::EmbeddingB, (d_model, rank)));
    }

    /// PEFT draws `B` from a normal distribution and leaves `A` zero.
    fn draw(&self, numbers: &mut [f32], seed: Seed) {
        let mut stream = seed.child(self.path).stream();
        numbers[self.b_offset..][..self.d_model * self.rank].fill_with(|| normal(&mut stream));
    }
}

impl Rows for LowRankRows {
    fn forward(&self, numbers: &Tensor, ids: &Index, weight: f32, rows: &mut Tensor) {
        let low = self.hidden(numbers, ids);
        let (b, scale) = (self.b(numbers), weight * self.scale);
        numbers
            .device()
            .matmul(low.view(), b.t(), scale, rows.view_mut(), true);
    }

    fn backward(
        &self,
        numbers: &Tensor,
        ids: &Index,
        weight: f32,
        drows: &Tensor,
        grads: &mut Tensor,
    ) {
        let (device, scale) = (numbers.device(), weight * self.scale);
        let low = self.hidden(numbers, ids);
        let db = grads.window_mut(self.b_offset, self.d_model, self.rank);
        device.matmul(drows.view().t(), low.view(), scale, db, true);
        let mut dlow = device.empty(ids.len(), self.rank);
        device.matmul(drows.view(), self.b(numbers), scale, dlow.view_mut(), false);
        let da = grads.window_mut(self.a_offset, self.vocab_size, self.rank);
        device.scatter_add_window(&dlow, ids.all(), da);
    }

    /// And so it is no pair of a head that is tied to the embedding.
    fn is_additive(&self) -> bool {
        true
    }
}

/// Of mean 0 and variance 1 (Box and Muller 1958).
fn normal(stream: &mut hone_ledger::Stream) -> f32 {
    let (radius, angle) = (1.0 - stream.unit_f32(), stream.unit_f32());
    let angle = 2.0 * std::f64::consts::PI * f64::from(angle);
    ((-2.0 * f64::from(radius).ln()).sqrt() * angle.cos()) as f32
}

/// `W + s·BA`.
impl Edit for LoraPair {
    fn begin<'e>(&'e self, device: &'e Device) -> EditRows<'e> {
        // On the device for all rows of the tensor.
        let a = device.tensor(self.rank, self.width, &self.a);
        Box::new(move |rows, panel| {
            let rank = self.rank;
            let b = rows.iter().flat_map(|row| &self.b[row * rank..][..rank]);
            let b: Vec<f32> = b.copied().collect();
            let b = device.tensor(rows.len(), rank, &b);
            let mut sum = device.tensor(rows.len(), self.width, panel);
            device.scope(|| device.matmul(b.view(), a.view(), self.scale, sum.view_mut(), true));
            *panel = sum.to_vec()?;
            Ok(())
        })
    }
}

/// `b + s·bias`, of the bias of `B`.
#[derive(Debug)]
pub(crate) struct AddedBias(pub Vec<f32>);

impl Edit for AddedBias {
    fn begin<'e>(&'e self, _: &'e Device) -> EditRows<'e> {
        row_by_row(move |_, out| out.iter_mut().zip(&self.0).for_each(|(x, bias)| *x += bias))
    }
}
