//! Files to batches: read, split, mix, encode, pack.
