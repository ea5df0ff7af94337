//! What a person sees in a terminal.

mod living;
mod quantity;
mod talk;

pub use living::{LivingLine, Moment};
pub use quantity::{count, duration, plural};
pub use talk::{Talk, data, data_json, data_piece, has_colour};
