//! Buffers that are used again: a training step asks for the same few sizes thousands of times.
//!
//! Fresh memory costs a page fault per 4 KiB, which for a packed batch is as long as a matrix
//! product. Freed buffers are kept while the total stays below the greatest use so far, so keeping
//! them never raises the peak that the plan promised. Large buffers are pages of their own: in the
//! allocator's arenas, freed ones of many sizes left gaps that doubled the memory of a run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use memmap2::{Advice, MmapMut};

use crate::ops::Memory;

/// Buffers of at least this many numbers are pages of their own.
const OWN_PAGES: usize = 32 * 1024;

/// The numbers of a buffer.
#[derive(Debug)]
enum Block {
    Heap(Vec<f32>),
    Pages(MmapMut),
}

impl Block {
    fn new(len: usize) -> Self {
        if len < OWN_PAGES {
            return Self::Heap(vec![0.0; len]);
        }
        match MmapMut::map_anon(4 * len) {
            Ok(pages) => {
                // Fewer page faults where the system offers large pages; nothing is lost where not.
                #[cfg(target_os = "linux")]
                let _ = pages.advise(Advice::HugePage);
                Self::Pages(pages)
            }
            // The allocator ends the process in its own way if there is no memory at all.
            Err(_) => Self::Heap(vec![0.0; len]),
        }
    }

    fn as_slice(&self) -> &[f32] {
        match self {
            Self::Heap(numbers) => numbers,
            Self::Pages(pages) => bytemuck::cast_slice(pages),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        match self {
            Self::Heap(numbers) => numbers,
            Self::Pages(pages) => bytemuck::cast_slice_mut(pages),
        }
    }
}

/// Shared free list and accounting.
#[derive(Debug, Default)]
pub struct Pool(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: BTreeMap<usize, Vec<Block>>,
    cached_bytes: usize,
    memory: Memory,
}

/// One tensor's numbers; goes back to the pool when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// `Some` until dropped.
    data: Option<Block>,
    capacity: usize,
    len: usize,
    pool: Arc<Pool>,
}

impl Pool {
    /// A buffer of `len` numbers with unspecified contents.
    pub fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let wanted = size_class(len);
        let (capacity, reused) = {
            let mut state = self
                .0
                .lock()
                .expect("no thread panics while holding the pool");
            let (capacity, found) = state.find(wanted);
            state.memory.live_bytes += capacity * 4;
            state.memory.peak_bytes = state.memory.peak_bytes.max(state.memory.live_bytes);
            let room = state
                .memory
                .peak_bytes
                .saturating_sub(state.memory.live_bytes);
            state.trim(room);
            (capacity, found)
        };
        Buffer {
            data: Some(reused.unwrap_or_else(|| Block::new(capacity))),
            capacity,
            len,
            pool: Arc::clone(self),
        }
    }

    /// Use now and at most.
    pub fn memory(&self) -> Memory {
        self.0
            .lock()
            .expect("no thread panics while holding the pool")
            .memory
    }

    /// Forgets the greatest use so far.
    pub fn reset_peak(&self) {
        let mut state = self
            .0
            .lock()
            .expect("no thread panics while holding the pool");
        state.memory.peak_bytes = state.memory.live_bytes;
        state.trim(0);
    }

    /// Lets cached buffers go.
    pub fn trim(&self) {
        self.0
            .lock()
            .expect("no thread panics while holding the pool")
            .trim(0);
    }

    fn give_back(&self, data: Block, capacity: usize) {
        let bytes = capacity * 4;
        let mut state = self
            .0
            .lock()
            .expect("no thread panics while holding the pool");
        state.memory.live_bytes -= bytes;
        state.cached_bytes += bytes;
        state.free.entry(capacity).or_default().push(data);
        let room = state.memory.peak_bytes - state.memory.live_bytes;
        state.trim(room);
    }
}

impl State {
    /// A cached block of the wanted size or up to a fifth more, and its size; batches differ a little
    /// in length, and a fresh block costs its page faults.
    fn find(&mut self, wanted: usize) -> (usize, Option<Block>) {
        let close = self.free.range_mut(wanted..=wanted + wanted / 5);
        let mut filled = close.filter(|(_, blocks)| !blocks.is_empty());
        let Some((&capacity, blocks)) = filled.next() else {
            return (wanted, None);
        };
        self.cached_bytes -= capacity * 4;
        (capacity, blocks.pop())
    }

    /// Frees cached buffers, largest first, until they fit into `room`.
    fn trim(&mut self, room: usize) {
        while self.cached_bytes > room {
            let Some(mut entry) = self.free.last_entry() else {
                return;
            };
            match entry.get_mut().pop() {
                Some(buffer) => self.cached_bytes -= buffer.as_slice().len() * 4,
                None => drop(entry.remove()),
            }
        }
    }
}

/// Rounds up to one of eight sizes per octave: batches differ a little in length, and should share.
pub fn size_class(len: usize) -> usize {
    let len = len.max(64);
    let step = (len.next_power_of_two() / 16).max(16);
    len.div_ceil(step) * step
}

impl Buffer {
    /// The numbers.
    pub fn as_slice(&self) -> &[f32] {
        &self.data.as_ref().expect(HELD).as_slice()[..self.len]
    }

    /// The numbers, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data.as_mut().expect(HELD).as_mut_slice()[..self.len]
    }
}

const HELD: &str = "a buffer holds its block until it is dropped";

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(data) = self.data.take() {
            self.pool.give_back(data, self.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeping_buffers_never_exceeds_the_peak() {
        let pool = Arc::new(Pool::default());
        for round in 0..50usize {
            let sizes = [1000 + 37 * round, 5000 + 211 * round, 64];
            let buffers: Vec<Buffer> = sizes.iter().map(|&len| pool.take(len)).collect();
            for (buffer, len) in buffers.iter().zip(sizes) {
                assert_eq!(buffer.as_slice().len(), len);
            }
            let state = pool.0.lock().unwrap();
            assert!(state.cached_bytes + state.memory.live_bytes <= state.memory.peak_bytes);
        }
        assert_eq!(pool.memory().live_bytes, 0);
    }

    #[test]
    fn a_freed_buffer_serves_the_next_of_its_size() {
        let pool = Arc::new(Pool::default());
        let first = pool.take(4096);
        let address = first.as_slice().as_ptr();
        drop(first);
        assert_eq!(pool.take(4096).as_slice().as_ptr(), address);
        pool.trim();
        assert_eq!(pool.0.lock().unwrap().cached_bytes, 0);
    }
}
