//! Asking a language model for its judgement, over HTTP, with what it said kept.

mod endpoint;
mod transcript;

pub use endpoint::{Endpoint, EndpointError};
pub use transcript::{Judge, JudgeError};
