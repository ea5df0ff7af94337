//! Files to batches: read, split, mix, encode, pack.
//!
//! ```text
//! files ─read→ Record ─split→ train, valid, test ─encode→ Example ─order→ ─pack→ Batch
//! ```
//!
//! A row that cannot be used is dropped with its file, its line and the reason; none disappears.
//! The crate knows neither tensors nor models: a batch is numbers and where they come from.

mod beside;
mod encode;
mod json;
mod keys;
mod line;
pub mod nearest;
mod order;
mod pack;
pub mod pages;
mod read;
pub mod recipe;
mod record;
mod shape;
mod split;
mod turn;
mod value;

pub use beside::{Beside, Rewrite, rewrite_json};
pub use encode::{
    DEFAULT_MAX_LENGTH, Encoding, Example, TooLong, Truncated, Usable, encode, encode_row,
};
pub use keys::{Fate, KnownKeys, MAX_HARMLESS_CHARS, Nulls, ROW_KEYS, TURN_KEYS};
pub use order::{Sampler, order};
pub use pack::{Batch, Target, micro_batches, pack, within_budget};
pub use read::{
    Choices, ChunkOptions, Chunking, Doubt, FileReport, Format, Input, Inputs, MAX_LINE_BYTES,
    PassedOver, PlainError, Progress, ReadError, ReadOptions, Reading, Told, check_named, fields,
    is_guarded, plain_rows, read, stream, stream_files,
};
pub use record::{
    Body, Count, Kind, Part, Place, Preference, Reason, Record, Refused, Source, Unpaired, counts,
    dataset_id,
};
pub use shape::{Field, Shape};
pub use split::{RowKey, Sets, ShareOutOfRange, Shares, Side, Split, sides, split};
