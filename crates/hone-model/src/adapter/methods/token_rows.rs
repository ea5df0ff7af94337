//! Trained rows of single tokens, at the embedding and at the head: whole rows and no differences, PEFT's
//! `trainable_token_indices`.

use hone_tensor::{Device, Index, Tensor, Weight};

use super::whole::{whole_at, whole_embedding};
use crate::adapter::config::{AttachError, together};
use crate::adapter::facts::Facts;
use crate::adapter::fitting::Fitting;
use crate::adapter::layout::Wanted;
use crate::adapter::method::Method;
use crate::adapter::pairs::LowRank;
use crate::adapter::raw::Module;
use crate::adapter::runtimes::{Runtime, Verdict};
use crate::adapter::select::{Asked, known_tokens};
use crate::adapter::spelling::Role;
use crate::adapter::table::{Param, ParamTable};
use crate::adapter::trained::{Edit, EditRows, Matrix, Rows, Through, Trained, row_by_row};
use crate::adapter::weights::{AdapterWeights, TrainedRows};
use crate::arch::{DecoderConfig, Site};

pub(super) struct TokenRows;

impl Method for TokenRows {
    fn name(&self) -> &'static str {
        "trained token rows"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::TokenRows]
    }

    fn mixes(&self) -> bool {
        false
    }

    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError> {
        let (config, base) = (asked.config, asked.base);
        let token_rows = known_tokens(&config.token_rows, base)?;
        let head_rows = known_tokens(&config.head_rows, base)?;
        let has_head = asked
            .whole
            .iter()
            .chain(&asked.sites)
            .any(|site| site.is_head());
        let (of_head, of_embedding) = ("trained rows of the head", "trained token rows");
        let (trains_head, trains_embedding) = (!head_rows.is_empty(), !token_rows.is_empty());
        let beside_embedding = asked.embedding_whole || asked.embedding;
        together([
            (
                trains_head && base.tied_head,
                of_head,
                "a head that is tied to the embedding",
            ),
            (
                trains_head && has_head,
                of_head,
                "another adapter of the head",
            ),
            (
                trains_embedding && beside_embedding,
                of_embedding,
                "another adapter of the embedding",
            ),
        ])?;
        if trains_head {
            wanted.add_matrix(
                base.head(),
                OwnRows::new(Some(base.head()), base, head_rows),
            );
        }
        if trains_embedding {
            wanted.add_rows(OwnRows::new(None, base, token_rows));
        }
        Ok(())
    }

    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted) {
        let (path, base) = (site.path(), fitting.base);
        let ids = &fitting.settings.head_ids;
        let is_own = site.is_head() && !base.tied_head && !ids.is_empty();
        let Some(tensor) = fitting.at(&path, Role::TokenRows).filter(|_| is_own) else {
            return;
        };
        wanted.add_matrix(site, OwnRows::new(Some(site), base, sorted(ids)));
        let other = fitting.at(&path, Role::A).or(whole_at(site, fitting));
        if other.is_some() {
            let what = "are trained rows beside another adapter of the head";
            fitting.refuse(tensor, what);
        }
    }

    fn fit_embedding(&self, fitting: &mut Fitting, wanted: &mut Wanted) {
        let path = fitting.base.names.embedding.0;
        let Some(tensor) = fitting.at(path, Role::TokenRows) else {
            return;
        };
        let ids = sorted(fitting.settings.tokens_at(path));
        wanted.add_rows(OwnRows::new(None, fitting.base, ids));
        let pair = fitting.at(path, Role::EmbeddingA);
        if pair.or(whole_embedding(fitting)).is_some() {
            let what = "are trained rows beside another adapter of the embedding";
            fitting.refuse(tensor, what);
        }
    }

    fn unexpected(&self, _: Role, module: &Module) -> Option<&'static str> {
        (!module.settings.token_rows)
            .then_some("holds rows of tokens, but `trainable_token_indices` is not set")
    }

    fn take(&self, module: &Module, weights: &mut AdapterWeights) {
        if let Some((_, numbers)) = module.held(Role::TokenRows) {
            let ids = module.settings.tokens_at(&module.path).to_vec();
            let rows = TrainedRows { ids, numbers };
            weights.token_rows.insert(module.path.clone(), rows);
        }
    }

    fn judge(&self, facts: &Facts, said: &mut Verdict) {
        said.notes_if(
            Runtime::Vllm,
            facts.token_rows,
            "rows of tokens need a version that has --max-lora-trainable-tokens",
        );
        said.refuses_if(
            Runtime::LlamaCpp,
            facts.token_rows,
            "its converter refuses rows of tokens",
        );
    }
}

fn sorted(ids: &[u32]) -> Vec<u32> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

/// Rows of an embedding or a head, `[tokens, width]`.
#[derive(Clone, Debug)]
pub(crate) struct OwnRows {
    /// None for the embedding.
    site: Option<Site>,
    path: String,
    /// Rising.
    ids: Index,
    width: usize,
    offset: usize,
}

impl OwnRows {
    pub fn new(site: Option<Site>, base: &DecoderConfig, ids: Vec<u32>) -> Self {
        Self {
            path: base.path_of(site),
            site,
            ids: ids.into(),
            width: base.d_model,
            offset: 0,
        }
    }

    /// Where trained tokens stand among `ids`, and which of them each is.
    fn found(&self, ids: &[u32]) -> (Index, Index) {
        let place = |(at, id): (usize, &u32)| Some((at, self.ids.binary_search(id).ok()?));
        let (at, which): (Vec<usize>, Vec<usize>) =
            ids.iter().enumerate().filter_map(place).unzip();
        (at.into_iter().collect(), which.into_iter().collect())
    }
}

impl Trained for OwnRows {
    fn place(&mut self, _: Option<&LowRank>, table: &mut ParamTable) {
        self.offset = table.place(Param {
            site: self.site,
            tokens: self.ids.to_vec(),
            ..Param::new(&self.path, Role::TokenRows, (self.ids.len(), self.width))
        });
    }

    fn fill(&self, weight: &Weight, _: Option<&Tensor>, numbers: &mut Tensor) {
        let (device, count) = (numbers.device().clone(), self.ids.len());
        let mut rows = device.empty(count, self.width);
        device.embed(self.ids.all(), weight, &mut rows);
        let places: Index = (0..count).collect();
        let place = numbers.window_mut(self.offset, count, self.width);
        device.scatter_add_window(&rows, places.all(), place);
    }
}

impl Matrix for OwnRows {
    fn product(&self, at: &Through, x: &Tensor, y: &mut Tensor) {
        let device = at.device();
        device.linear(x.view(), &at.projection.weight, y, false);
        for (i, &id) in self.ids.iter().enumerate() {
            let row = at.row(self.offset + i * self.width, self.width);
            let column = y.view_cols_mut(id as usize..id as usize + 1);
            device.matmul(x.view(), row.t(), 1.0, column, false);
        }
    }

    fn gradients(&self, at: &Through, x: &Tensor, dy: &Tensor, grads: &mut Tensor) {
        for (i, &id) in self.ids.iter().enumerate() {
            let place = grads.window_mut(self.offset + i * self.width, 1, self.width);
            let column = dy.view_cols(id as usize..id as usize + 1);
            at.device().matmul(column.t(), x.view(), 1.0, place, true);
        }
    }

    fn input_gradient(&self, at: &Through, dy: &Tensor, dx: &mut Tensor, accumulate: bool) {
        let (device, weight) = (at.device(), &at.projection.weight);
        device.linear_backward(dy.view(), weight, dx, accumulate);
        // The base's row went through; the trained one should have.
        let mut base = device.empty(self.ids.len(), self.width);
        device.embed(self.ids.all(), weight, &mut base);
        for (i, &id) in self.ids.iter().enumerate() {
            let column = dy.view_cols(id as usize..id as usize + 1);
            let own = at.row(self.offset + i * self.width, self.width);
            let base = base.view_rows(i..i + 1);
            device.matmul(column, base, -1.0, dx.view_mut(), true);
            device.matmul(column, own, 1.0, dx.view_mut(), true);
        }
    }
}

impl Rows for OwnRows {
    fn forward(&self, numbers: &Tensor, ids: &Index, _: f32, rows: &mut Tensor) {
        let device = numbers.device();
        let (at, which) = self.found(ids);
        let mut own = device.empty(at.len(), self.width);
        let window = numbers.window(self.offset, self.ids.len(), self.width);
        device.gather_window(window, which.all(), &mut own);
        for (from, to) in at.rows().enumerate() {
            device.copy_rows(&own, from, 1, rows, to);
        }
    }

    fn backward(&self, _: &Tensor, ids: &Index, _: f32, drows: &Tensor, grads: &mut Tensor) {
        let device = drows.device();
        let (at, which) = self.found(ids);
        let mut own = device.empty(at.len(), self.width);
        device.gather_rows(drows, at.all(), &mut own);
        let window = grads.window_mut(self.offset, self.ids.len(), self.width);
        device.scatter_add_window(&own, which.all(), window);
    }

    fn at_tied_head(&self) -> Option<Box<dyn Matrix>> {
        Some(Box::new(self.clone()))
    }
}

/// Other numbers in some rows.
impl Edit for TrainedRows {
    fn begin<'e>(&'e self, _: &'e Device) -> EditRows<'e> {
        row_by_row(move |row, out| {
            if let Some(at) = self.ids.iter().position(|id| *id as usize == row) {
                out.copy_from_slice(&self.numbers[at * out.len()..][..out.len()]);
            }
        })
    }
}
