//! From texts to numbers. Each metric follows the implementation that papers and harnesses quote, to the last
//! digit, and says which one that is: a number that cannot be compared with anyone else's is not worth a column.

pub mod bleu;
pub mod chrf;
pub mod classification;
pub mod distance;
pub mod exact;
#[cfg(test)]
mod golden;
pub mod ifeval;
pub mod json;
pub mod lm_eval;
pub mod porter;
pub mod repetition;
pub mod rouge;
pub mod schema;
pub mod scores;
pub mod tool_call;

/// What is wrong with a pattern: the crate draws it with a mark under the place, and says why in its last line.
pub(crate) fn wrong_in_pattern(error: &regex::Error) -> String {
    let drawn = error.to_string();
    let last = drawn.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_string()
}
