//! What outside programs can call of the library, as a list that is checked in, so that no change to it goes unseen.
//!
//! The list is made from the source: every `pub` item of `hone-finetune` with its signature, its public fields and its
//! variants, by file. A line that goes or changes breaks programs; one that comes does not.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const CRATE: &str = "crates/hone-finetune";
const LIST: &str = "crates/hone-finetune/api.txt";

/// Compares the source with the list, or writes the list where `UPDATE_API` is set.
pub fn check(root: &Path) -> Result<()> {
    let found = list(&root.join(CRATE).join("src"))?;
    let path = root.join(LIST);
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&path, &found)?;
    }
    let known = fs::read_to_string(&path).with_context(|| format!("cannot read {LIST}"))?;
    let (gone, new) = (missing(&known, &found), missing(&found, &known));
    ensure!(
        gone.is_empty() && new.is_empty(),
        "the library's public items are other ones than {LIST} says (UPDATE_API=1 cargo xtask api writes it):\n{}{}",
        marked('-', &gone),
        marked('+', &new)
    );
    println!("api: {} public items, as listed", found.lines().count());
    Ok(())
}

/// Lines of the one that the other does not have.
fn missing<'a>(one: &'a str, other: &str) -> Vec<&'a str> {
    one.lines()
        .filter(|line| !other.lines().any(|known| known == *line))
        .collect()
}

fn marked(sign: char, lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| format!("  {sign} {line}\n"))
        .collect()
}

fn list(src: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(src, &mut files)?;
    files.sort();
    let mut all = String::new();
    for file in files {
        let name = file.strip_prefix(src)?.display().to_string();
        // Of the hub's client only its errors and ids go out.
        if name.starts_with("base/hub/") && name != "base/hub/mod.rs" {
            continue;
        }
        for item in items(&fs::read_to_string(&file)?) {
            all += &format!("{name}: {item}\n");
        }
    }
    Ok(all)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => collect(&path, files)?,
            false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
            false => {}
        }
    }
    Ok(())
}

/// The public items of a file: one line each, `impl` and `enum` blocks named before what is in them.
fn items(source: &str) -> Vec<String> {
    let source = source
        .split("#[cfg(test)]\nmod ")
        .next()
        .unwrap_or_default();
    let mut items = Vec::new();
    let (mut of_impl, mut of_enum) = (String::new(), String::new());
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let text = line.trim();
        let depth = line.len() - line.trim_start().len();
        if line == "}" {
            of_impl.clear();
            of_enum.clear();
        } else if depth == 0 && text.starts_with("impl") {
            of_impl = text.trim_end_matches(" {").to_owned() + ": ";
        }
        let is_item = text.starts_with("pub ");
        let is_variant =
            !of_enum.is_empty() && depth == 4 && text.starts_with(|c: char| c.is_ascii_uppercase());
        if !is_item && !is_variant {
            continue;
        }
        let mut whole = text.to_owned();
        let ends = |whole: &str| {
            let closed = |open, close| whole.matches(open).count() == whole.matches(close).count();
            whole.ends_with(['{', ';']) || whole.ends_with(',') && closed('(', ')')
        };
        while !ends(&whole) {
            let Some(more) = lines.next() else { break };
            whole += &format!(" {}", more.trim());
        }
        // What a list has in braces is part of it; a body is not.
        while whole.starts_with("pub use") && !whole.ends_with(';') {
            let Some(more) = lines.next() else { break };
            whole += &format!(" {}", more.trim());
        }
        let shown = whole.trim_end_matches([' ', '{', ',', ';']);
        if text.starts_with("pub enum") {
            of_enum = format!("{shown}: ");
        }
        let owner = if is_variant { &of_enum } else { &of_impl };
        items.push(format!("{owner}{shown}"));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_fields_and_variants_are_listed_with_their_signatures() {
        let source = "use a::b;\npub use c::{\n    D, E,\n};\npub struct F {\n    pub g: usize,\n    h: u8,\n}\n\
                      pub enum I {\n    /// Words.\n    J,\n    K {\n        /// Words.\n        l: u8,\n    },\n}\n\
                      impl F {\n    pub fn m(\n        &self,\n        n: u8,\n    ) -> u8 {\n        0\n    }\n    fn o() {}\n    pub(crate) fn p() {}\n}\n\
                      #[cfg(test)]\nmod tests {\n    pub fn q() {}\n}\n";
        assert_eq!(
            items(source),
            [
                "pub use c::{ D, E, }",
                "pub struct F",
                "pub g: usize",
                "pub enum I",
                "pub enum I: J",
                "pub enum I: K",
                "impl F: pub fn m( &self, n: u8, ) -> u8",
            ]
        );
    }

    #[test]
    fn the_librarys_list_is_up_to_date() {
        check(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
    }
}
