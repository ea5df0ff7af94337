//! A row that stays, as what is made of a dataset sees it.

use hone_data::Kind;

use crate::recipe::Side;

/// A row that stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// Its number in the spool.
    pub row: usize,
    /// Its side.
    pub side: Side,
    /// How often it is trained on.
    pub copies: usize,
    /// Its length in tokens, or in words where no tokenizer counts.
    pub length: usize,
    /// The language of what is trained on, where it is sure enough.
    pub language: &'static str,
    /// Did a rule about quality see something in it?
    pub is_remarked: bool,
    /// What it is for.
    pub kind: Kind,
}
