//! Where everything an adapter trains lies in its one flat buffer.
//!
//! First the low-rank pairs, group by group: the hot path reads nothing else. Then what is trained at single
//! projections (a magnitude, a bias, a whole matrix, factors), then what is trained at the embedding.

use std::ops::Range;

use super::config::scale;
use crate::site::Site;
use crate::weights::{DecoderConfig, Group};

/// The adapted projections that read one input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdaptedGroup {
    pub layer: usize,
    pub group: Group,
    /// Input features.
    pub width: usize,
    /// Sum of the members' ranks.
    pub total_rank: usize,
    /// How many there are of each matrix: one, or one for each expert, one after the other.
    pub copies: usize,
    /// `A` of all members, `[total_rank, width]`, begins here in the flat buffer.
    pub a_offset: usize,
    pub members: Vec<LowRank>,
}

/// One adapted projection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LowRank {
    pub site: Site,
    pub rank: usize,
    pub alpha: f32,
    pub scale: f32,
    /// First of its rows in the group's `A`.
    pub rank_offset: usize,
    /// Output features.
    pub out: usize,
    /// `B`, `[out, rank]`, begins here in the flat buffer.
    pub b_offset: usize,
}

impl LowRank {
    /// Its columns of the group's narrow activations.
    pub fn ranks(&self) -> Range<usize> {
        self.rank_offset..self.rank_offset + self.rank
    }
}

/// What one projection's adapter is, before it has a place in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member {
    pub site: Site,
    pub rank: usize,
    pub alpha: f32,
}

/// Everything an adapter trains, before it has a place in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wanted {
    pub members: Vec<Member>,
    pub rank_stabilised: bool,
    /// Every member has a magnitude.
    pub dora: bool,
    pub biases: Vec<Site>,
    pub whole: Vec<Site>,
    /// Learnt factors; whether they are for inputs.
    pub factors: Vec<(Site, bool)>,
    pub embedding: WantedEmbedding,
}

/// What is trained at the embedding.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WantedEmbedding {
    /// Rank and alpha of a low-rank pair.
    pub low_rank: Option<(usize, f32)>,
    pub whole: bool,
    /// Rising.
    pub token_rows: Vec<u32>,
    /// Rising; of a head that is not tied.
    pub head_rows: Vec<u32>,
}

/// What is trained at one projection beside a low-rank pair.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AtSite {
    /// Its place among those of the adapter.
    pub index: usize,
    pub site: Site,
    pub layer: usize,
    pub group: Group,
    pub out: usize,
    pub width: usize,
    /// DoRA's magnitude `[out]`; the projection is a member of its group.
    pub magnitude: Option<usize>,
    pub bias: Option<usize>,
    /// The whole matrix `[out, width]`; the embedding's own for a tied head.
    pub whole: Option<usize>,
    /// IA³'s factors, for inputs if so marked.
    pub factors: Option<(usize, bool)>,
    /// Rows of trained tokens in place of its own: a head. Of a tied one they are the embedding's.
    pub token_rows: Option<TokenRows>,
}

/// What is trained at the embedding, in its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct AtEmbedding {
    pub low_rank: Option<LowRankRows>,
    /// `[vocabulary, d_model]` begins here.
    pub whole: Option<usize>,
    pub token_rows: Option<TokenRows>,
}

/// A low-rank pair of the embedding: a token's row grows by `scale · A[token] · Bᵀ`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LowRankRows {
    pub rank: usize,
    pub alpha: f32,
    pub scale: f32,
    /// `[vocabulary, rank]` begins here: transposed against the file, so that a token's numbers lie together.
    pub a_offset: usize,
    /// `[d_model, rank]` begins here.
    pub b_offset: usize,
}

/// Trained rows of single tokens, whole rows and no differences.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenRows {
    /// Rising.
    pub ids: Vec<u32>,
    /// `[ids, d_model]` begins here.
    pub offset: usize,
}

impl AtEmbedding {
    /// Whether anything is trained there.
    pub fn is_trained(&self) -> bool {
        self.low_rank.is_some() || self.whole.is_some() || self.token_rows.is_some()
    }
}

/// What a matrix of an adapter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Input to bottleneck.
    A,
    /// Bottleneck to output.
    B,
    /// DoRA's length of each row.
    Magnitude,
    /// The base's bias, trained.
    Bias,
    /// A matrix of the base, trained.
    Whole,
    /// IA³'s factors.
    Factors,
    /// Token to bottleneck; lies transposed in the flat buffer.
    EmbeddingA,
    /// Bottleneck to embedding.
    EmbeddingB,
    /// Rows of the embedding, trained.
    TokenRows,
}

impl Role {
    /// Whether LoRA+ (Hayou et al. 2024) gives it the faster rate: `B`, and vectors as PEFT counts them.
    pub fn is_faster(self) -> bool {
        matches!(
            self,
            Self::B | Self::EmbeddingB | Self::Magnitude | Self::Bias
        )
    }

    /// Whether it is a vector on disk.
    pub(crate) fn is_vector(self) -> bool {
        matches!(self, Self::Magnitude | Self::Bias)
    }
}

/// One matrix of an adapter by its PEFT name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedMatrix {
    /// For example `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// First element in the flat buffer.
    pub offset: usize,
    /// Rows, as on disk.
    pub rows: usize,
    /// Columns, as on disk.
    pub cols: usize,
    /// How many experts it holds the matrices of, or 1. In the flat buffer they lie one after the other; on disk so do
    /// those of `A`, and the columns of `B` go from expert to expert.
    pub copies: usize,
}

impl NamedMatrix {
    /// How many numbers.
    pub fn size(&self) -> usize {
        self.rows * self.cols
    }

    /// What it is for; PEFT's names tell.
    pub fn role(&self) -> Role {
        let ends = [
            (".lora_A.weight", Role::A),
            (".lora_B.weight", Role::B),
            (".lora_magnitude_vector", Role::Magnitude),
            (".bias", Role::Bias),
            (".ia3_l", Role::Factors),
            (".lora_embedding_A", Role::EmbeddingA),
            (".lora_embedding_B", Role::EmbeddingB),
            (".trainable_tokens_delta", Role::TokenRows),
        ];
        let found = ends.iter().find(|(end, _)| self.name.ends_with(end));
        found.map_or(Role::Whole, |(_, role)| *role)
    }

    /// Its numbers from the flat buffer, in the order of the file.
    pub fn to_disk(&self, flat: &[f32]) -> Vec<f32> {
        let numbers = &flat[self.offset..][..self.size()];
        match self.role() {
            Role::EmbeddingA => transposed(numbers, self.cols, self.rows),
            // `[experts, out, rank]` becomes `[out, rank, experts]`.
            Role::B if self.copies > 1 => {
                transposed(numbers, self.copies, self.size() / self.copies)
            }
            _ => numbers.to_vec(),
        }
    }

    /// Puts numbers in the order of the file into the flat buffer.
    pub(crate) fn place_from_disk(&self, numbers: &[f32], flat: &mut [f32]) {
        let place = &mut flat[self.offset..][..self.size()];
        match self.role() {
            Role::EmbeddingA => place.copy_from_slice(&transposed(numbers, self.rows, self.cols)),
            Role::B if self.copies > 1 => {
                let size = self.size() / self.copies;
                place.copy_from_slice(&transposed(numbers, size, self.copies));
            }
            _ => place.copy_from_slice(numbers),
        }
    }

    /// Its shape in the file.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self.role().is_vector() {
            true => vec![self.cols],
            false => vec![self.rows, self.cols],
        }
    }
}

fn transposed(numbers: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let column = |col| (0..rows).map(move |row| numbers[row * cols + col]);
    (0..cols).flat_map(column).collect()
}

/// PEFT's name for trained rows, behind the module.
pub(super) const TOKEN_ROWS: &str = "token_adapter.trainable_tokens_delta";

/// An adapter's places.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    pub groups: Vec<AdaptedGroup>,
    pub sites: Vec<AtSite>,
    pub embedding: AtEmbedding,
    /// Numbers in the flat buffer.
    pub len: usize,
    vocab_size: usize,
    pub d_model: usize,
    tied_head: bool,
    /// Module of the embedding.
    pub embedding_path: &'static str,
}

impl Layout {
    /// Gives everything its place.
    pub fn new(wanted: &Wanted, base: &DecoderConfig) -> Self {
        let mut groups = group_members(wanted, base);
        let mut len = 0;
        let mut place = |size: usize| {
            len += size;
            len - size
        };
        for group in &mut groups {
            group.a_offset = place(group.copies * group.total_rank * group.width);
            for member in &mut group.members {
                member.b_offset = place(group.copies * member.out * member.rank);
            }
        }
        let mut sites: Vec<AtSite> = Vec::new();
        for site in base.sites() {
            let mut at = AtSite::empty(site, base);
            let (out, width) = (at.out, at.width);
            let is_member = wanted.members.iter().any(|member| member.site == site);
            at.magnitude = (wanted.dora && is_member).then(|| place(out));
            at.bias = wanted.biases.contains(&site).then(|| place(out));
            at.whole = wanted.whole.contains(&site).then(|| place(out * width));
            let factors = wanted.factors.iter().find(|(own, _)| *own == site);
            let rows = &wanted.embedding.head_rows;
            at.token_rows = (site.is_head() && !rows.is_empty()).then(|| TokenRows {
                ids: rows.clone(),
                offset: place(rows.len() * width),
            });
            at.factors =
                factors.map(|&(_, is_input)| (place(if is_input { width } else { out }), is_input));
            if at.is_trained() {
                at.index = sites.len();
                sites.push(at);
            }
        }
        let (vocab_size, d_model) = (base.vocab_size, base.d_model);
        let rows = &wanted.embedding.token_rows;
        let embedding = AtEmbedding {
            low_rank: wanted.embedding.low_rank.map(|(rank, alpha)| LowRankRows {
                rank,
                alpha,
                scale: scale(alpha, rank, wanted.rank_stabilised),
                a_offset: place(vocab_size * rank),
                b_offset: place(d_model * rank),
            }),
            whole: wanted.embedding.whole.then(|| place(vocab_size * d_model)),
            token_rows: (!rows.is_empty()).then(|| TokenRows {
                ids: rows.clone(),
                offset: place(rows.len() * d_model),
            }),
        };
        if base.tied_head && (embedding.whole.is_some() || embedding.token_rows.is_some()) {
            let mut head = AtSite::empty(base.head(), base);
            head.whole = embedding.whole;
            head.token_rows = embedding.token_rows.clone();
            head.index = sites.len();
            sites.push(head);
        }
        Self {
            groups,
            sites,
            embedding,
            len,
            vocab_size,
            d_model,
            tied_head: base.tied_head,
            embedding_path: base.names.embedding.0,
        }
    }

    /// The matrices by their PEFT names, in the order of the flat buffer.
    pub fn matrices(&self) -> Vec<NamedMatrix> {
        let groups = self.groups.iter();
        let mut all: Vec<NamedMatrix> = groups.flat_map(|group| self.matrices_of(group)).collect();
        all.extend(self.sites.iter().flat_map(|at| self.matrices_at(at)));
        all.extend(self.matrices_of_embedding());
        all
    }

    /// The matrices of one group, in the order of the flat buffer.
    fn matrices_of(&self, group: &AdaptedGroup) -> Vec<NamedMatrix> {
        let copies = group.copies;
        let matrix = |site: &Site, half: &str, offset, rows, cols| NamedMatrix {
            name: format!("{}.lora_{half}.weight", self.module_of(*site)),
            offset,
            rows,
            cols,
            copies,
        };
        let a = group.members.iter().map(|m| {
            let offset = group.a_offset + m.rank_offset * group.width;
            matrix(&m.site, "A", offset, copies * m.rank, group.width)
        });
        let b = group
            .members
            .iter()
            .map(|m| matrix(&m.site, "B", m.b_offset, m.out, copies * m.rank));
        a.chain(b).collect()
    }

    /// Where PEFT hangs the tensors of a projection's pair. Experts are parameters of one module: their wrappers are put
    /// around each other in the order of the parameters.
    fn module_of(&self, site: Site) -> String {
        let path = site.path();
        if !site.group().is_of_experts() {
            return path;
        }
        let module = path
            .rsplit_once('.')
            .map_or(path.as_str(), |(module, _)| module);
        let is_around = |group: &AdaptedGroup| {
            group.group == Group::ExpertsOut && site.is_in_layer(group.layer)
        };
        match site.group() == Group::ExpertsIn && self.groups.iter().any(is_around) {
            true => format!("{module}.base_layer"),
            false => module.to_owned(),
        }
    }

    fn matrices_at(&self, at: &AtSite) -> Vec<NamedMatrix> {
        let path = at.site.path();
        let matrix = |name: String, offset, rows, cols| NamedMatrix {
            name,
            offset,
            rows,
            cols,
            copies: 1,
        };
        let mut all = Vec::new();
        if let Some(offset) = at.magnitude {
            let name = format!("{path}.lora_magnitude_vector");
            all.push(matrix(name, offset, 1, at.out));
        }
        if let Some(offset) = at.bias {
            // PEFT wraps an adapted module, and its own parameters move one level down.
            let name = match self.is_member(at.site) {
                true => format!("{path}.base_layer.bias"),
                false => format!("{path}.bias"),
            };
            all.push(matrix(name, offset, 1, at.out));
        }
        let is_own = !(self.tied_head && at.site.is_head());
        if let Some(offset) = at.whole.filter(|_| is_own) {
            let name = format!("{path}.weight");
            all.push(matrix(name, offset, at.out, at.width));
        }
        if let Some(TokenRows { ids, offset }) = at.token_rows.as_ref().filter(|_| is_own) {
            let name = format!("{path}.{TOKEN_ROWS}");
            all.push(matrix(name, *offset, ids.len(), at.width));
        }
        if let Some((offset, is_input)) = at.factors {
            let (rows, cols) = if is_input { (1, at.width) } else { (at.out, 1) };
            let name = format!("{path}.ia3_l");
            all.push(matrix(name, offset, rows, cols));
        }
        all
    }

    fn matrices_of_embedding(&self) -> Vec<NamedMatrix> {
        let matrix = |name: &str, offset, rows, cols| NamedMatrix {
            name: format!("{}.{name}", self.embedding_path),
            offset,
            rows,
            cols,
            copies: 1,
        };
        let mut all = Vec::new();
        if let Some(low) = &self.embedding.low_rank {
            let (rank, vocab, width) = (low.rank, self.vocab_size, self.d_model);
            let a = ("lora_embedding_A", low.a_offset, rank, vocab);
            let b = ("lora_embedding_B", low.b_offset, width, rank);
            for (name, offset, rows, cols) in [a, b] {
                all.push(matrix(name, offset, rows, cols));
            }
        }
        if let Some(offset) = self.embedding.whole {
            let (rows, cols) = (self.vocab_size, self.d_model);
            all.push(matrix("weight", offset, rows, cols));
        }
        if let Some(TokenRows { ids, offset }) = &self.embedding.token_rows {
            all.push(matrix(TOKEN_ROWS, *offset, ids.len(), self.d_model));
        }
        all
    }

    /// The low-rank pair at a projection, if there is one.
    pub fn member(&self, site: Site) -> Option<(&AdaptedGroup, &LowRank)> {
        self.groups.iter().find_map(|group| {
            let member = group.members.iter().find(|member| member.site == site)?;
            Some((group, member))
        })
    }

    fn is_member(&self, site: Site) -> bool {
        self.member(site).is_some()
    }

    /// The first layer where something is trained.
    pub fn lowest_layer(&self) -> usize {
        if self.embedding.is_trained() {
            return 0;
        }
        let groups = self.groups.iter().map(|group| group.layer);
        let sites = self.sites.iter().map(|at| at.layer);
        groups.chain(sites).min().unwrap_or(usize::MAX)
    }
}

impl AtSite {
    fn empty(site: Site, base: &DecoderConfig) -> Self {
        let (out, width) = base.projection(site);
        Self {
            index: 0,
            site,
            layer: site.layer_index(base.num_layers),
            group: site.group(),
            out,
            width,
            magnitude: None,
            bias: None,
            whole: None,
            factors: None,
            token_rows: None,
        }
    }

    fn is_trained(&self) -> bool {
        self.magnitude.is_some()
            || self.bias.is_some()
            || self.whole.is_some()
            || self.factors.is_some()
            || self.token_rows.is_some()
    }
}

/// The low-rank pairs by the input they read, in the order of the network; offsets are still to come.
fn group_members(wanted: &Wanted, base: &DecoderConfig) -> Vec<AdaptedGroup> {
    let mut groups: Vec<AdaptedGroup> = Vec::new();
    for member in &wanted.members {
        let (layer, group) = (
            member.site.layer_index(base.num_layers),
            member.site.group(),
        );
        let (out, width) = base.projection(member.site);
        let at = groups
            .iter()
            .position(|g| g.layer == layer && g.group == group)
            .unwrap_or_else(|| {
                groups.push(AdaptedGroup {
                    layer,
                    group,
                    width,
                    copies: base.copies(member.site),
                    total_rank: 0,
                    a_offset: 0,
                    members: vec![],
                });
                groups.len() - 1
            });
        let target = &mut groups[at];
        target.members.push(LowRank {
            site: member.site,
            rank: member.rank,
            alpha: member.alpha,
            scale: scale(member.alpha, member.rank, wanted.rank_stabilised),
            rank_offset: target.total_rank,
            out,
            b_offset: 0,
        });
        target.total_rank += member.rank;
    }
    groups.sort_by_key(|g| (g.layer, g.group));
    groups
}
