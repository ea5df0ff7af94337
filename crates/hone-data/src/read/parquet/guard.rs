//! What stands between a hostile file and the parquet crate, which trusts what a file says of itself.
//!
//! Sizes are looked at before memory is reserved for them, pages are counted, and where damaged bytes
//! make the crate panic all the same, the panic becomes an error.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::bytes::Bytes;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::thrift::struct_length;

/// A page that is larger when it is unpacked is refused.
const MAX_PAGE_BYTES: i64 = 256 << 20;

/// A header of a page is not longer, whatever its statistics say.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// So many values, empty ones included, may be taken for one batch of rows.
const MAX_VALUES: u64 = 1 << 23;

/// A file whose pages are looked at, and what was read of it.
pub(super) struct Guarded {
    pub file: File,
    pub taken: AtomicU64,
}

impl Length for Guarded {
    fn len(&self) -> u64 {
        self.file.len()
    }
}

impl ChunkReader for Guarded {
    type T = BufReader<File>;

    /// Reads on from the header of a page, which is the only thing that is asked for like this.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut header = Vec::new();
        let mut bytes = self.file.get_read(start)?.take(4096);
        bytes.read_to_end(&mut header)?;
        if !is_page_header(&header) {
            bytes.set_limit(MAX_HEADER_BYTES);
            bytes.read_to_end(&mut header)?;
            if !is_page_header(&header) {
                return Err(ParquetError::General("a page has no sound header".into()));
            }
        }
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        self.file.get_bytes(start, length)
    }
}

fn is_page_header(bytes: &[u8]) -> bool {
    let may_be = |path: &[i16], number: i64| match path {
        // The page's size unpacked, and packed.
        [2 | 3] => (0..=MAX_PAGE_BYTES).contains(&number),
        _ => true,
    };
    struct_length(bytes, &mut { may_be }).is_some()
}

/// The pages of a column, as long as there is an allowance of values.
pub(super) struct Pages<R> {
    pub pages: R,
    pub allowance: Allowance,
}

/// How many values may still be taken.
#[derive(Clone, Default)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// Allows for another batch of rows.
    pub fn refill(&self) {
        self.0.store(MAX_VALUES, Ordering::Relaxed);
    }

    fn take(&self, page: &Page) -> Result<()> {
        let values = u64::from(page.num_values());
        match self.0.load(Ordering::Relaxed).checked_sub(values) {
            Some(left) => {
                self.0.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => Err(ParquetError::General(format!(
                "a few rows have more than {MAX_VALUES} values"
            ))),
        }
    }
}

impl<R: PageReader> PageReader for Pages<R> {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.allowance.take(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl<R: PageReader> Iterator for Pages<R> {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
