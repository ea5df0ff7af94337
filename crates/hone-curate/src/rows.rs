//! Rows that can be looked at again.
//!
//! A pass over a million rows keeps a few hundred bytes of each; what it wants to see a second time it asks
//! for by number, whether the rows lie in memory or in a file.

use std::borrow::Cow;
use std::error::Error;

use hone_data::Record;

/// Rows by number, from any thread.
pub trait Rows: Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// The row of a number below [`Rows::len`].
    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError>;

    /// Is there none?
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A row that was there before cannot be looked at again.
#[derive(Debug, thiserror::Error)]
#[error("row {row} cannot be read again; its file must not change while the dataset is built")]
pub struct RowsError {
    /// Its number.
    pub row: usize,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

impl Rows for &[Record] {
    fn len(&self) -> usize {
        <[Record]>::len(self)
    }

    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError> {
        Ok(Cow::Borrowed(&self[row]))
    }
}

impl Rows for Vec<Record> {
    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn record(&self, row: usize) -> Result<Cow<'_, Record>, RowsError> {
        Ok(Cow::Borrowed(&self[row]))
    }
}
