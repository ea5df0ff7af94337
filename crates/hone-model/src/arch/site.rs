//! Places where an adapter can sit: the linear layers of a model, by the names its family gives them.

use super::config::DecoderConfig;
use super::names::{Group, Part, Place};

/// One linear layer of one block, or the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    layer: Option<usize>,
    /// Path of the blocks.
    stem: &'static str,
    place: &'static Place,
    slot: usize,
}

impl Site {
    /// The last part of its path: `q_proj`.
    pub fn name(self) -> &'static str {
        self.place.name()
    }

    /// Its module path as Hugging Face names it: `model.layers.0.self_attn.q_proj`. Of experts, the path of the parameter
    /// that holds them all, `model.layers.0.mlp.experts.gate_up_proj`.
    pub fn path(self) -> String {
        let module = self.place.module;
        match self.layer {
            Some(layer) => format!("{}.{layer}.{module}", self.stem),
            None => module.to_owned(),
        }
    }

    /// What PEFT's `target_parameters` and patterns call it, where it is a parameter to PEFT and no module.
    pub(crate) fn parameter(self) -> Option<String> {
        let path = self.path();
        match (self.place.is_parameter, self.group().is_of_experts()) {
            (false, _) => None,
            (true, true) => Some(path),
            (true, false) => Some(format!("{path}.weight")),
        }
    }

    /// Its path in PEFT's patterns of ranks and alphas.
    pub(crate) fn pattern_path(self) -> String {
        self.parameter().unwrap_or_else(|| self.path())
    }

    /// Its module path in the files of a model, where its matrix is one tensor.
    pub(crate) fn stored_path(self) -> String {
        let module = self.place.stored;
        match self.layer {
            Some(layer) => format!("{}.{layer}.{module}", self.stem),
            None => module.to_owned(),
        }
    }

    /// Whether it is the head.
    pub fn is_head(self) -> bool {
        self.layer.is_none()
    }

    /// What it computes.
    pub fn place(self) -> &'static Place {
        self.place
    }

    /// The projections that read the same input.
    pub(crate) fn group(self) -> Group {
        self.place.group
    }

    /// Its place among the projections of its group.
    pub(crate) fn slot(self) -> usize {
        self.slot
    }

    /// Whether it is in this layer.
    pub(crate) fn is_in_layer(self, layer: usize) -> bool {
        self.layer == Some(layer)
    }

    /// Its layer; the head counts as one past the last.
    pub(crate) fn layer_index(self, num_layers: usize) -> usize {
        self.layer.unwrap_or(num_layers)
    }
}

impl DecoderConfig {
    /// The head.
    pub fn head(&self) -> Site {
        Site {
            layer: None,
            stem: "",
            place: &self.names.head,
            slot: 0,
        }
    }

    /// The linear layers of one block that read one input.
    pub(crate) fn group_sites(&self, layer: usize, group: Group) -> impl Iterator<Item = Site> {
        let stem = self.names.layers;
        let places = self.names.group(group).enumerate();
        places.map(move |(slot, place)| Site {
            layer: Some(layer),
            stem,
            place,
            slot,
        })
    }

    /// Every linear layer, in the order of the network.
    pub fn sites(&self) -> Vec<Site> {
        let blocks = (0..self.num_layers)
            .flat_map(|layer| self.groups(layer).map(move |group| (layer, group)))
            .flat_map(|(layer, group)| self.group_sites(layer, group));
        blocks.chain([self.head()]).collect()
    }

    /// The module path of a linear layer, or of the embedding.
    pub(crate) fn path_of(&self, site: Option<Site>) -> String {
        site.map_or_else(|| self.names.embedding.0.to_owned(), Site::path)
    }

    /// What GGUF calls the tensors of a site of experts, each with its outputs.
    pub(crate) fn gguf_experts(&self, site: Site) -> Vec<(String, usize)> {
        let layer = site.layer.filter(|_| site.group().is_of_experts());
        let (Some(layer), Some(names)) = (layer, self.names.experts.as_ref()) else {
            return vec![];
        };
        let tensor = |part: &Part| {
            let name = format!("blk.{layer}.{}.weight", names.of(*part).gguf);
            (name, self.projection(site).0 / site.place.parts.len())
        };
        site.place.parts.iter().map(tensor).collect()
    }

    /// How many of it a layer has: one, or one for each expert.
    pub fn copies(&self, site: Site) -> usize {
        match (site.group().is_of_experts(), self.experts) {
            (true, Some(experts)) => experts.count,
            _ => 1,
        }
    }

    /// Numbers in the linear layers, all experts with them and the head not.
    pub fn linear_parameters(&self) -> usize {
        let size =
            |site: &Site| self.copies(*site) * self.projection(*site).0 * self.projection(*site).1;
        let blocks = self.sites().into_iter().filter(|site| !site.is_head());
        blocks.map(|site| size(&site)).sum()
    }
}
