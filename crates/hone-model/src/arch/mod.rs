//! What a decoder is, in plain types that know no file: its sizes, what stands in each layer, the names of its tensors and
//! the places where an adapter can sit.
//!
//! Readers of Hugging Face's and of GGUF's files stand above, in [`weights`](crate::weights), and so do the decoder and
//! adapters.

mod config;
mod layer;
mod names;
mod rope;
mod site;
mod slots;

pub use config::{Activation, DecoderConfig, Experts, NormKind, QueryKeyNorm, RopeLayout};
pub use layer::{Attention, Block, FeedForward, LayerSpec, Mixer, Positions};
pub use names::{ExpertMatrix, ExpertNames, Group, Names, NormAt, NormName, Packing, Part, Place};
pub use rope::{Rope, RopeScaling};
pub(crate) use rope::{long_magnitude, yarn_magnitude};
pub use site::Site;
pub use slots::{Slot, slots};
