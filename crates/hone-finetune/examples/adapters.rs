//! Several adapters on one base: switched, weighted, and off; the base is loaded once.
//!
//! `cargo run --example adapters -- MODEL_DIR FIRST_ADAPTER SECOND_ADAPTER`

use std::error::Error;
use std::path::Path;

use hone_finetune::{Conversation, GenerateOptions, LoadOptions, Role, Turn, load_base};

/// Returns the replies of the first, the second, both, and none.
pub fn run(base: &Path, first: &Path, second: &Path) -> Result<[String; 4], Box<dyn Error>> {
    let mut model = load_base(base, LoadOptions::default())?.load_adapter(first)?;
    model.add_adapter("second", second)?;

    let question = Conversation::new([Turn::new(Role::User, "Which way is north?")]);
    let options = GenerateOptions {
        max_new_tokens: 24,
        ..GenerateOptions::default()
    };
    let choices: [&[(&str, f32)]; 4] = [
        &[("default", 1.0)],
        &[("second", 1.0)],
        &[("default", 0.5), ("second", 0.5)],
        &[],
    ];
    let mut replies = [const { String::new() }; 4];
    for (active, reply) in choices.iter().zip(&mut replies) {
        model.set_adapters(active)?;
        *reply = model.generate(&question, &options, |_| {})?.text;
        println!("{active:?}: {reply}");
    }
    Ok(replies)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, first, second] = &arguments[..] else {
        return Err("usage: adapters MODEL_DIR FIRST_ADAPTER SECOND_ADAPTER".into());
    };
    run(base.as_ref(), first.as_ref(), second.as_ref()).map(|_| ())
}
