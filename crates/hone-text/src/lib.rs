//! Text to ids and back: tokenizer, chat template, supervised spans.
//!
//! Everything that turns a conversation into token ids goes through [`Renderer`], so what a model is
//! trained on, evaluated on and served with cannot drift apart. The crate reads no files and holds no
//! tensors: bytes and strings come in, ids go out.

mod aside;
mod byte_pairs;
mod conversation;
mod date;
mod gguf;
mod gguf_vocabulary;
mod growth;
mod guard;
mod jinja_source;
mod one_line;
mod python;
mod python_text;
mod render;
mod row_template;
mod sentencepiece;
mod skeleton;
mod stream;
mod template;
mod template_option;
mod template_set;
mod token_files;
mod tokenizer;

pub use conversation::{Conversation, Role, ToolCall, Turn};
pub use date::{Date, NoDate};
pub use gguf::{GgufVocabulary, KNOWN_PRE_TOKENIZERS};
pub use guard::is_guarded;
pub use render::{Encoded, RenderError, Renderer};
pub use row_template::{RowTemplate, RowTemplateError};
pub use stream::StreamDecoder;
pub use template::{ChatTemplate, Limits, TemplateError, TemplateOrigin};
pub use template_option::TemplateOption;
pub use template_set::{TOOL_USE, TemplateSet};
pub use token_files::TokenFiles;
pub use tokenizer::{Tokenizer, TokenizerError};

#[cfg(test)]
mod samples;
