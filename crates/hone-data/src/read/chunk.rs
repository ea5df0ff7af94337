//! A document's blocks to chunks of bounded length, for learning a domain from its texts.
//!
//! A chunk ends where a reader would pause: at a heading if the section fits into a chunk, else between
//! paragraphs, else between sentences. Nothing is lost: the chunks put together are the document.
//! Tokens are counted piece by piece, so that each text is counted once; a chunk may come out a token
//! or so shorter than the sum.

/// How long chunks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkOptions {
    /// The most tokens of a chunk.
    pub tokens: usize,
    /// How many tokens of a chunk are said again at the beginning of the next, at most.
    pub overlap: usize,
}

/// How documents are cut: the lengths, and who counts the tokens of a text.
#[derive(Clone, Copy)]
pub struct Chunking<'a> {
    /// How long chunks are.
    pub options: ChunkOptions,
    /// The number of tokens of a text.
    pub count: &'a dyn Fn(&str) -> usize,
}

/// A stretch of a document that is cut only if it is too long for a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub line: usize,
    pub text: String,
    pub starts_section: bool,
    pub is_code: bool,
}

/// A stretch of a document with the line it starts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub line: usize,
    pub text: String,
}

/// Puts blocks together to chunks.
pub(super) struct Chunker<'a> {
    chunking: Chunking<'a>,
    /// The chunk under way.
    open: Pieces,
    /// The section under way, while it may still fit into a chunk.
    section: Pieces,
    /// The section under way does not fit into a chunk.
    is_long: bool,
    /// The end of the last chunk, to be said again.
    carried: Option<Piece>,
}

#[derive(Default)]
struct Pieces {
    pieces: Vec<Piece>,
    tokens: usize,
}

struct Piece {
    line: usize,
    text: String,
    tokens: usize,
    is_heading: bool,
    cuts: &'static [Cut],
}

impl<'a> Chunker<'a> {
    pub fn new(chunking: Chunking<'a>) -> Self {
        Self {
            chunking,
            open: Pieces::default(),
            section: Pieces::default(),
            is_long: false,
            carried: None,
        }
    }

    /// Takes the next block and gives the chunks that it completes.
    pub fn add(&mut self, block: Block) -> Vec<Chunk> {
        let mut done = Vec::new();
        if block.starts_section {
            done.extend(self.end_section());
        }
        for piece in self.pieces(block) {
            match self.is_long {
                true => done.extend(self.place(piece)),
                false => self.section.push(piece),
            }
        }
        if self.section.tokens > self.chunking.options.tokens {
            self.is_long = true;
            done.extend(self.close());
            let pieces = std::mem::take(&mut self.section).pieces;
            done.extend(pieces.into_iter().flat_map(|piece| self.place(piece)));
        }
        done
    }

    /// The chunks that are left at the end of the document, or before a gap in it.
    pub fn finish(&mut self) -> Vec<Chunk> {
        let mut done: Vec<Chunk> = self.end_section().into_iter().collect();
        done.extend(self.close());
        done
    }

    fn end_section(&mut self) -> Option<Chunk> {
        let section = std::mem::take(&mut self.section);
        self.is_long = false;
        let fits = self.open.tokens + section.tokens <= self.chunking.options.tokens;
        let done = if fits { None } else { self.close() };
        self.open.tokens += section.tokens;
        self.open.pieces.extend(section.pieces);
        done
    }

    /// Adds a piece of a long section to the chunk under way, or to a new one.
    fn place(&mut self, piece: Piece) -> Vec<Chunk> {
        let limit = self.chunking.options.tokens;
        let mut done = Vec::new();
        if self.open.tokens + piece.tokens > limit {
            let room = limit.saturating_sub(self.open.tokens);
            // A heading alone says nothing: some of what follows goes with it.
            if self.open.is_heading() && piece.tokens > room && room > 0 && piece.is_paragraph() {
                let finer = self.cut(piece, room);
                return finer
                    .into_iter()
                    .flat_map(|piece| self.place(piece))
                    .collect();
            }
            done.extend(self.close());
            self.carried = done.last().and_then(|chunk| self.end_of(chunk));
        }
        if let Some(carried) = self.carried.take()
            && carried.tokens + piece.tokens <= limit
        {
            self.open.push(carried);
        }
        self.open.push(piece);
        done
    }

    fn close(&mut self) -> Option<Chunk> {
        self.carried = None;
        let pieces = std::mem::take(&mut self.open).pieces;
        let line = pieces.first()?.line;
        let text = pieces.into_iter().map(|piece| piece.text).collect();
        Some(Chunk { line, text })
    }

    /// The last sentences of a chunk, or the last words of its last sentence, within the overlap.
    fn end_of(&self, chunk: &Chunk) -> Option<Piece> {
        let within = |units: Vec<&str>| {
            let (mut start, mut tokens) = (chunk.text.len(), 0);
            for unit in units.into_iter().rev() {
                let more = (self.chunking.count)(unit);
                if tokens + more > self.chunking.options.overlap {
                    break;
                }
                (start, tokens) = (start - unit.len(), tokens + more);
            }
            (tokens > 0).then_some((start, tokens))
        };
        let (start, tokens) =
            within(sentences(&chunk.text)).or_else(|| within(words(&chunk.text)))?;
        let (before, text) = chunk.text.split_at(start);
        Some(Piece {
            line: chunk.line + before.matches('\n').count(),
            text: text.to_owned(),
            tokens,
            is_heading: false,
            cuts: &[],
        })
    }

    /// The block, cut as coarsely as the limit allows.
    fn pieces(&self, block: Block) -> Vec<Piece> {
        let whole = Piece {
            line: block.line,
            tokens: (self.chunking.count)(&block.text),
            text: block.text,
            is_heading: block.starts_section,
            cuts: if block.is_code { CODE } else { PROSE },
        };
        match whole.tokens <= self.chunking.options.tokens {
            true => vec![whole],
            false => self.cut(whole, self.chunking.options.tokens),
        }
    }

    /// A piece that is too long, cut until its parts are within the limit or cannot be cut.
    fn cut(&self, piece: Piece, limit: usize) -> Vec<Piece> {
        let Some((cut, finer)) = piece.cuts.split_first() else {
            return vec![piece];
        };
        let parts = cut(&piece.text);
        // Halves are halved again, down to one character.
        let is_halved = finer.is_empty() && parts.len() > 1;
        let finer = if is_halved { piece.cuts } else { finer };
        let mut line = piece.line;
        let mut pieces = Vec::new();
        for text in parts {
            let part = Piece {
                line,
                text: text.to_owned(),
                tokens: (self.chunking.count)(text),
                is_heading: piece.is_heading,
                cuts: finer,
            };
            line += text.matches('\n').count();
            match part.tokens <= limit {
                true => pieces.push(part),
                false => pieces.extend(self.cut(part, limit)),
            }
        }
        pieces
    }
}

impl Pieces {
    fn push(&mut self, piece: Piece) {
        self.tokens += piece.tokens;
        self.pieces.push(piece);
    }

    fn is_heading(&self) -> bool {
        !self.pieces.is_empty() && self.pieces.iter().all(|piece| piece.is_heading)
    }
}

impl Piece {
    /// Can it be cut between sentences?
    fn is_paragraph(&self) -> bool {
        self.cuts.len() == PROSE.len()
    }
}

/// How prose and code are cut, the coarsest cut first.
const PROSE: &[Cut] = &[sentences, lines, words, halves];
const CODE: &[Cut] = &[lines, words, halves];

/// A way of taking a text apart; the parts put together are the text.
type Cut = fn(&str) -> Vec<&str>;

fn at(text: &str, starts: impl IntoIterator<Item = usize>) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for start in starts.into_iter().chain([text.len()]) {
        if start > from {
            parts.push(&text[from..start]);
            from = start;
        }
    }
    parts
}

/// Where in a sentence a character stands.
#[derive(Clone, Copy)]
enum Stop {
    /// Not at its end.
    No,
    /// After a full stop that ends the sentence if a space follows.
    Maybe,
    /// After a full stop that ends it by itself, as in Chinese and Japanese.
    Full,
    /// In the space after a full stop.
    Space,
}

/// Sentences with the space after them.
fn sentences(text: &str) -> Vec<&str> {
    let mut stop = Stop::No;
    let mut starts = Vec::new();
    for (index, c) in text.char_indices() {
        let is_closer = matches!(
            c,
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' | '」' | '』' | '）'
        );
        stop = match (stop, c) {
            (Stop::Maybe | Stop::Full | Stop::Space, c) if c.is_whitespace() => Stop::Space,
            (Stop::Maybe | Stop::Full, _) if is_closer => stop,
            (_, '。' | '！' | '？') => Stop::Full,
            (Stop::Maybe, '.' | '!' | '?' | '…') => Stop::Maybe,
            (Stop::Full | Stop::Space, _) => {
                starts.push(index);
                Stop::No
            }
            (_, '.' | '!' | '?' | '…') => Stop::Maybe,
            _ => Stop::No,
        };
    }
    at(text, starts)
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// Words with the space before them, as tokenizers see them.
fn words(text: &str) -> Vec<&str> {
    let mut was_space = true;
    let starts = text.char_indices().filter_map(|(index, c)| {
        let is_start = c.is_whitespace() && !was_space;
        was_space = c.is_whitespace();
        is_start.then_some(index)
    });
    at(text, starts.collect::<Vec<_>>())
}

fn halves(text: &str) -> Vec<&str> {
    let middle = text
        .char_indices()
        .map(|(index, _)| index)
        .nth(text.chars().count() / 2);
    at(text, middle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count_words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn chunks(blocks: Vec<Block>, tokens: usize, overlap: usize) -> Vec<Chunk> {
        let mut chunker = Chunker::new(Chunking {
            options: ChunkOptions { tokens, overlap },
            count: &count_words,
        });
        let mut chunks: Vec<Chunk> = blocks.into_iter().flat_map(|b| chunker.add(b)).collect();
        chunks.extend(chunker.finish());
        chunks
    }

    fn blocks(texts: &[&str]) -> Vec<Block> {
        let mut line = 1;
        let block = |text: &&str| {
            let block = Block {
                line,
                text: (*text).into(),
                starts_section: text.starts_with('#'),
                is_code: text.starts_with("```"),
            };
            line += text.matches('\n').count();
            block
        };
        texts.iter().map(block).collect()
    }

    fn told(chunks: &[Chunk]) -> Vec<(usize, &str)> {
        chunks
            .iter()
            .map(|chunk| (chunk.line, chunk.text.as_str()))
            .collect()
    }

    #[test]
    fn sections_that_fit_stay_whole_and_share_a_chunk() {
        let document = blocks(&[
            "# a\n",
            "one two\n\n",
            "# b\n",
            "three\n\n",
            "four five\n\n",
            "# c\n",
            "six\n",
        ]);
        assert_eq!(
            told(&chunks(document, 8, 0)),
            [
                (1, "# a\none two\n\n"),
                (4, "# b\nthree\n\nfour five\n\n# c\nsix\n")
            ]
        );
    }

    #[test]
    fn long_sections_are_cut_at_paragraphs_then_sentences_then_words() {
        let document = blocks(&[
            "# a\n",
            "One two three. Four five.\n\n",
            "Six seven eight nine ten eleven\n",
        ]);
        assert_eq!(
            told(&chunks(document, 5, 0)),
            [
                (1, "# a\nOne two three. "),
                (2, "Four five.\n\nSix seven eight"),
                (4, " nine ten eleven\n")
            ]
        );
    }

    #[test]
    fn code_is_cut_at_lines_and_only_if_it_is_too_long() {
        let document = blocks(&[
            "Intro here.\n",
            "```\na. b\nc. d\n```\n",
            "```\ne. f g h\ni. j k l\n```\n",
        ]);
        assert_eq!(
            told(&chunks(document, 6, 0)),
            [
                (1, "Intro here.\n"),
                (2, "```\na. b\nc. d\n```\n"),
                (6, "```\ne. f g h\n"),
                (8, "i. j k l\n```\n")
            ]
        );
    }

    #[test]
    fn the_end_of_a_chunk_is_said_again_in_the_next() {
        let document = blocks(&["One two. Three four.\nFive six. Seven eight nine ten.\n"]);
        assert_eq!(
            told(&chunks(document.clone(), 6, 2)),
            [
                (1, "One two. Three four.\nFive six. "),
                (2, "Five six. Seven eight nine ten.\n"),
            ]
        );
        // A sentence too long to be said again is begun within, at a word.
        let again = chunks(blocks(&["a b c d e. f g h i j.\n"]), 6, 1);
        assert_eq!(told(&again)[1], (1, " e. f g h i j.\n"));
    }

    #[test]
    fn a_word_longer_than_a_chunk_is_cut_between_characters() {
        let mut chunker = Chunker::new(Chunking {
            options: ChunkOptions {
                tokens: 2,
                overlap: 0,
            },
            count: &|text| text.chars().count(),
        });
        let block = Block {
            line: 1,
            text: "äöüßx".into(),
            ..Block::default()
        };
        let mut chunks = chunker.add(block);
        chunks.extend(chunker.finish());
        assert_eq!(
            chunks
                .iter()
                .map(|chunk| chunk.text.as_str())
                .collect::<String>(),
            "äöüßx"
        );
        assert!(
            chunks.iter().all(|chunk| chunk.text.chars().count() <= 2),
            "{chunks:?}"
        );
    }

    #[test]
    fn sentences_end_at_full_stops_in_more_than_one_script() {
        assert_eq!(
            sentences("He said \"no.\" Then? 1.5 is fine"),
            ["He said \"no.\" ", "Then? ", "1.5 is fine"]
        );
        assert_eq!(
            sentences("「はい。」と言った。次"),
            ["「はい。」", "と言った。", "次"]
        );
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_chunk_is_too_long(texts in prop::collection::vec("(#|```)?([a-c.é]{1,4}[ \n]{1,2}){0,20}", 1..12), tokens in 1..12_usize) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let chunks = chunks(blocks(&texts), tokens, 0);
            prop_assert_eq!(chunks.iter().map(|chunk| chunk.text.as_str()).collect::<String>(), texts.concat());
            for chunk in &chunks {
                prop_assert!(count_words(&chunk.text) <= tokens, "{:?}", chunk);
            }
        }

        #[test]
        fn with_overlap_every_chunk_goes_on_where_the_last_one_ended(text in "([a-c.]{1,4}[ \n]){1,60}", tokens in 2..12_usize) {
            let chunks = chunks(blocks(&[&text]), tokens, tokens / 2);
            let mut end = 0;
            for chunk in &chunks {
                prop_assert!(count_words(&chunk.text) <= tokens, "{:?}", chunk);
                let start = (0..=end).rev().find(|&start| text[start..].starts_with(&chunk.text));
                end = start.expect("a chunk begins within or after the last one") + chunk.text.len();
            }
            prop_assert!(chunks.last().is_none_or(|last| text.ends_with(&last.text)));
        }
    }
}
