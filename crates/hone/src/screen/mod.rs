//! What a person sees in a terminal.

mod living;
mod quantity;
mod talk;

pub use living::{LivingLine, Moment};
pub use quantity::{count, duration, plural};
pub use talk::{
    Talk, data, data_json, data_lines, data_marked, data_path, data_piece, has_colour, say_to_all,
    say_unbuffered,
};
