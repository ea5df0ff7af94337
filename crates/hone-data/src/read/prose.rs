//! Plain text and Markdown: a document, or its chunks, as rows of text.
//!
//! All rows of a document are one group, so that no chunk of it is trained on while another one judges.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::chunk::{Block, Chunk, Chunker, Chunking};
use super::lines::Lines;
use super::row::{Object, Row, clean};
use super::{MAX_LINE_BYTES, ReadError};
use crate::Reason;

/// A longer block is cut, whatever it is: it fits into no chunk.
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// The rows of a document.
pub(super) struct Prose<'a, R> {
    file: PathBuf,
    blocks: Blocks<R>,
    gathered: Gathered<'a>,
    ready: VecDeque<Row>,
    is_done: bool,
}

/// What was read and is not yet a row.
enum Gathered<'a> {
    /// The document so far and its length, or nothing once it cannot be used.
    Whole(Option<String>, usize),
    Chunks(Chunker<'a>),
}

impl<'a, R: BufRead> Prose<'a, R> {
    /// A document, in chunks if they are asked for.
    pub fn new(file: &Path, is_markdown: bool, bytes: R, chunking: Option<Chunking<'a>>) -> Self {
        Self {
            file: file.into(),
            blocks: Blocks::new(is_markdown, bytes),
            gathered: match chunking {
                Some(chunking) => Gathered::Chunks(Chunker::new(chunking)),
                None => Gathered::Whole(Some(String::new()), 0),
            },
            ready: VecDeque::new(),
            is_done: false,
        }
    }

    fn row(&mut self) -> io::Result<Option<Row>> {
        while self.ready.is_empty() && !self.is_done {
            match self.blocks.next_block()? {
                Some(Ok(block)) => self.add(block),
                Some(Err((line, reason))) => self.refuse(line, reason),
                None => {
                    self.finish();
                    self.is_done = true;
                }
            }
        }
        Ok(self.ready.pop_front())
    }

    fn add(&mut self, block: Block) {
        match &mut self.gathered {
            Gathered::Chunks(chunker) => {
                let chunks = chunker.add(block);
                self.give(chunks);
            }
            Gathered::Whole(text, length) => {
                *length += block.text.len();
                match text {
                    Some(text) if *length <= MAX_LINE_BYTES => text.push_str(&block.text),
                    _ => *text = None,
                }
            }
        }
    }

    /// A line that cannot be used spoils its document; among chunks it is a gap between two.
    fn refuse(&mut self, line: usize, reason: Reason) {
        match &mut self.gathered {
            Gathered::Chunks(chunker) => {
                let chunks = chunker.finish();
                self.give(chunks);
            }
            Gathered::Whole(text, length) => (*text, *length) = (None, 0),
        }
        let content = Err(reason);
        self.ready.push_back(Row {
            line,
            number: None,
            content,
        });
    }

    fn finish(&mut self) {
        let chunks = match &mut self.gathered {
            Gathered::Chunks(chunker) => chunker.finish(),
            Gathered::Whole(Some(text), _) => {
                let text = std::mem::take(text);
                vec![Chunk { line: 1, text }]
            }
            &mut Gathered::Whole(None, bytes) if bytes > MAX_LINE_BYTES => {
                let limit = MAX_LINE_BYTES;
                let content = Err(Reason::RowTooLong { bytes, limit });
                self.ready.push_back(Row {
                    line: 1,
                    number: None,
                    content,
                });
                return;
            }
            Gathered::Whole(None, _) => return,
        };
        self.give(chunks);
    }

    fn give(&mut self, chunks: Vec<Chunk>) {
        let filled = chunks
            .into_iter()
            .filter(|chunk| !chunk.text.trim().is_empty());
        let group = self.file.to_string_lossy();
        let row = |chunk: Chunk| {
            let fields = [("text", chunk.text), ("group", group.clone().into_owned())];
            let fields = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
            Row {
                line: chunk.line,
                number: None,
                content: Ok(Object::from_iter(fields)),
            }
        };
        self.ready.extend(filled.map(row));
    }
}

impl<R: BufRead> Iterator for Prose<'_, R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.row().map_err(|source| ReadError::Damaged {
            file: self.file.clone(),
            line: self.blocks.lines.number + 1,
            source,
        });
        row.transpose()
    }
}

/// A document as blocks: paragraphs with the empty lines after them, headings, fenced code.
struct Blocks<R> {
    lines: Lines<R>,
    is_markdown: bool,
    block: Block,
    /// What opened the code that the next line stands in.
    fence: Option<String>,
    /// The block has text, and an empty line after it.
    is_complete: bool,
    /// A line that cannot be used, told after the block before it.
    refused: Option<(usize, Reason)>,
}

impl<R: BufRead> Blocks<R> {
    fn new(is_markdown: bool, bytes: R) -> Self {
        Self {
            lines: Lines::new(bytes),
            is_markdown,
            block: Block::default(),
            fence: None,
            is_complete: false,
            refused: None,
        }
    }

    fn next_block(&mut self) -> io::Result<Option<Result<Block, (usize, Reason)>>> {
        loop {
            if let Some(refused) = self.refused.take() {
                return Ok(Some(Err(refused)));
            }
            let line = match self.lines.next_line()? {
                None => return Ok(self.take().map(Ok)),
                Some(Ok(line)) => clean(line).map(str::to_owned),
                Some(Err(bytes)) => {
                    let limit = MAX_LINE_BYTES;
                    Err(Reason::LineTooLong { bytes, limit })
                }
            };
            let done = match line {
                Ok(line) => self.add(&line),
                Err(reason) => {
                    self.refused = Some((self.lines.number, reason));
                    self.take()
                }
            };
            if let Some(block) = done {
                return Ok(Some(Ok(block)));
            }
        }
    }

    /// Adds a line, and gives the block before it if a new one begins here.
    fn add(&mut self, line: &str) -> Option<Block> {
        let opens = self.fence.is_none().then(|| self.opened(line)).flatten();
        let is_heading = self.is_markdown && self.fence.is_none() && is_heading(line);
        let is_filled = !line.trim().is_empty();
        let starts = opens.is_some()
            || is_heading
            || self.is_complete && is_filled
            || self.block.text.len() > MAX_BLOCK_BYTES;
        // Empty lines at the beginning belong to what comes after them.
        let has_text = !self.block.text.trim().is_empty();
        let done = if starts && has_text {
            self.take()
        } else {
            None
        };
        if self.block.text.is_empty() {
            self.block.line = self.lines.number;
        }
        self.block.text.push_str(line);
        self.block.starts_section |= is_heading;
        self.block.is_code |= opens.is_some() || self.fence.is_some();
        let closes = self
            .fence
            .as_ref()
            .is_some_and(|fence| is_closing(line, fence));
        self.is_complete = match () {
            () if closes || is_heading => true,
            () if opens.is_some() || self.fence.is_some() => false,
            () => self.is_complete || !is_filled && !self.block.text.trim().is_empty(),
        };
        match closes {
            true => self.fence = None,
            false => self.fence = self.fence.take().or(opens),
        }
        done
    }

    fn opened(&self, line: &str) -> Option<String> {
        self.is_markdown
            .then(|| fence(line))
            .flatten()
            .map(str::to_owned)
    }

    fn take(&mut self) -> Option<Block> {
        self.is_complete = false;
        let block = std::mem::take(&mut self.block);
        (!block.text.is_empty()).then_some(block)
    }
}

fn is_heading(line: &str) -> bool {
    let line = unindented(line);
    let title = line.trim_start_matches('#');
    let depth = line.len() - title.len();
    (1..=6).contains(&depth) && title.chars().next().is_none_or(char::is_whitespace)
}

/// The run of backticks or tildes with which a line opens fenced code.
fn fence(line: &str) -> Option<&str> {
    let line = unindented(line);
    let sign = line
        .chars()
        .next()
        .filter(|sign| matches!(sign, '`' | '~'))?;
    let rest = line.trim_start_matches(sign);
    let run = &line[..line.len() - rest.len()];
    (run.len() >= 3 && !(sign == '`' && rest.contains('`'))).then_some(run)
}

fn is_closing(line: &str, opened: &str) -> bool {
    let line = unindented(line).trim_end();
    line.starts_with(opened) && line.chars().all(|c| opened.starts_with(c))
}

/// The line without the three spaces that Markdown allows; with more it is code.
fn unindented(line: &str) -> &str {
    let inner = line.trim_start_matches(' ');
    match line.len() - inner.len() {
        0..=3 => inner,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ChunkOptions;
    use super::*;

    fn blocks(text: &str, is_markdown: bool) -> Vec<Block> {
        let mut blocks = Blocks::new(is_markdown, text.as_bytes());
        let next = || blocks.next_block().unwrap().map(Result::unwrap);
        std::iter::from_fn(next).collect()
    }

    fn texts(text: &str, is_markdown: bool) -> Vec<(usize, String)> {
        let blocks = blocks(text, is_markdown).into_iter();
        blocks.map(|block| (block.line, block.text)).collect()
    }

    #[test]
    fn paragraphs_keep_the_empty_lines_after_them() {
        let text = "\n\none\ntwo\n\n \nthree\r\n\r\n# no heading";
        let expected = [
            (1, "\n\none\ntwo\n\n \n"),
            (7, "three\r\n\r\n"),
            (9, "# no heading"),
        ];
        assert_eq!(
            texts(text, false),
            expected.map(|(line, text)| (line, text.to_owned()))
        );
    }

    #[test]
    fn markdown_has_headings_and_fenced_code_too() {
        let text = "intro\n# One\n\nbody\n```sh\n# no heading\n\n~~~\n```\nafter\n#tag\n~~~~\ncode\n~~~\n~~~~\n";
        let found = blocks(text, true);
        let seen: Vec<_> = found
            .iter()
            .map(|block| (block.line, block.starts_section, block.is_code))
            .collect();
        assert_eq!(
            seen,
            [
                (1, false, false),
                (2, true, false),
                (4, false, false),
                (5, false, true),
                (10, false, false),
                (12, false, true)
            ]
        );
        assert_eq!(found[3].text, "```sh\n# no heading\n\n~~~\n```\n");
    }

    #[test]
    fn a_bad_line_is_a_gap_among_chunks_and_spoils_a_whole_document() {
        let text = b"one\n\ntwo\n\xff\nthree\n".as_slice();
        let chunking = Chunking {
            options: ChunkOptions {
                tokens: 100,
                overlap: 0,
            },
            count: &|text| text.len(),
        };
        let told = |chunking| {
            let rows = Prose::new(Path::new("x.txt"), false, text, chunking);
            let told = rows
                .map(|row| row.unwrap())
                .map(|row| (row.line, row.content.map_err(|reason| reason.to_string())));
            told.map(|(line, content)| (line, content.map(|row| row["text"].clone())))
                .collect::<Vec<_>>()
        };
        let refused = (4, Err("not valid UTF-8 from byte 1 of the line".to_owned()));
        assert_eq!(
            told(Some(chunking)),
            [
                (1, Ok("one\n\ntwo\n".into())),
                refused.clone(),
                (5, Ok("three\n".into()))
            ]
        );
        assert_eq!(told(None), [refused]);
    }

    proptest! {
        #[test]
        fn blocks_and_chunks_put_together_are_the_text(text in "(#|```|~~~|a|é\\.| |\r?\n){0,80}", tokens in 1..20_usize) {
            for is_markdown in [false, true] {
                prop_assert_eq!(blocks(&text, is_markdown).into_iter().map(|block| block.text).collect::<String>(), text.clone());
                let chunking = Chunking {
                    options: ChunkOptions { tokens, overlap: 0 },
                    count: &|text| text.split_whitespace().count(),
                };
                let rows = Prose::new(Path::new("x"), is_markdown, text.as_bytes(), Some(chunking));
                let chunks: String = rows.map(|row| row.unwrap().content.unwrap()["text"].as_str().unwrap().to_owned()).collect();
                // White space alone is no chunk.
                let expected = if text.trim().is_empty() { "" } else { &text };
                prop_assert_eq!(&chunks, expected);
            }
        }
    }
}
