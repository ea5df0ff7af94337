//! Where a number that is none comes from, once a model has computed one.
//!
//! Nobody looks through a base on every load: that would read all of it. What the weights say is looked at when logits or
//! losses have turned out infinite or not a number, and then all of it, to name the tensor at fault or, where every weight
//! is finite, the layer in which numbers grow beyond what f32 holds.

use hone_tensor::{Index, Tensor, TensorError, Weight};

use crate::arch::{NormAt, Part};
use crate::batch::Packed;
use crate::decoder::{Decoder, Layer, MixerWeights, Norm, Projection};
use crate::layout::{Layout, Shortcuts};
use crate::model::Model;
use crate::pass::Pass;
use crate::pass::shares::Share;

/// Why a model gives numbers that are not finite.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotFinite {
    /// The base holds one.
    #[error("the base's `{tensor}` holds {value}")]
    Base {
        /// The tensor, by the name that Hugging Face's files give it.
        tensor: String,
        /// The first such number of it.
        value: f32,
    },
    /// An adapter holds one.
    #[error("the adapter's `{tensor}` holds {value}")]
    Adapter {
        /// The tensor, by PEFT's name.
        tensor: String,
        /// The first such number of it.
        value: f32,
    },
    /// The weights are sound, what is computed from them is not.
    #[error("the weights are finite, but what is computed from them overflows in {place}")]
    Overflow {
        /// Where: a layer, counted from 0 as in names of tensors, or the head.
        place: String,
    },
}

impl NotFinite {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Base { .. } => {
                "fetch the base again; where it is the same again, its files are at fault".into()
            }
            Self::Adapter { .. } => "fetch or train the adapter again".into(),
            Self::Overflow { .. } => {
                "fetch the base again, and try it without its adapter: weights so large are damaged or of a training that failed".into()
            }
        }]
    }
}

/// The first number that is not finite.
pub(crate) fn not_finite(numbers: &[f32]) -> Option<f32> {
    numbers.iter().copied().find(|number| !number.is_finite())
}

impl Model {
    /// Says why what is computed for `ids` is not finite; reads every weight.
    pub fn why_not_finite(&self, ids: &[u32]) -> Result<NotFinite, TensorError> {
        self.why_not_finite_in(self.active_share(), ids)
    }

    /// The same for what goes through these adapters.
    pub(crate) fn why_not_finite_in(
        &self,
        share: Share,
        ids: &[u32],
    ) -> Result<NotFinite, TensorError> {
        let pass = Pass {
            shares: vec![share],
            ..self.pass()
        };
        for (adapter, _) in pass.active() {
            let flat = adapter.parameters().to_vec()?;
            for matrix in adapter.matrices() {
                if let Some(value) = not_finite(&flat[matrix.offset..][..matrix.size()]) {
                    let tensor = matrix.name;
                    return Ok(NotFinite::Adapter { tensor, value });
                }
            }
        }
        if let Some((tensor, value)) = self.decoder().not_finite()? {
            return Ok(NotFinite::Base { tensor, value });
        }
        let place = self.overflows_in(&pass, ids)?;
        Ok(NotFinite::Overflow { place })
    }

    fn overflows_in(&self, pass: &Pass, ids: &[u32]) -> Result<String, TensorError> {
        let last = ids.len().saturating_sub(1);
        let batch = Packed {
            ids,
            boundaries: &[0, ids.len()],
            rows: &[last],
            targets: &[0],
            weights: None,
        };
        let layout = Layout::new(&batch, Shortcuts::NONE);
        self.device().scope(|| {
            let mut hidden = pass.embed(&layout.ids, &layout.rows.positions);
            for layer in 0..self.config().num_layers {
                hidden = pass.layer(layer, &hidden, &layout.rows, None, false).0;
                if not_finite(&hidden.to_vec()?).is_some() {
                    return Ok(format!("layer {layer}"));
                }
            }
            Ok("the head".to_owned())
        })
    }
}

impl Decoder {
    /// The first tensor with a number that is not finite, and that number.
    fn not_finite(&self) -> Result<Option<(String, f32)>, TensorError> {
        let names = &self.config.names;
        let embedding = format!("{}.weight", names.embedding.0);
        if let Some(value) = self.in_weight(&self.embedding)? {
            return Ok(Some((embedding, value)));
        }
        if let (Some((module, _)), Some(positions)) = (names.positions, &self.positions)
            && let Some(value) = self.in_weight(positions)?
        {
            return Ok(Some((format!("{module}.weight"), value)));
        }
        for index in 0..self.layers.len() {
            if let Some(found) = self.in_layer(index)? {
                return Ok(Some(found));
            }
        }
        if let Some(found) = self.in_norm(names.final_norm.0, &self.final_norm)? {
            return Ok(Some(found));
        }
        self.in_projection(names.head.module, &self.head[0])
    }

    fn in_layer(&self, index: usize) -> Result<Option<(String, f32)>, TensorError> {
        let layer = &self.layers[index];
        for (group, projections) in layer.projections() {
            let sites = self.config.group_sites(index, group);
            for (site, projection) in sites.zip(projections) {
                if let Some(found) = self.in_projection(&site.stored_path(), projection)? {
                    return Ok(Some(found));
                }
            }
        }
        for (expert, weights) in layer.experts().iter().enumerate() {
            let experts = self.config.names.experts.as_ref();
            let experts = experts.expect("a family whose layers have experts names them");
            for (part, weight) in [
                (Part::Gate, &weights.gate),
                (Part::Up, &weights.up),
                (Part::Down, &weights.down),
            ] {
                if let Some(value) = self.in_weight(weight)? {
                    let name = self.config.expert_tensor(index, expert, experts.of(part));
                    return Ok(Some((name, value)));
                }
            }
        }
        for (at, norm) in layer.norms() {
            let module = self.config.names.norm(at).unwrap_or("norm");
            let module = format!("{}.{index}.{module}", self.config.names.layers);
            if let Some(found) = self.in_norm(&module, norm)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn in_projection(
        &self,
        path: &str,
        projection: &Projection,
    ) -> Result<Option<(String, f32)>, TensorError> {
        if let Some(value) = self.in_weight(&projection.weight)? {
            return Ok(Some((format!("{path}.weight"), value)));
        }
        in_tensor(&format!("{path}.bias"), projection.bias.as_ref())
    }

    fn in_norm(&self, module: &str, norm: &Norm) -> Result<Option<(String, f32)>, TensorError> {
        let found = in_tensor(&format!("{module}.weight"), Some(&norm.weight))?;
        match found {
            None => in_tensor(&format!("{module}.bias"), norm.bias.as_ref()),
            found => Ok(found),
        }
    }

    /// Rows become f32 a few at a time.
    fn in_weight(&self, weight: &Weight) -> Result<Option<f32>, TensorError> {
        const NUMBERS: usize = 1 << 18;
        let at_once = (NUMBERS / weight.cols().max(1)).max(1);
        for start in (0..weight.rows()).step_by(at_once) {
            let end = (start + at_once).min(weight.rows());
            let ids: Index = (start..end).collect();
            let mut rows = self.device.empty(ids.len(), weight.cols());
            self.device.embed(ids.all(), weight, &mut rows);
            if let Some(value) = not_finite(&rows.to_vec()?) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

fn in_tensor(name: &str, tensor: Option<&Tensor>) -> Result<Option<(String, f32)>, TensorError> {
    let Some(tensor) = tensor else {
        return Ok(None);
    };
    Ok(not_finite(&tensor.to_vec()?).map(|value| (name.to_owned(), value)))
}

/// Norms of a layer, each with where it stands.
type Norms<'a> = Vec<(NormAt, &'a Norm)>;

impl Layer {
    /// Norms that are there, each with where it stands.
    fn norms(&self) -> Norms<'_> {
        let MixerWeights::Attention(attention) = &self.mixer;
        let [query, key] = match &attention.query_key_norms {
            Some([query, key]) => [Some(query), Some(key)],
            None => [None, None],
        };
        let all = [
            (NormAt::AttentionIn, self.mixer_norm.as_deref()),
            (NormAt::Query, query),
            (NormAt::Key, key),
            (NormAt::AttentionOut, self.mixer_out_norm.as_ref()),
            (NormAt::MlpIn, self.feed_forward_norm.as_deref()),
            (NormAt::MlpOut, self.feed_forward_out_norm.as_ref()),
        ];
        let there = all.into_iter().filter_map(|(at, norm)| Some((at, norm?)));
        there.collect()
    }
}
