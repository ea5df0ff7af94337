//! Circles between the files of a crate: two modules that need each other can only be read, moved and tested together.
//!
//! The compiler accepts them inside a crate, so this looks. An edge is a path that begins with `crate`, `super` or
//! `self`, in a `use` or anywhere else in the code that ships; what stands in a macro's arguments is not seen, and that
//! a module names its own children is no edge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use syn::visit::{self, Visit};

/// Names from the crate's root: `["weights", "gguf"]`, empty for `lib.rs`.
type Module = Vec<String>;
type Edges = BTreeMap<Module, BTreeSet<Module>>;

/// Looks at every crate of the workspace. What still goes in circles is listed in ARCHITECTURE.md, in a fenced block
/// `circles`; a circle that is not there is refused, and so is a line of a circle that is gone.
pub fn check(root: &Path) -> Result<()> {
    let page = fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let known = listed(&page);
    let mut crates: Vec<_> = fs::read_dir(root.join("crates"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    crates.push(root.join("xtask"));
    crates.sort();
    let (mut found, mut modules, mut told) = (BTreeSet::new(), 0, Vec::new());
    for dir in crates.iter().filter(|dir| dir.join("src").is_dir()) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let edges = edges(&sources(&dir.join("src"))?)?;
        modules += edges.len();
        for circle in circles_in(&edges) {
            let line = format!("{name}: {}", circle.names());
            if !known.contains(&line) {
                told.push(format!("{line}\n    as in {}", circle.way()));
            }
            found.insert(line);
        }
    }
    let gone = known.difference(&found);
    told.extend(gone.map(|line| format!("{line}\n    is listed and is no circle any more")));
    ensure!(
        told.is_empty(),
        "modules that need each other, and what ARCHITECTURE.md lists of them, differ (move what both need below them):\n  {}",
        told.join("\n  ")
    );
    println!(
        "layers: {modules} modules, {} circles, as listed",
        found.len()
    );
    Ok(())
}

/// The lines of the fenced block `circles`.
fn listed(page: &str) -> BTreeSet<String> {
    let lines = page.lines().skip_while(|line| line.trim() != "```circles");
    let lines = lines.skip(1).take_while(|line| line.trim() != "```");
    lines
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

/// The modules below a crate's `src`, with their text.
fn sources(src: &Path) -> Result<BTreeMap<Module, String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![src.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let inside = path.strip_prefix(src)?.with_extension("");
                let mut module: Module = inside
                    .iter()
                    .map(|part| part.to_string_lossy().into_owned())
                    .collect();
                module.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                found.insert(module, text);
            }
        }
    }
    Ok(found)
}

/// For each module, the others that its code names.
fn edges(sources: &BTreeMap<Module, String>) -> Result<Edges> {
    let known: BTreeSet<&Module> = sources.keys().collect();
    sources
        .iter()
        .map(|(module, text)| {
            let file = syn::parse_file(text).with_context(|| format!("`{}`", module.join("::")))?;
            let mut named = Named {
                at: module.clone(),
                known: &known,
                modules: BTreeSet::new(),
            };
            named.visit_file(&file);
            named.modules.remove(module);
            Ok((module.clone(), named.modules))
        })
        .collect()
}

/// Collects the modules that a file's paths lead to.
struct Named<'a> {
    /// Where paths are read from: a file, or a module written inside one.
    at: Module,
    known: &'a BTreeSet<&'a Module>,
    modules: BTreeSet<Module>,
}

impl Named<'_> {
    fn path(&mut self, names: &[String]) {
        let mut module = match names.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("super" | "self") => self.at.clone(),
            _ => return,
        };
        for name in names {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => {
                    module.pop();
                }
                name => {
                    module.push(name.to_owned());
                    if !self.known.contains(&module) {
                        module.pop();
                        break;
                    }
                }
            }
        }
        // A module written inside a file belongs to the file.
        while !self.known.contains(&module) && module.pop().is_some() {}
        self.modules.insert(module);
    }

    fn tree(&mut self, before: &mut Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree);
                before.pop();
            }
            syn::UseTree::Group(group) => {
                for item in &group.items {
                    self.tree(before, item);
                }
            }
            syn::UseTree::Name(syn::UseName { ident })
            | syn::UseTree::Rename(syn::UseRename { ident, .. }) => {
                before.push(ident.to_string());
                self.path(before);
                before.pop();
            }
            syn::UseTree::Glob(_) => self.path(before),
        }
    }
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).iter().any(is_test_only) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.at.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.at.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        // `Self::…` and a lone name lead nowhere else.
        if names.len() > 1 {
            self.path(&names);
        }
        visit::visit_path(self, path);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test_only(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|condition| condition.is_ident("test"))
}

/// Modules of which each needs all others, and a shortest way round.
struct Circle {
    modules: BTreeSet<Module>,
    way: Vec<Module>,
}

impl Circle {
    fn names(&self) -> String {
        let names: Vec<String> = self.modules.iter().map(shown).collect();
        names.join(" ")
    }

    fn way(&self) -> String {
        let names = self.way.iter().chain(self.way.first()).map(shown);
        names.collect::<Vec<_>>().join(" → ")
    }
}

fn circles_in(edges: &Edges) -> Vec<Circle> {
    let reach: BTreeMap<&Module, BTreeSet<Module>> = edges
        .keys()
        .map(|module| (module, reached(edges, module)))
        .collect();
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for (module, there) in &reach {
        if told.contains(*module) {
            continue;
        }
        let Some(way) = way_back(edges, module) else {
            continue;
        };
        let is_back =
            |other: &&Module| reach.get(*other).is_some_and(|back| back.contains(*module));
        let modules: BTreeSet<Module> = there.iter().filter(is_back).cloned().collect();
        told.extend(modules.iter().cloned());
        circles.push(Circle { modules, way });
    }
    circles
}

/// Every module that one leads to.
fn reached(edges: &Edges, from: &Module) -> BTreeSet<Module> {
    let (mut there, mut left) = (BTreeSet::new(), vec![from]);
    while let Some(module) = left.pop() {
        for next in edges.get(module).into_iter().flatten() {
            if there.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    there
}

fn way_back(edges: &Edges, from: &Module) -> Option<Vec<Module>> {
    let mut ways = VecDeque::from([vec![from.clone()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in edges.get(way.last()?).into_iter().flatten() {
            if next == from {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push_back([&way[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

fn shown(module: &Module) -> String {
    if module.is_empty() {
        "the crate's root".into()
    } else {
        module.join("::")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_goes_in_no_circle_that_is_not_listed() {
        check(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
    }

    fn circles(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let sources = files
            .iter()
            .map(|(path, text)| {
                let names = path.split("::").filter(|name| !name.is_empty());
                (names.map(str::to_owned).collect(), (*text).to_owned())
            })
            .collect();
        let circles = circles_in(&edges(&sources).unwrap());
        circles
            .iter()
            .map(|circle| (circle.names(), circle.way()))
            .collect()
    }

    #[test]
    fn a_circle_is_told_once_with_its_way() {
        let files = [
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::B;"),
            ("b", "fn f() { crate::c::g(); }"),
            ("c", "use super::{a::A, b}; "),
        ];
        let [(names, way)] = &circles(&files)[..] else {
            panic!("one circle");
        };
        assert_eq!((names.as_str(), way.as_str()), ("a b c", "a → b → c → a"));
    }

    #[test]
    fn a_tree_has_none_whatever_tests_and_children_name() {
        let files = [
            ("", "pub mod a; pub use a::A;"),
            ("a", "use crate::b::B; mod child; pub use child::C;"),
            ("a::child", "use crate::b::B;"),
            (
                "b",
                "pub struct B; #[cfg(test)] mod tests { use crate::a::A; use super::*; }",
            ),
        ];
        assert!(circles(&files).is_empty());
    }

    #[test]
    fn a_path_in_a_module_written_inside_a_file_is_the_files() {
        let files = [
            ("", ""),
            ("a", "mod inner { use super::super::b::B; }"),
            ("b", "type A = crate::a::A;"),
        ];
        assert_eq!(circles(&files)[0].1, "a → b → a");
    }
}
