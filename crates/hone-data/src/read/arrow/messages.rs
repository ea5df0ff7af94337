//! The messages of an Arrow file, one after another: what its columns are, and batches of rows.
//!
//! `save_to_disk` writes a stream of them; Feather (version 2) writes the same stream after a mark, and after its end an
//! index that nobody needs who reads from the beginning. No message is believed: one that is longer than the file, or
//! that would be too large once it is unpacked, is an error before memory is taken for it.

use std::fs::File;
use std::io::{BufReader, Read};

use arrow_buffer::Buffer;
use arrow_ipc::{CompressionType, MessageHeader, RecordBatch, root_as_message};

use super::packed;

/// What Feather begins with, and two bytes that fill up.
const FEATHER: &[u8; 8] = b"ARROW1\0\0";

/// What its first version begins with, which is no Arrow.
const FEATHER_1: &[u8] = b"FEA1";

/// What a message begins with.
const CONTINUES: u32 = 0xffff_ffff;

/// A batch that is larger when it is unpacked is refused.
const MAX_BATCH_BYTES: u64 = 1 << 30;

/// The messages of a file that were not read yet.
pub(super) struct Messages {
    file: BufReader<File>,
    /// Bytes of the file that were not read.
    left: u64,
    /// Bytes that were read since somebody asked.
    pub taken: u64,
    has_begun: bool,
    is_feather: bool,
    is_over: bool,
}

impl Messages {
    pub fn of(file: File) -> std::io::Result<Self> {
        Ok(Self {
            left: file.metadata()?.len(),
            file: BufReader::new(file),
            taken: 0,
            has_begun: false,
            is_feather: false,
            is_over: false,
        })
    }

    /// The next message as the decoder takes it, its head and its body; `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<[Buffer; 2]>, String> {
        if self.is_over {
            return Ok(None);
        }
        let mut head = self.bytes(self.left.min(8))?;
        if !self.has_begun {
            self.has_begun = true;
            if head.starts_with(FEATHER_1) {
                return Err("it is the first version of Feather; write it with to_parquet, or with to_feather of a newer pyarrow".into());
            }
            if head == FEATHER {
                self.is_feather = true;
                head = self.bytes(self.left.min(8))?;
            }
        }
        if head.is_empty() && !self.is_feather {
            // `save_to_disk` may leave out the mark of the end.
            self.is_over = true;
            return Ok(None);
        }
        let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (Some(first), Some(second)) = (word(0), word(4)) else {
            return Err("it is cut short".into());
        };
        if first != CONTINUES {
            return Err("it does not begin as a stream of batches".into());
        }
        if second == 0 {
            self.is_over = true;
            return match self.is_feather || self.left == 0 {
                true => Ok(Some([head.into(), Buffer::default()])),
                false => Err("it goes on after its end".into()),
            };
        }
        let about = self.bytes(u64::from(second))?;
        let message = root_as_message(&about).map_err(|error| error.to_string())?;
        let length =
            u64::try_from(message.bodyLength()).map_err(|_| "a batch of less than no bytes")?;
        let body = self.bytes(length)?;
        let batch = match message.header_type() {
            MessageHeader::RecordBatch => message.header_as_record_batch(),
            MessageHeader::DictionaryBatch => message
                .header_as_dictionary_batch()
                .and_then(|dictionary| dictionary.data()),
            _ => None,
        };
        if let Some(batch) = batch {
            check_size(&batch, &body)?;
        }
        head.extend_from_slice(&about);
        Ok(Some([head.into(), body.into()]))
    }

    /// So many bytes, which the file has.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, String> {
        if length > self.left {
            return Err("it is cut short".into());
        }
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(length).read_to_end(&mut bytes);
        read.map_err(|error| error.to_string())?;
        self.left -= length;
        self.taken += length;
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err("it is cut short".into()),
        }
    }
}

/// Refuses a batch whose parts say that they are larger than they can be, or that are too large together.
fn check_size(batch: &RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    let Some(compression) = batch.compression() else {
        return Ok(());
    };
    let most = match compression.codec() {
        CompressionType::LZ4_FRAME => packed::most_of_lz4,
        CompressionType::ZSTD => packed::most_of_zstd,
        _ => return Err("it is packed in a way that is not known".into()),
    };
    let mut total = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let place = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok());
        let part = place.and_then(|(at, length)| body.get(at..at.checked_add(length)?));
        let part = part.ok_or("a part of a batch lies outside it")?;
        // Nothing, or the length of what is packed and then that; a negative one stands before what is not packed.
        let Some((length, packed)) = part.split_first_chunk::<8>() else {
            continue;
        };
        let Ok(length) = u64::try_from(i64::from_le_bytes(*length)) else {
            continue;
        };
        if length == 0 {
            continue;
        }
        let most = most(packed).ok_or("a packed part of a batch is damaged")?;
        if length > most {
            return Err("a packed part of a batch says that it is larger than it can be".into());
        }
        total = total.saturating_add(most.max(length));
        if total > MAX_BATCH_BYTES {
            return Err(format!(
                "one of its batches may have {total} bytes when it is unpacked, and {MAX_BATCH_BYTES} are the most; \
                 write it in smaller ones, as pyarrow's write_feather does with chunksize=1000"
            ));
        }
    }
    Ok(())
}
