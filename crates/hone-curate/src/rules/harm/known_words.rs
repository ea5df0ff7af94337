//! The words that the model of `harmful-text` knows, by their hashes, and the groups of words that are alike.

/// Hashes of words, ascending, four bytes each; then their coarse groups, one byte each; then the fine ones, two each.
static WORD_GROUPS: &[u8] = include_bytes!("word_groups.bin");

/// Groups of a word that has none.
const UNKNOWN: (u32, u32) = (128, 768);
/// What a hash begins with.
pub(super) const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;
/// Words start from another state, so that a word and the same letters inside another differ.
const WORD_OFFSET: u32 = OFFSET ^ 0x5bd1_e995;

/// The hash of a word.
pub(super) fn hash_of(word: impl Iterator<Item = u8>) -> u32 {
    word.fold(WORD_OFFSET, step)
}

/// Which of the words that are known one is.
pub(super) fn place_of(hash: u32) -> Option<usize> {
    let hashes = &WORD_GROUPS[..4 * (WORD_GROUPS.len() / 7)];
    let hashes = hashes.as_chunks::<4>().0;
    hashes
        .binary_search_by_key(&hash, |bytes| u32::from_le_bytes(*bytes))
        .ok()
}

/// The coarse and the fine group of a word.
pub(super) fn groups(hash: u32) -> (u32, u32) {
    let count = WORD_GROUPS.len() / 7;
    let (coarse, fine) = WORD_GROUPS[4 * count..].split_at(count);
    place_of(hash).map_or(UNKNOWN, |at| {
        let fine = u16::from_le_bytes(fine.as_chunks::<2>().0[at]);
        (coarse[at].into(), fine.into())
    })
}

/// A hash with one byte more.
pub(super) fn step(state: u32, byte: u8) -> u32 {
    (state ^ u32::from(byte)).wrapping_mul(PRIME)
}
