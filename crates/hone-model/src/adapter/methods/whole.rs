//! Fully trained modules: a matrix in place of the base's, PEFT's `modules_to_save`.

use hone_tensor::{Device, Index, Tensor, Weight};

use crate::adapter::config::AttachError;
use crate::adapter::facts::Facts;
use crate::adapter::fitting::Fitting;
use crate::adapter::layout::Wanted;
use crate::adapter::method::Method;
use crate::adapter::pairs::LowRank;
use crate::adapter::raw::{Module, RawTensor};
use crate::adapter::runtimes::{Runtime, Verdict};
use crate::adapter::select::Asked;
use crate::adapter::spelling::Role;
use crate::adapter::table::{Param, ParamTable};
use crate::adapter::targets::{EMBEDDINGS, HEADS, names_any};
use crate::adapter::trained::{
    Edit, EditRows, Matrix, PANEL, Rows, Through, Trained, panel, row_by_row,
};
use crate::adapter::weights::AdapterWeights;
use crate::arch::{DecoderConfig, Site};

pub(super) struct Whole;

impl Method for Whole {
    fn name(&self) -> &'static str {
        "modules trained whole"
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Whole, Role::BaseWeight]
    }

    fn mixes(&self) -> bool {
        false
    }

    fn ask(&self, asked: &Asked, wanted: &mut Wanted) -> Result<(), AttachError> {
        let base = asked.base;
        for site in &asked.whole {
            wanted.add_matrix(*site, OwnMatrix::new(Some(*site), base));
        }
        if asked.embedding_whole {
            wanted.add_rows(OwnMatrix::new(None, base));
        }
        Ok(())
    }

    fn fit(&self, site: Site, fitting: &mut Fitting, wanted: &mut Wanted) {
        let base = fitting.base;
        match whole_at(site, fitting) {
            Some(tensor) if base.names.is_transposed && !site.is_head() => fitting.refuse(
                tensor,
                "is a trained matrix of a base whose matrices lie transposed",
            ),
            Some(_) => wanted.add_matrix(site, OwnMatrix::new(Some(site), base)),
            None => {}
        }
    }

    fn fit_embedding(&self, fitting: &mut Fitting, wanted: &mut Wanted) {
        if whole_embedding(fitting).is_some() {
            wanted.add_rows(OwnMatrix::new(None, fitting.base));
        }
    }

    fn unexpected(&self, role: Role, module: &Module) -> Option<&'static str> {
        let (settings, path) = (module.settings, &module.path);
        // Of embedding and head PEFT saves copies that no setting names.
        let is_end = names_any(path, &EMBEDDINGS) || names_any(path, &HEADS);
        match role {
            Role::BaseWeight if module.is_no_target() && !module.has(&[Role::TokenRows]) => {
                Some("is a matrix of the base on a module that `target_modules` does not name")
            }
            Role::Whole if !settings.saves_whole(path) && !is_end => {
                Some("is a whole matrix, but `modules_to_save` does not name it")
            }
            _ => None,
        }
    }

    fn promised(&self, site: Site, module: &Module, base: &DecoderConfig) -> Option<Role> {
        let is_tied = base.tied_head && site.is_head();
        let is_due = module.settings.saves_whole(&module.path) && !is_tied;
        (is_due && !module.has(&[Role::Whole])).then_some(Role::Whole)
    }

    fn take(&self, module: &Module, weights: &mut AdapterWeights) {
        let own = [Role::Whole, Role::BaseWeight].into_iter();
        if let Some(held) = own.filter_map(|role| module.held(role)).next() {
            weights
                .whole
                .insert(format!("{}.weight", module.path), held);
        }
    }

    fn judge(&self, facts: &Facts, said: &mut Verdict) {
        let is_saved = !facts.whole_modules.is_empty();
        let has_copies = !facts.copies.is_empty();
        said.refuses_if(Runtime::Vllm, is_saved, "`modules_to_save` is refused");
        said.refuses_if(
            Runtime::Vllm,
            facts.base_weights || has_copies,
            "matrices of the base (`base_layer.weight`, copies of embedding and head) are refused",
        );
        said.refuses_if(
            Runtime::LlamaCpp,
            is_saved && !facts.only_norms,
            "its converter refuses whole matrices (`modules_to_save`)",
        );
        said.refuses_if(
            Runtime::LlamaCpp,
            has_copies,
            "its converter refuses whole matrices of embedding and head, also the base's own",
        );
        said.wrong_if(
            Runtime::LlamaCpp,
            facts.only_norms,
            "trained norms are passed over when the adapter is loaded",
        );
        said.notes_if(
            Runtime::LlamaCpp,
            facts.base_weights,
            "matrices of the base are left out, which is right unless the vocabulary grew",
        );
    }
}

/// The matrix that a file brings for a linear layer. One that no setting names is a copy of the base's, and not its own.
pub(super) fn whole_at<'a>(site: Site, fitting: &Fitting<'a>) -> Option<&'a RawTensor> {
    let (path, is_tied) = (site.path(), fitting.base.tied_head && site.is_head());
    let whole = fitting.at(&path, Role::Whole);
    whole.filter(|_| fitting.settings.saves_whole(&path) && !is_tied)
}

/// The same for the embedding.
pub(super) fn whole_embedding<'a>(fitting: &Fitting<'a>) -> Option<&'a RawTensor> {
    let (path, base) = (fitting.base.names.embedding.0, fitting.base);
    let whole = fitting.at(path, Role::Whole);
    whole.filter(|_| fitting.settings.saves_end(path, base))
}

/// A matrix `[rows, cols]` of a linear layer, or of the embedding.
#[derive(Clone, Debug)]
pub(crate) struct OwnMatrix {
    /// None for the embedding.
    site: Option<Site>,
    path: String,
    rows: usize,
    cols: usize,
    offset: usize,
}

impl OwnMatrix {
    pub fn new(site: Option<Site>, base: &DecoderConfig) -> Self {
        let embedding = (base.vocab_size, base.d_model);
        let (rows, cols) = site.map_or(embedding, |site| base.projection(site));
        Self {
            path: base.path_of(site),
            site,
            rows,
            cols,
            offset: 0,
        }
    }
}

impl Trained for OwnMatrix {
    fn place(&mut self, _: Option<&LowRank>, table: &mut ParamTable) {
        let param = Param::new(&self.path, Role::Whole, (self.rows, self.cols));
        self.offset = table.place(param.at(self.site));
    }

    fn fill(&self, weight: &Weight, _: Option<&Tensor>, numbers: &mut Tensor) {
        let device = numbers.device().clone();
        for first in (0..self.rows).step_by(PANEL) {
            let rows = panel(&device, weight, first);
            let places: Index = (0..rows.rows()).collect();
            let at = self.offset + first * self.cols;
            let place = numbers.window_mut(at, rows.rows(), self.cols);
            device.scatter_add_window(&rows, places.all(), place);
        }
    }
}

impl Matrix for OwnMatrix {
    fn product(&self, at: &Through, x: &Tensor, y: &mut Tensor) {
        let own = at.numbers.window(self.offset, self.rows, self.cols);
        at.device()
            .matmul(x.view(), own.t(), 1.0, y.view_mut(), false);
    }

    fn gradients(&self, at: &Through, x: &Tensor, dy: &Tensor, grads: &mut Tensor) {
        let place = grads.window_mut(self.offset, self.rows, self.cols);
        at.device()
            .matmul(dy.view().t(), x.view(), 1.0, place, true);
    }

    fn input_gradient(&self, at: &Through, dy: &Tensor, dx: &mut Tensor, accumulate: bool) {
        let own = at.numbers.window(self.offset, self.rows, self.cols);
        at.device()
            .matmul(dy.view(), own, 1.0, dx.view_mut(), accumulate);
    }
}

impl Rows for OwnMatrix {
    fn forward(&self, numbers: &Tensor, ids: &Index, _: f32, rows: &mut Tensor) {
        let window = numbers.window(self.offset, self.rows, self.cols);
        numbers.device().gather_window(window, ids.all(), rows);
    }

    fn backward(&self, _: &Tensor, ids: &Index, _: f32, drows: &Tensor, grads: &mut Tensor) {
        let window = grads.window_mut(self.offset, self.rows, self.cols);
        drows.device().scatter_add_window(drows, ids.all(), window);
    }

    fn at_tied_head(&self) -> Option<Box<dyn Matrix>> {
        Some(Box::new(self.clone()))
    }
}

/// Other numbers in place of a tensor's.
#[derive(Debug)]
pub(crate) struct OwnNumbers(pub Vec<f32>);

impl Edit for OwnNumbers {
    fn begin<'e>(&'e self, _: &'e Device) -> EditRows<'e> {
        row_by_row(move |row, out| out.copy_from_slice(&self.0[row * out.len()..][..out.len()]))
    }
}
