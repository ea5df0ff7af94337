//! Any bytes as `tokenizer.json`, or as a SentencePiece model where they are no JSON; whatever opens spells a text, and reads its own spelling.

#![no_main]

use hone_fuzz::{assert_one_line, let_guarded_panics_pass};
use hone_text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let_guarded_panics_pass();
    let is_json = input.trim_ascii_start().starts_with(b"{");
    let tokenizer = match is_json {
        true => Tokenizer::from_json(input),
        false => Tokenizer::from_sentence_piece(input, None),
    };
    let tokenizer = match tokenizer {
        Ok(tokenizer) => tokenizer,
        Err(error) => return assert_one_line(&error.to_string()),
    };
    let text = "It's 2 + 2 = 4, über <|im_end|>\n\n x";
    for encoded in [tokenizer.encode(text), tokenizer.encode_plain(text)] {
        match encoded {
            Err(error) => assert_one_line(&error.to_string()),
            Ok(ids) => {
                if let Err(error) = tokenizer.decode(&ids, true) {
                    assert_one_line(&error.to_string());
                }
            }
        }
    }
});
