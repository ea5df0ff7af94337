//! Fused linear layers taken apart and put together again.

use hone_tensor::{Columns, Tensor};

use super::Pass;
use crate::arch::Group;

impl Pass<'_> {
    /// Outputs of the linear layers of a group of layer `index` as its parts, queries, keys and values for example; those that are fused
    /// come apart.
    pub(super) fn split(&self, index: usize, group: Group, outs: Vec<Tensor>) -> Vec<Tensor> {
        let config = &self.decoder.config;
        let sites = config.group_sites(index, group).zip(outs);
        let parts = sites.flat_map(|(site, out)| {
            if site.place().parts.len() == 1 {
                return vec![out];
            }
            let part = |columns: Columns| {
                let mut part = self.device().empty(out.rows(), columns.total());
                self.device().split_columns(&out, columns, &mut part);
                part
            };
            config.columns(site).into_iter().map(part).collect()
        });
        parts.collect()
    }

    /// The reverse of [`Self::split`], for gradients.
    pub(super) fn merge(&self, index: usize, group: Group, parts: Vec<Tensor>) -> Vec<Tensor> {
        let config = &self.decoder.config;
        let mut parts = parts.into_iter();
        let outs = config.group_sites(index, group).map(|site| {
            let mut part = || parts.next().expect("a gradient for each part");
            if site.place().parts.len() == 1 {
                return part();
            }
            let (width, columns) = (config.projection(site).0, config.columns(site));
            let first = part();
            let mut out = self.device().empty(first.rows(), width);
            self.device().merge_columns(&first, columns[0], &mut out);
            for columns in &columns[1..] {
                self.device().merge_columns(&part(), *columns, &mut out);
            }
            out
        });
        outs.collect()
    }
}
