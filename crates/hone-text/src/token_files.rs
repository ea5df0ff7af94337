//! What the files beside a `tokenizer.json` say of its tokens.
//!
//! They say it several times over, since they are from several years: `tokenizer_config.json` names tokens and may list the
//! added ones, `special_tokens_map.json` and `added_tokens.json` did so before, the model's own configuration has numbers.
//! They are read in the order of transformers 5, and where they do not fit together that is said.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::guard::guarded;
use crate::one_line::tame;
use crate::tokenizer::malformed;
use crate::{Tokenizer, TokenizerError};

/// Bytes of the files, and numbers of the model's configuration; each may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenFiles<'a> {
    /// `tokenizer_config.json`.
    pub config: Option<&'a [u8]>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<&'a [u8]>,
    /// `added_tokens.json`.
    pub added_tokens: Option<&'a [u8]>,
    /// `bos_token_id` of the model's configuration.
    pub bos: Option<u32>,
    /// `eos_token_id` of the model's configuration.
    pub eos: &'a [u32],
}

/// The part of `tokenizer_config.json`, or of `special_tokens_map.json`, that names tokens.
#[derive(Clone, Default, Deserialize)]
struct Names {
    bos_token: Option<Name>,
    eos_token: Option<Name>,
    unk_token: Option<Name>,
    pad_token: Option<Name>,
    add_bos_token: Option<bool>,
    added_tokens_decoder: Option<BTreeMap<u32, Listed>>,
    additional_special_tokens: Option<Vec<Name>>,
}

#[derive(Clone, Deserialize)]
#[serde(
    untagged,
    expecting = "it is neither the text of a token nor an object with its `content`"
)]
enum Name {
    Text(String),
    Content { content: String },
}

impl Name {
    fn text(&self) -> &str {
        let (Self::Text(text) | Self::Content { content: text }) = self;
        text
    }
}

/// An added token as Python's `AddedToken` reads it.
#[derive(Clone, Deserialize)]
struct Listed {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

impl Listed {
    fn token(&self) -> AddedToken {
        AddedToken::from(self.content.clone(), self.special)
            .single_word(self.single_word)
            .lstrip(self.lstrip)
            .rstrip(self.rstrip)
            .normalized(self.normalized.unwrap_or(!self.special))
    }
}

impl Tokenizer {
    /// Takes named tokens, and tokens that `tokenizer.json` lacks, from the files beside it. The second value says what in
    /// them does not fit together, and what is done about it.
    ///
    /// # Errors
    /// Files that are not what they should be; a BOS or EOS that is no token; a token that a file numbers otherwise than
    /// where it would come to stand.
    pub fn with_files(self, files: &TokenFiles) -> Result<(Self, Vec<String>), TokenizerError> {
        let mut names: Names = read(CONFIG, files.config)?.unwrap_or_default();
        let mut listed = names.added_tokens_decoder.take();
        // Older files are not looked at where the configuration lists the added tokens itself.
        if listed.is_none() {
            let older = read(SPECIAL, files.special_tokens_map)?;
            names.override_with(older.unwrap_or_default());
            listed = added_tokens(files.added_tokens, &names)?;
        }
        let mut notices = Vec::new();
        let mut tokenizer = match listed {
            Some(listed) => self.with_listed(&listed, &mut notices)?,
            None => self,
        };
        tokenizer.take_names(&names, &mut notices)?;
        if let (None, Some(id)) = (tokenizer.eos, tokenizer.first_known(files.eos)) {
            tokenizer.eos = Some(id);
        }
        // A tokenizer whose files name nothing at all is named by the model's configuration.
        if files.config.is_none() && files.special_tokens_map.is_none() {
            let bos = tokenizer.first_known(files.bos.as_slice());
            tokenizer.bos = bos.or(tokenizer.bos);
        }
        let add_bos = names.add_bos_token;
        let adds_bos = tokenizer.adds_bos || tokenizer.post_processor_adds_bos();
        tokenizer.adds_bos = tokenizer.bos.is_some() && add_bos.unwrap_or(adds_bos);
        Ok((tokenizer, notices))
    }

    fn first_known(&self, ids: &[u32]) -> Option<u32> {
        ids.iter().copied().find(|id| self.token(*id).is_some())
    }

    fn take_names(
        &mut self,
        names: &Names,
        notices: &mut Vec<String>,
    ) -> Result<(), TokenizerError> {
        // What no file names stays as the vocabulary itself has it, as a SentencePiece model does.
        self.bos = self.named("BOS", names.bos_token.as_ref())?.or(self.bos);
        self.eos = self.named("EOS", names.eos_token.as_ref())?.or(self.eos);
        // Nothing here pads, and what cannot be spelt is refused: neither needs a row in the model.
        let mut lenient = |role, name: &Option<Name>| {
            let name = name.as_ref()?;
            let id = self.token_id(name.text());
            if id.is_none() {
                let text = tame(name.text());
                notices.push(format!(
                    "the {role} token `{text}` is not in the vocabulary, and is not used"
                ));
            }
            id
        };
        let unknown = lenient("unknown", &names.unk_token);
        let padding = lenient("padding", &names.pad_token);
        for name in names.additional_special_tokens.iter().flatten() {
            lenient("additional special", &Some(name.clone()));
        }
        self.unknown = unknown.or(self.unknown);
        self.padding = padding.or(self.padding);
        Ok(())
    }

    fn named(
        &self,
        role: &'static str,
        name: Option<&Name>,
    ) -> Result<Option<u32>, TokenizerError> {
        let Some(name) = name else {
            return Ok(None);
        };
        let unknown = || TokenizerError::UnknownToken {
            role,
            token: tame(name.text()),
        };
        self.token_id(name.text()).map(Some).ok_or_else(unknown)
    }

    /// With the tokens that a file lists by number; those that are there already get the properties that it says.
    fn with_listed(
        self,
        listed: &BTreeMap<u32, Listed>,
        notices: &mut Vec<String>,
    ) -> Result<Self, TokenizerError> {
        let known = self.inner.get_added_tokens_decoder();
        let is_known = |(id, token): &(&u32, &Listed)| known.get(id) == Some(&token.token());
        if listed.iter().all(|entry| is_known(&entry)) {
            return Ok(self);
        }
        for (id, token) in listed {
            match self.token_id(&token.content) {
                Some(own) if own != *id => notices.push(format!(
                    "the token `{}` is number {own} in tokenizer.json, which counts, and {id} in the files beside it",
                    tame(&token.content)
                )),
                _ => {}
            }
        }
        let tokens: Vec<AddedToken> = listed
            .values()
            .filter(|token| !token.content.is_empty())
            .map(Listed::token)
            .collect();
        let mut grown = self.inner.clone();
        guarded(|| grown.add_tokens(tokens).map_err(malformed)).map_err(malformed)??;
        for (id, token) in listed {
            let was_there = self.token_id(&token.content).is_some();
            let ours = grown.token_to_id(&token.content);
            if let Some(ours) = ours.filter(|ours| ours != id && !was_there) {
                return Err(TokenizerError::OtherPlace {
                    token: tame(&token.content),
                    listed: *id,
                    next: ours,
                });
            }
        }
        self.of_inner(grown)
    }
}

impl Names {
    /// What the other names comes first, name by name.
    fn override_with(&mut self, other: Self) {
        let Self {
            bos_token,
            eos_token,
            unk_token,
            pad_token,
            additional_special_tokens,
            ..
        } = other;
        let pairs = [
            (&mut self.bos_token, bos_token),
            (&mut self.eos_token, eos_token),
            (&mut self.unk_token, unk_token),
            (&mut self.pad_token, pad_token),
        ];
        for (own, other) in pairs {
            if other.is_some() {
                *own = other;
            }
        }
        if additional_special_tokens.is_some() {
            self.additional_special_tokens = additional_special_tokens;
        }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        let named = [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.pad_token,
        ];
        let more = self.additional_special_tokens.iter().flatten();
        named.into_iter().flatten().chain(more).map(Name::text)
    }
}

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";

/// What a file says; it is an object in each of them.
fn read<T: DeserializeOwned>(
    file: &'static str,
    json: Option<&[u8]>,
) -> Result<Option<T>, TokenizerError> {
    let Some(json) = json else {
        return Ok(None);
    };
    let told = |what: String| TokenizerError::File {
        file,
        what: tame(&what),
    };
    if json.trim_ascii().is_empty() {
        return Err(told("it is empty".into()));
    }
    let object: Map<String, Value> = serde_json::from_slice(json)
        .map_err(|error| told(format!("it is no JSON object: {error}")))?;
    let read = T::deserialize(Value::Object(object));
    read.map(Some).map_err(|error| told(error.to_string()))
}

/// `added_tokens.json`: numbers by text. Those that are named otherwise are control tokens.
fn added_tokens(
    json: Option<&[u8]>,
    names: &Names,
) -> Result<Option<BTreeMap<u32, Listed>>, TokenizerError> {
    let numbers: Option<BTreeMap<String, u32>> = read(ADDED, json)?;
    let Some(numbers) = numbers else {
        return Ok(None);
    };
    let listed = numbers.into_iter().map(|(content, id)| {
        let special = names.all().any(|name| name == content);
        let listed = Listed {
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
            special,
        };
        (id, listed)
    });
    Ok(Some(listed.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::chatml;

    fn with(files: &TokenFiles) -> Result<(Tokenizer, Vec<String>), String> {
        let tokenizer = Tokenizer::from_json(chatml().to_json().as_bytes()).unwrap();
        tokenizer
            .with_files(files)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_that_only_the_configuration_lists_are_tokens() {
        let len = chatml().vocab_size() as u32;
        let config = format!(
            r#"{{"eos_token": "<|stop|>", "added_tokens_decoder": {{"{len}": {{"content": "<|stop|>", "special": true}}, "{}": {{"content": "<part>"}}}}}}"#,
            len + 1
        );
        // Once the configuration lists its tokens, what older files say does not count.
        let older = br#"{"eos_token": "<|im_end|>"}"#;
        let files = TokenFiles {
            config: Some(config.as_bytes()),
            special_tokens_map: Some(older),
            added_tokens: Some(br#"{"<never>": 0}"#),
            ..TokenFiles::default()
        };
        let (tokenizer, notices) = with(&files).unwrap();
        assert_eq!(notices, [] as [&str; 0]);
        assert_eq!(tokenizer.eos(), Some(len));
        assert!(tokenizer.is_special(len) && !tokenizer.is_special(len + 1));
        assert_eq!(tokenizer.encode("<|stop|><part>").unwrap(), [len, len + 1]);
        assert_ne!(tokenizer.encode_plain("<|stop|>").unwrap(), [len]);
    }

    #[test]
    fn older_files_name_tokens_too() {
        let len = chatml().vocab_size() as u32;
        let added = format!(r#"{{"<|stop|>": {len}}}"#);
        let files = TokenFiles {
            config: Some(br#"{"eos_token": "<|im_end|>"}"#),
            special_tokens_map: Some(
                br#"{"eos_token": {"content": "<|stop|>", "lstrip": false}, "bos_token": "<|im_start|>"}"#,
            ),
            added_tokens: Some(added.as_bytes()),
            ..TokenFiles::default()
        };
        let (tokenizer, _) = with(&files).unwrap();
        assert_eq!(tokenizer.eos(), Some(len));
        assert_eq!(tokenizer.bos(), tokenizer.token_id("<|im_start|>"));
        assert!(tokenizer.is_special(len));
    }

    #[test]
    fn a_tokenizer_that_nothing_names_takes_the_numbers_of_the_model() {
        let end = chatml().token_id("<|im_end|>").unwrap();
        let numbers = TokenFiles {
            bos: Some(end),
            eos: &[u32::MAX, end],
            ..TokenFiles::default()
        };
        let (tokenizer, _) = with(&numbers).unwrap();
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(end), Some(end)));
        let named = TokenFiles {
            config: Some(b"{}"),
            ..numbers
        };
        let (tokenizer, _) = with(&named).unwrap();
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (None, Some(end)));
    }

    #[test]
    fn a_padding_token_outside_the_vocabulary_is_said_and_not_needed() {
        let config = br#"{"eos_token": "<|im_end|>", "pad_token": "[PAD]"}"#;
        let files = TokenFiles {
            config: Some(config),
            ..TokenFiles::default()
        };
        let (tokenizer, notices) = with(&files).unwrap();
        assert_eq!(
            notices,
            ["the padding token `[PAD]` is not in the vocabulary, and is not used"]
        );
        assert!(
            tokenizer
                .named_tokens()
                .all(|(name, _)| name != "pad_token")
        );
    }

    #[test]
    fn numbers_that_do_not_fit_are_said_or_refused() {
        let len = chatml().vocab_size() as u32;
        let refused = |config: &str| {
            let files = TokenFiles {
                config: Some(config.as_bytes()),
                ..TokenFiles::default()
            };
            with(&files)
        };
        let gap = format!(
            r#"{{"added_tokens_decoder": {{"{}": {{"content": "<a>"}}}}}}"#,
            len + 5
        );
        assert_eq!(
            refused(&gap).err().unwrap(),
            format!(
                "the files beside tokenizer.json list the token `<a>` as number {}, where the vocabulary goes on with {len}",
                len + 5
            )
        );
        let end = chatml().token_id("<|im_end|>").unwrap();
        let other = format!(
            r#"{{"added_tokens_decoder": {{"{}": {{"content": "<|im_end|>", "special": true}}}}}}"#,
            end + 1
        );
        let (_, notices) = refused(&other).unwrap();
        assert!(
            notices[0].starts_with(&format!("the token `<|im_end|>` is number {end}")),
            "{notices:?}"
        );
        let none = refused(r#"{"eos_token": "<none>"}"#).err().unwrap();
        assert_eq!(
            none,
            "the tokenizer has no token `<none>`, which its configuration names as EOS"
        );
        assert!(refused("{").is_err());
    }
}
