//! The files of the workspace, and what is test code in them.

pub mod modules;

use std::path::{Path, PathBuf};

use proc_macro2::{LineColumn, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::{Attribute, ImplItemFn, Item, Meta};
use tests::tool::{TOOLS, root};

use modules::Crate;

/// Returns the crates that are part of the product: the tools, and what they share.
pub fn products() -> Vec<&'static str> {
    TOOLS.into_iter().chain(["shared", "shared/iam-role", "shared/scaling-activity"]).collect()
}

/// Returns the files below a folder of the workspace in a fixed order. Build output and hidden
/// files are left out. A folder that does not exist has no files.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    collect(&root().join(folder), &mut all);
    all.sort();
    all
}

fn collect(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() { collect(&path, all) } else { all.push(path) }
    }
}

/// Returns the source files of a crate, without its tests and examples.
pub fn sources(name: &str) -> Vec<PathBuf> {
    files(&format!("{name}/src")).into_iter().filter(|path| has_extension(path, "rs")).collect()
}

/// Returns the source files of a crate that are not only for tests.
pub fn product_code(name: &str) -> Vec<PathBuf> {
    let (krate, src) = (Crate::read(name), root().join(name).join("src"));
    let tests: Vec<PathBuf> = krate.test_files().into_iter().map(|file| src.join(file)).collect();
    sources(name).into_iter().filter(|path| !tests.contains(path)).collect()
}

pub fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

pub fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| unreachable!("could not read {}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn parse(path: &Path) -> syn::File {
    syn::parse_file(&read(path)).unwrap_or_else(|error| unreachable!("could not parse {}: {error}", path.display()))
}

/// Returns a path as one reads it from the root of the workspace.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// Returns whether an item is compiled only for tests, or is a test.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let words = words(list.tokens.clone());
            words.iter().any(|word| word == "test") && !words.iter().any(|word| word == "not")
        }
        meta => meta.path().segments.last().is_some_and(|last| last.ident == "test"),
    })
}

/// Returns the attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn words(tokens: TokenStream) -> Vec<String> {
    let one = |tree| match tree {
        TokenTree::Ident(ident) => vec![ident.to_string()],
        TokenTree::Group(group) => words(group.stream()),
        _ => Vec::new(),
    };
    tokens.into_iter().flat_map(one).collect()
}

/// Returns the places of test code in a file, each from its start to its end.
pub fn test_code(file: &syn::File) -> Vec<(LineColumn, LineColumn)> {
    let mut found = TestCode::default();
    found.visit_file(file);
    found.places
}

#[derive(Default)]
struct TestCode {
    places: Vec<(LineColumn, LineColumn)>,
}

impl TestCode {
    /// Records test code. Returns whether the item is something else, whose parts may be test code.
    fn is_other(&mut self, attributes: &[Attribute], item: &impl Spanned) -> bool {
        let test = is_test(attributes);
        if test {
            self.places.push((item.span().start(), item.span().end()));
        }
        !test
    }
}

impl<'a> Visit<'a> for TestCode {
    fn visit_item(&mut self, item: &'a Item) {
        if self.is_other(attributes(item), item) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        if self.is_other(&item.attrs, item) {
            syn::visit::visit_impl_item_fn(self, item);
        }
    }
}
