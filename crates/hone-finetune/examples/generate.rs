//! Says a reply as it comes, sampled, and stops it after a sentence.
//!
//! `cargo run --example generate -- MODEL_DIR "Which way is north?"`

use std::error::Error;
use std::io::Write;
use std::path::Path;

use hone_finetune::{
    Control, Conversation, GenerateOptions, LoadOptions, Reply, Role, Turn, load_base,
};

/// The reply, which `out` hears as it comes.
pub fn run(
    base: &Path,
    question: &str,
    out: &mut (dyn Write + Send),
) -> Result<Reply, Box<dyn Error>> {
    let base = load_base(base, LoadOptions::default())?;
    let conversation = Conversation::new([
        Turn::new(Role::System, "Answer in one sentence."),
        Turn::new(Role::User, question),
    ]);
    let options = GenerateOptions {
        max_new_tokens: 64,
        temperature: 0.7,
        top_p: 0.9,
        seed: 1,
        stop: vec!["\n\n".into()],
        ..GenerateOptions::default()
    };
    let reply = base.generate(&conversation, &options, |piece| {
        let told = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
        // Whoever listened may be gone.
        match piece.ends_with('.') || told.is_err() {
            true => Control::Stop,
            false => Control::Continue,
        }
    })?;
    Ok(reply)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, question] = &arguments[..] else {
        return Err("usage: generate MODEL_DIR QUESTION".into());
    };
    let reply = run(base.as_ref(), question, &mut std::io::stdout())?;
    println!("\n({} tokens, {:?})", reply.tokens, reply.end);
    Ok(())
}
