//! Text to ids and back, for any `tokenizer.json` or GGUF vocabulary.
//!
//! The `tokenizers` crate does the work; what this file adds is *borders*. A rendered conversation is
//! part template, part what people wrote, and only the template may speak in control tokens: a user
//! who types `<|im_end|>` must not end the turn. So the steps of encoding (added tokens, normaliser,
//! pre-tokenizer, model) are driven here, with the ranges that are plain text and the points where
//! serving cuts the text. With no borders the result is that of the `tokenizers` crate, by test.

use std::ops::Range as Bytes;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use sha2::{Digest, Sha256};
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizer::Range;
use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential,
    OffsetType, PreTokenizedString, PreTokenizer, Token as ModelToken,
};

use crate::guard::guarded;
use crate::one_line::tame;
use crate::{GgufVocabulary, KNOWN_PRE_TOKENIZERS, StreamDecoder, TokenFiles};

/// Why a tokenizer cannot be made or a text cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the message says what each field is
pub enum TokenizerError {
    #[error("not a usable tokenizer: {what}")]
    Malformed { what: String },
    #[error(
        "the vocabulary is of type `{model}`; known are `gpt2` (byte-level BPE) and `llama` (SentencePiece)"
    )]
    UnknownModel { model: String },
    #[error("the vocabulary names the pre-tokenizer `{name}`, which is not known; known are {}", KNOWN_PRE_TOKENIZERS.join(", "))]
    UnknownPreTokenizer { name: String },
    #[error("llama.cpp has no name for this tokenizer: it has {what}")]
    NotInGguf { what: String },
    #[error("this SentencePiece model has {what}, which no tokenizer.json can say")]
    NotConvertible { what: String },
    #[error(
        "vocab.json and merges.txt do not say how text is cut into words, and neither does the class `{class}`; known are {known}"
    )]
    UnknownClass { class: String, known: String },
    #[error("the tokenizer has no token `{token}`, which its configuration names as {role}")]
    UnknownToken { role: &'static str, token: String },
    #[error("{file}: {what}")]
    File { file: &'static str, what: String },
    #[error(
        "the files beside tokenizer.json list the token `{token}` as number {listed}, where the vocabulary goes on with {next}"
    )]
    OtherPlace {
        token: String,
        listed: u32,
        next: u32,
    },
    #[error("`{token}` cannot be a new token: {what}")]
    NewToken { token: String, what: String },
    #[error("the tokenizer beside it numbers `{token}` {theirs}, and here it is {ours}")]
    OtherNumber {
        token: String,
        theirs: u32,
        ours: u32,
    },
    #[error(
        "the token {token:?} has the id {id}, but the model knows {rows} tokens and the tokenizer has {tokens}"
    )]
    Beyond {
        token: String,
        id: u32,
        rows: usize,
        tokens: usize,
    },
    #[error("the vocabulary cannot spell {text:?}")]
    Unspeakable { text: String },
    #[error("the text cannot be encoded: {what}")]
    Encoding { what: String },
    #[error("the ids cannot be decoded: {what}")]
    Decoding { what: String },
}

impl TokenizerError {
    /// The same of the one file that the tokenizer was read from.
    pub fn of_file(self, file: &'static str) -> Self {
        match self {
            Self::Malformed { .. } => Self::File {
                file,
                what: self.to_string(),
            },
            other => other,
        }
    }

    /// What to do next about the files of a model.
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NotInGguf { .. } => vec![
                "`hone export --to hf` keeps the tokenizer as it is: transformers and vLLM read it"
                    .into(),
            ],
            Self::NotConvertible { .. } | Self::UnknownClass { .. } => vec![SAVE.to_owned()],
            Self::UnknownToken { role, .. } => {
                let key = role.to_lowercase();
                vec![format!(
                    "write a token of the vocabulary, or null, as \"{key}_token\" in tokenizer_config.json (special_tokens_map.json, where that \
                     has one, comes first)"
                )]
            }
            Self::File { file, .. } => vec![format!(
                "fetch {file} again from where the model comes from, or mend it by hand"
            )],
            Self::OtherPlace { .. } | Self::OtherNumber { .. } | Self::Beyond { .. } => {
                vec!["fetch tokenizer and weights again, both from one place".into()]
            }
            _ => vec![format!(
                "fetch the tokenizer again from where the model comes from, or {SAVE}"
            )],
        }
    }
}

const SAVE: &str = "save it with transformers' AutoTokenizer.from_pretrained(…).save_pretrained(DIR), which writes tokenizer.json";

/// A vocabulary and the rules for spelling text with it.
#[derive(Clone)]
pub struct Tokenizer {
    pub(crate) inner: tokenizers::Tokenizer,
    /// Added tokens matched in the text as written.
    raw: Added,
    /// Added tokens matched after normalisation.
    normalized: Added,
    /// A Unigram model that knows no control tokens: its own takes any piece for text, these too.
    letters: Option<Arc<Unigram>>,
    /// The pre-tokenizer marks the start of every piece, so pieces must not be cut before it.
    marks_pieces: bool,
    /// The token with the greatest id.
    last: Option<(String, u32)>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) unknown: Option<u32>,
    pub(crate) padding: Option<u32>,
    pub(crate) adds_bos: bool,
    hash: String,
}

/// What encoding must respect in a rendered text. Byte offsets, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Borders {
    /// Where control tokens are only letters.
    pub plain: Vec<Bytes<usize>>,
    /// Where no token may cross.
    pub cuts: Vec<usize>,
}

/// The token with the greatest id. A whole vocabulary can only be had as a copy of it, so it is asked for only where ids have
/// gaps: as many tokens as there are ids from 0 on, each with its own, end with the last of these.
fn last_token(inner: &tokenizers::Tokenizer) -> Option<(String, u32)> {
    let model = inner.get_model();
    let len = u32::try_from(model.get_vocab_size()).ok()?;
    let has_gaps = (0..len).any(|id| model.id_to_token(id).is_none());
    if has_gaps {
        let vocabulary = inner.get_vocab(true);
        return vocabulary.into_iter().max_by_key(|(_, id)| *id);
    }
    let last = len.checked_sub(1);
    let last = last.and_then(|id| Some((model.id_to_token(id)?, id)));
    let added = inner.get_added_tokens_decoder().into_iter();
    let added = added.map(|(id, token)| (token.content, id));
    added.chain(last).max_by_key(|(_, id)| *id)
}

/// Refuses an id that lies far beyond what a file of so many tokens can mean: several walks go through every id up to the
/// greatest, so one number in a small file would cost gigabytes. What the model has is not known yet: see
/// [`Tokenizer::refuse_beyond`].
fn refuse_far(last: Option<&(String, u32)>, tokens: usize) -> Result<(), TokenizerError> {
    /// Vocabularies have gaps and reserved ids; none of this size holds fewer than a quarter of its tokens. The walks take
    /// four bytes an id.
    const ALWAYS_TAKEN: usize = 1 << 20;
    match last {
        Some((token, id)) if *id as usize >= ALWAYS_TAKEN.max(4 * tokens) => {
            Err(malformed(format!(
                "the token {token:?} has the id {id}, far beyond the {tokens} tokens that there are"
            )))
        }
        _ => Ok(()),
    }
}

/// One token and the bytes it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub id: u32,
    pub bytes: Bytes<usize>,
}

impl Tokenizer {
    /// From the bytes of a `tokenizer.json`.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        guarded(|| Self::read_json(json)).map_err(malformed)?
    }

    fn read_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(malformed)?;
        let last = last_token(&inner);
        refuse_far(last.as_ref(), inner.get_vocab_size(true))?;
        // A file may carry the limits of somebody's last batch; nothing is cut or filled here.
        inner.with_truncation(None).map_err(malformed)?;
        inner.with_padding(None);
        let (raw, normalized) = (Added::new(&inner, false)?, Added::new(&inner, true)?);
        let hash = sha256_hex(inner.to_string(false).map_err(malformed)?.as_bytes());
        let mut tokenizer = Self {
            letters: letters_of(&inner)?,
            marks_pieces: false,
            last,
            inner,
            raw,
            normalized,
            bos: None,
            eos: None,
            unknown: None,
            padding: None,
            adds_bos: false,
            hash,
        };
        tokenizer.marks_pieces = tokenizer.probe_piece_marks()?;
        Ok(tokenizer)
    }

    /// The same rules and named tokens with a vocabulary that holds this one's.
    pub(crate) fn of_inner(&self, inner: tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let (raw, normalized) = (Added::new(&inner, false)?, Added::new(&inner, true)?);
        let hash = sha256_hex(inner.to_string(false).map_err(malformed)?.as_bytes());
        Ok(Self {
            letters: letters_of(&inner)?,
            last: last_token(&inner),
            inner,
            raw,
            normalized,
            hash,
            ..self.clone()
        })
    }

    /// From the vocabulary in a GGUF header.
    pub fn from_gguf(vocabulary: &GgufVocabulary) -> Result<Self, TokenizerError> {
        let json = vocabulary.to_tokenizer_json()?.to_string();
        Ok(Self {
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            unknown: vocabulary.unknown,
            padding: vocabulary.padding,
            adds_bos: vocabulary.adds_bos(),
            ..Self::from_json(json.as_bytes())?
        })
    }

    /// With named tokens that a vocabulary gives by number; a text starts with BOS, as the models of such files were trained.
    pub(crate) fn with_named(
        self,
        bos: Option<u32>,
        eos: Option<u32>,
        unknown: Option<u32>,
        padding: Option<u32>,
    ) -> Self {
        Self {
            bos,
            eos,
            unknown,
            padding,
            adds_bos: bos.is_some(),
            ..self
        }
    }

    /// Takes the named tokens from the bytes of a `tokenizer_config.json`, see [`with_files`](Self::with_files).
    pub fn with_config(self, json: &[u8]) -> Result<Self, TokenizerError> {
        let files = TokenFiles {
            config: Some(json),
            ..TokenFiles::default()
        };
        Ok(self.with_files(&files)?.0)
    }

    /// Ids of `text`; control tokens written in it are control tokens. For text a template made.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(ids(self.spans(text, &Borders::default())?))
    }

    /// Ids of `text`; control tokens written in it are only letters. For text people wrote.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(ids(self.spans(text, &Borders::plain(text))?))
    }

    /// The text of `ids`, leaving out control tokens if asked to.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let decoded = guarded(|| self.inner.decode(ids, skip_special));
        let said = decoded.map(|decoded| decoded.map_err(|error| error.to_string()));
        said.and_then(|text| text)
            .map_err(|what| TokenizerError::Decoding { what: tame(&what) })
    }

    /// A decoder for ids that arrive one at a time.
    pub fn stream(&self, skip_special: bool) -> StreamDecoder<'_> {
        StreamDecoder::new(self, skip_special)
    }

    /// The id of a token, as the vocabulary spells it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token of an id, as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// How many tokens there are, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Refuses an id that neither the rows of a model nor the number of tokens accounts for. A few tokens more than rows are
    /// no fault: many tokenizers name a padding token that their model never sees.
    ///
    /// # Errors
    /// The token with the greatest id, if no row is its and there are not so many tokens.
    pub fn refuse_beyond(&self, rows: usize) -> Result<(), TokenizerError> {
        let tokens = self.vocab_size();
        match &self.last {
            Some((token, id)) if *id as usize >= rows.max(tokens) => Err(TokenizerError::Beyond {
                token: token.clone(),
                id: *id,
                rows,
                tokens,
            }),
            _ => Ok(()),
        }
    }

    /// Whether the id is a control token.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .get(&id)
            .is_some_and(|token| token.special)
    }

    /// Beginning of sequence.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// End of sequence.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether plain text starts with BOS.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// The named tokens that exist, by the name chat templates use.
    pub fn named_tokens(&self) -> impl Iterator<Item = (&'static str, String)> {
        let named = [
            ("bos_token", self.bos),
            ("eos_token", self.eos),
            ("unk_token", self.unknown),
            ("pad_token", self.padding),
        ];
        named
            .into_iter()
            .filter_map(|(name, id)| Some((name, self.token(id?)?)))
    }

    /// The `tokenizer.json` to save beside an adapter.
    pub fn to_json(&self) -> String {
        self.inner
            .to_string(true)
            .expect("a tokenizer that was loaded can be written")
    }

    /// SHA-256 of the `tokenizer.json`, for provenance.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn spans(&self, text: &str, borders: &Borders) -> Result<Vec<Span>, TokenizerError> {
        let spelt = guarded(|| self.spell_pieces(text, borders));
        spelt.map_err(|what| TokenizerError::Encoding { what: tame(&what) })?
    }

    fn spell_pieces(&self, text: &str, borders: &Borders) -> Result<Vec<Span>, TokenizerError> {
        let mut pieces = PreTokenizedString::from(text);
        self.split_added(&mut pieces, &self.raw, None, borders)?;
        self.split_added(
            &mut pieces,
            &self.normalized,
            self.inner.get_normalizer(),
            borders,
        )?;
        if !self.marks_pieces {
            cut(&mut pieces, &borders.cuts)?;
        }
        if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces).map_err(encoding)?;
        }
        if self.marks_pieces {
            cut(&mut pieces, &borders.cuts)?;
        }
        pieces
            .tokenize(|piece| self.spell(piece))
            .map_err(encoding)?;
        let encoding = pieces
            .into_encoding(None, 0, OffsetType::Byte)
            .map_err(encoding)?;
        let offsets = encoding
            .get_offsets()
            .iter()
            .map(|&(start, end)| start..end);
        let ids = encoding.get_ids().iter().copied();
        Ok(ids
            .zip(offsets)
            .map(|(id, bytes)| Span { id, bytes })
            .collect())
    }

    /// Can what comes before `text` be encoded differently because of it, even with a cut between them?
    /// Normalisers join a letter with the accent after it, and no accent is ASCII.
    pub(crate) fn may_melt(&self, text: &str) -> bool {
        let accent =
            text.starts_with(|c: char| !c.is_ascii()) && self.inner.get_normalizer().is_some();
        accent || self.marks_pieces
    }

    /// The first added token in `text` and where it stands.
    pub(crate) fn first_added(&self, text: &str) -> Option<Span> {
        [&self.raw, &self.normalized]
            .into_iter()
            .filter_map(|added| added.first(text))
            .min_by_key(|span| span.bytes.start)
    }

    fn split_added(
        &self,
        pieces: &mut PreTokenizedString,
        added: &Added,
        normalizer: Option<&NormalizerWrapper>,
        borders: &Borders,
    ) -> Result<(), TokenizerError> {
        let split = |_, mut piece: NormalizedString| {
            if let Some(normalizer) = normalizer {
                normalizer.normalize(&mut piece)?;
            }
            Ok(added.split(piece, borders))
        };
        pieces.split(split).map_err(encoding)
    }

    /// The model's tokens for one piece; a model without an unknown token drops what it cannot spell,
    /// and the tokens then do not reach the end of the piece.
    fn spell(&self, piece: &NormalizedString) -> tokenizers::Result<Vec<ModelToken>> {
        let tokens = match &self.letters {
            Some(letters) => letters.tokenize(piece.get())?,
            None => self.inner.get_model().tokenize(piece.get())?,
        };
        match tokens.last() {
            Some(last) if last.offsets.1 == piece.get().len() => Ok(tokens),
            None if piece.get().is_empty() => Ok(tokens),
            _ => Err(Box::new(TokenizerError::Unspeakable {
                text: piece.get_original().to_owned(),
            })),
        }
    }

    pub(crate) fn post_processor_adds_bos(&self) -> bool {
        let encoded = self.inner.encode("", true).ok();
        self.bos.is_some()
            && encoded.and_then(|encoding| encoding.get_ids().first().copied()) == self.bos
    }

    /// Does a piece that is not the first one come out of the pre-tokenizer with a mark before it?
    fn probe_piece_marks(&self) -> Result<bool, TokenizerError> {
        let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() else {
            return Ok(false);
        };
        let mut pieces = PreTokenizedString::from("ab");
        cut(&mut pieces, &[1])?;
        pre_tokenizer.pre_tokenize(&mut pieces).map_err(encoding)?;
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let second: String = splits
            .iter()
            .filter(|split| split.1.0 == 1)
            .map(|split| split.0)
            .collect();
        Ok(second != "b")
    }
}

/// Of a Unigram model one of the same numbers in which a control token has a name that nobody can write, so that no text is
/// spelt with it; `None` for other models, which reach no control token by spelling.
fn letters_of(inner: &tokenizers::Tokenizer) -> Result<Option<Arc<Unigram>>, TokenizerError> {
    let ModelWrapper::Unigram(model) = inner.get_model() else {
        return Ok(None);
    };
    // The library does not hand out the number of the unknown piece, but writes it.
    let unknown = serde_json::to_value(model).map_err(malformed)?["unk_id"].as_u64();
    let unknown = unknown.and_then(|id| usize::try_from(id).ok());
    let added = inner.get_added_tokens_decoder();
    let is_control = |id: usize| added.get(&(id as u32)).is_some_and(|token| token.special);
    let pieces = model.iter().enumerate().map(|(id, (piece, score))| {
        let piece = match is_control(id) {
            true => format!("\0control token {id}\0"),
            false => piece.clone(),
        };
        (piece, *score)
    });
    let letters = Unigram::from(pieces.collect(), unknown, model.byte_fallback());
    Ok(Some(Arc::new(letters.map_err(malformed)?)))
}

/// Added tokens of one kind, found left to right, the longest first.
#[derive(Clone)]
struct Added {
    finder: AhoCorasick,
    tokens: Vec<AddedToken>,
}

#[derive(Clone)]
struct AddedToken {
    id: u32,
    special: bool,
    single_word: bool,
    strip_left: bool,
    strip_right: bool,
}

impl Added {
    fn new(inner: &tokenizers::Tokenizer, normalized: bool) -> Result<Self, TokenizerError> {
        let mut known: Vec<_> = inner.get_added_tokens_decoder().into_iter().collect();
        known.sort_unstable_by_key(|&(id, _)| id);
        let (mut patterns, mut tokens) = (Vec::new(), Vec::new());
        for (id, token) in known
            .into_iter()
            .filter(|(_, token)| token.normalized == normalized)
        {
            let mut pattern = NormalizedString::from(token.content.as_str());
            if let Some(normalizer) = inner.get_normalizer().filter(|_| normalized) {
                normalizer.normalize(&mut pattern).map_err(malformed)?;
            }
            if pattern.is_empty() {
                continue;
            }
            patterns.push(pattern.get().to_owned());
            tokens.push(AddedToken {
                id,
                special: token.special,
                single_word: token.single_word,
                strip_left: token.lstrip,
                strip_right: token.rstrip,
            });
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns)
            .map_err(malformed)?;
        Ok(Self { finder, tokens })
    }

    fn first(&self, text: &str) -> Option<Span> {
        let found = self.finder.find(text)?;
        Some(Span {
            id: self.tokens[found.pattern()].id,
            bytes: found.range(),
        })
    }

    fn split(
        &self,
        piece: NormalizedString,
        borders: &Borders,
    ) -> Vec<(NormalizedString, Option<Vec<ModelToken>>)> {
        let slice = |bytes: Bytes<usize>| {
            piece
                .slice(Range::Normalized(bytes))
                .expect("matches lie on character borders")
        };
        let text = piece.get();
        let (mut pieces, mut done) = (Vec::new(), 0);
        for found in self.finder.find_iter(text) {
            let token = &self.tokens[found.pattern()];
            if token.special && borders.covers_any(slice(found.range()).offsets_original()) {
                continue;
            }
            if token.single_word && is_inside_word(text, found.range()) {
                continue;
            }
            let Bytes { mut start, mut end } = found.range();
            if token.strip_left {
                start = text[..start].trim_end().len().max(done);
            }
            if token.strip_right {
                end = text.len() - text[end..].trim_start().len();
            }
            if done < start {
                pieces.push((slice(done..start), None));
            }
            let token = ModelToken::new(token.id, text[start..end].to_owned(), (0, end - start));
            pieces.push((slice(start..end), Some(vec![token])));
            done = end;
        }
        if done < text.len() {
            pieces.push((slice(done..text.len()), None));
        }
        pieces
    }
}

impl Borders {
    /// Nothing in `text` is control.
    fn plain(text: &str) -> Self {
        Self {
            plain: std::iter::once(0..text.len()).collect(),
            cuts: Vec::new(),
        }
    }

    /// Does any plain range share a byte with this one?
    fn covers_any(&self, (start, end): (usize, usize)) -> bool {
        let next = self.plain.partition_point(|range| range.end <= start);
        self.plain.get(next).is_some_and(|range| range.start < end)
    }
}

/// Cuts pieces at offsets of the original text. A cut inside a character that normalisation made out
/// of both sides is left undone, see [`Tokenizer::may_melt`].
fn cut(pieces: &mut PreTokenizedString, cuts: &[usize]) -> Result<(), TokenizerError> {
    if cuts.is_empty() {
        return Ok(());
    }
    pieces
        .split(|_, piece| Ok(cut_piece(piece, cuts)))
        .map_err(encoding)
}

fn cut_piece(piece: NormalizedString, cuts: &[usize]) -> Vec<NormalizedString> {
    let (start, end) = piece.offsets_original();
    let inside = cuts
        .iter()
        .filter(|&&cut| start < cut && cut < end)
        .map(|cut| cut - start);
    let edges: Vec<usize> = std::iter::once(0)
        .chain(inside)
        .chain([end - start])
        .collect();
    let parts: Option<Vec<_>> = edges
        .windows(2)
        .map(|edge| piece.slice(Range::Original(edge[0]..edge[1])))
        .collect();
    match parts {
        Some(parts) if parts.iter().map(NormalizedString::len).sum::<usize>() == piece.len() => {
            parts
        }
        _ => vec![piece],
    }
}

fn is_inside_word(text: &str, found: Bytes<usize>) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text[..found.start].ends_with(is_word) || text[found.end..].starts_with(is_word)
}

fn ids(spans: Vec<Span>) -> Vec<u32> {
    spans.into_iter().map(|span| span.id).collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn malformed(error: impl ToString) -> TokenizerError {
    TokenizerError::Malformed {
        what: tame(&error.to_string()),
    }
}

fn encoding(error: Box<dyn std::error::Error + Send + Sync>) -> TokenizerError {
    match error.downcast::<TokenizerError>() {
        Ok(own) => *own,
        Err(other) => TokenizerError::Encoding {
            what: tame(&other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
