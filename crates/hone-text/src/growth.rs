//! Tokens added to a vocabulary that is there: by their text, or as another tokenizer has them.

use serde::Deserialize;
use tokenizers::AddedToken;

use crate::guard::guarded;
use crate::one_line::tame;
use crate::tokenizer::malformed;
use crate::{Tokenizer, TokenizerError};

/// What is read of a `tokenizer.json` that has more tokens.
#[derive(Deserialize)]
struct Grown {
    #[serde(default)]
    added_tokens: Vec<Numbered>,
}

#[derive(Deserialize)]
struct Numbered {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

impl Tokenizer {
    /// With these tokens behind its own, numbered in this order. They are found wherever they are written, also in what
    /// people write, as words of a domain are; they are no control tokens.
    ///
    /// # Errors
    /// A token that is empty, is there already, or is named twice.
    pub fn with_tokens(&self, texts: &[String]) -> Result<Self, TokenizerError> {
        let token = |text: &String| AddedToken::from(text.clone(), false).normalized(false);
        self.grown(texts.iter().map(token).collect())
    }

    /// With the added tokens that the tokenizer of the bytes of a `tokenizer.json` has below number `limit`, and this one
    /// does not; `None` if it has no more. Nothing else of that tokenizer is looked at.
    ///
    /// # Errors
    /// Tokens that the other numbers differently, or that do not follow those that are here.
    pub fn with_tokens_of(
        &self,
        json: &[u8],
        limit: usize,
    ) -> Result<Option<Self>, TokenizerError> {
        let other: Grown = serde_json::from_slice(json).map_err(malformed)?;
        let mut new = Vec::new();
        for Numbered { id, token } in other.added_tokens {
            match self.token_id(&token.content) {
                Some(own) if own == id => {}
                None if id as usize >= limit => {}
                None => new.push((id, token)),
                Some(own) => {
                    return Err(TokenizerError::OtherNumber {
                        token: tame(&token.content),
                        theirs: id,
                        ours: own,
                    });
                }
            }
        }
        if new.is_empty() {
            return Ok(None);
        }
        new.sort_by_key(|(id, _)| *id);
        let (ids, tokens): (Vec<u32>, Vec<AddedToken>) = new.into_iter().unzip();
        let texts: Vec<String> = tokens.iter().map(|token| token.content.clone()).collect();
        let grown = self.grown(tokens)?;
        for (token, theirs) in texts.iter().zip(ids) {
            let ours = grown.token_id(token).unwrap_or_default();
            if ours != theirs {
                let token = tame(token);
                return Err(TokenizerError::OtherNumber {
                    token,
                    theirs,
                    ours,
                });
            }
        }
        Ok(Some(grown))
    }

    fn grown(&self, tokens: Vec<AddedToken>) -> Result<Self, TokenizerError> {
        let mut seen = std::collections::HashSet::new();
        for AddedToken { content, .. } in &tokens {
            let what = match self.token_id(content) {
                _ if content.is_empty() => "it is empty".to_owned(),
                Some(id) => format!("it is token {id} already"),
                None if !seen.insert(content) => "it is named twice".to_owned(),
                None => continue,
            };
            let token = tame(content);
            return Err(TokenizerError::NewToken { token, what });
        }
        let mut grown = self.inner.clone();
        guarded(|| grown.add_tokens(tokens).map_err(malformed)).map_err(malformed)??;
        self.of_inner(grown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{chatml, sentence_piece};

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn new_tokens_come_last_and_are_found_where_they_are_written() {
        for tokenizer in [chatml(), Tokenizer::from_gguf(&sentence_piece()).unwrap()] {
            let len = tokenizer.vocab_size() as u32;
            let grown = tokenizer.with_tokens(&texts(&["<part>", "Ωmega"])).unwrap();
            assert_eq!(grown.vocab_size() as u32, len + 2);
            assert_eq!(
                (grown.bos(), grown.eos()),
                (tokenizer.bos(), tokenizer.eos())
            );
            for encode in [Tokenizer::encode, Tokenizer::encode_plain] {
                let ids = encode(&grown, "<part>Ωmega<part>").unwrap();
                assert_eq!(ids, [len, len + 1, len]);
                let before = encode(&tokenizer, "hello").unwrap();
                assert_eq!(encode(&grown, "hello").unwrap(), before);
            }
            assert_eq!(
                grown
                    .decode(&[len, len + 1], true)
                    .unwrap()
                    .replace(' ', ""),
                "<part>Ωmega"
            );
            assert_ne!(grown.hash(), tokenizer.hash());

            // The same tokenizer comes from its file, and from that file beside the old one.
            let again = tokenizer.with_tokens_of(grown.to_json().as_bytes(), usize::MAX);
            assert_eq!(again.unwrap().unwrap().hash(), grown.hash());
            let none = tokenizer.with_tokens_of(grown.to_json().as_bytes(), len as usize);
            assert!(none.unwrap().is_none());
            let none = grown.with_tokens_of(grown.to_json().as_bytes(), usize::MAX);
            assert!(none.unwrap().is_none());
        }
    }

    #[test]
    fn tokens_that_are_no_new_ones_are_refused() {
        let tokenizer = chatml();
        let refused = |tokens: &[&str]| {
            tokenizer
                .with_tokens(&texts(tokens))
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(refused(&[""]), "`` cannot be a new token: it is empty");
        assert_eq!(
            refused(&["<a>", "<a>"]),
            "`<a>` cannot be a new token: it is named twice"
        );
        let end = tokenizer.token_id("<|im_end|>").unwrap();
        assert_eq!(
            refused(&["<a>", "<|im_end|>"]),
            format!("`<|im_end|>` cannot be a new token: it is token {end} already")
        );
    }

    #[test]
    fn a_tokenizer_that_numbers_otherwise_is_refused() {
        let tokenizer = chatml();
        let len = tokenizer.vocab_size();
        let other = |id: usize, token: &str| {
            let json = serde_json::json!({ "added_tokens": [{
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }]});
            let grown = tokenizer.with_tokens_of(json.to_string().as_bytes(), usize::MAX);
            grown.map(|_| ()).map_err(|error| error.to_string())
        };
        other(len, "<a>").unwrap();
        let refused = other(len + 1, "<a>").unwrap_err();
        assert_eq!(
            refused,
            format!(
                "the tokenizer beside it numbers `<a>` {}, and here it is {len}",
                len + 1
            )
        );
        other(0, "<a>").unwrap_err();
        let end = tokenizer.token_id("<|im_end|>").unwrap();
        other(end as usize, "<|im_end|>").unwrap();
        other(end as usize + 1, "<|im_end|>").unwrap_err();
        tokenizer.with_tokens_of(b"{", 1).err().unwrap();
    }
}
