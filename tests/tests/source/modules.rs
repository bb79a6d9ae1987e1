//! Reads which files of a crate use which others: a node is a file, named after its module.
//!
//! The root of the crate is no node. A use of a name that another module re-exports is a use of the
//! module that defines the name.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, ImplItemFn, Item, ItemMod, ItemUse, Macro, Meta, Path, UseTree, Visibility};

use super::{attributes, is_test, read, sources};

/// Which module uses which other.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: String,
    /// A module of the same crate, or a crate.
    pub to: Target,
    /// The file below `src/` and the line.
    pub place: (String, usize),
    /// Test code may use what it needs.
    pub test: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Module(String),
    Crate(String),
}

/// The modules of a crate with their uses.
#[derive(Debug, Default)]
pub struct Crate {
    modules: BTreeMap<String, Module>,
}

#[derive(Debug, Default)]
struct Module {
    /// The module whose file this is in, and that file.
    file: (String, String),
    children: BTreeSet<String>,
    /// Names that the module defines.
    items: BTreeSet<String>,
    /// Names that the module imports, with their paths.
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    uses: Vec<Use>,
    test: bool,
}

/// A path in the code of a module.
#[derive(Debug)]
struct Use {
    path: Vec<String>,
    line: usize,
    reexport: bool,
    test: bool,
}

impl Crate {
    /// Reads the crate of this name.
    pub fn read(name: &str) -> Self {
        let src = tests::tool::root().join(name).join("src");
        let key = |path: &std::path::Path| path.strip_prefix(&src).unwrap().display().to_string();
        Self::of(name, &sources(name).iter().map(|path| (key(path), read(path))).collect())
    }

    /// Reads a crate from its files below `src/`.
    fn of(name: &str, files: &BTreeMap<String, String>) -> Self {
        let mut reader = Reader { name, files, krate: Self::default(), read: BTreeSet::new() };
        for root in ["main.rs", "lib.rs"] {
            if files.contains_key(root) {
                reader.file("", root, "", false);
            }
        }
        let missed: Vec<_> = files.keys().filter(|file| !file.starts_with("bin/") && !reader.read.contains(*file)).collect();
        assert!(missed.is_empty(), "{name}/src: no module declares these files: {missed:?}");
        reader.krate
    }

    /// Returns the names of the files' modules.
    pub fn nodes(&self) -> BTreeSet<&str> {
        self.modules.values().map(|module| module.file.0.as_str()).filter(|node| !node.is_empty()).collect()
    }

    /// Returns the files below `src/` that are compiled only for tests.
    pub fn test_files(&self) -> BTreeSet<&str> {
        let all = self.modules.iter().filter(|(name, module)| module.test && **name == module.file.0);
        all.map(|(_, module)| module.file.1.as_str()).collect()
    }

    /// Returns which file uses which other file or crate. The `pub use` of a folder's own modules
    /// is no use.
    pub fn edges(&self) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (name, module) in &self.modules {
            for one in &module.uses {
                let to = match self.resolve(name, &one.path, 0) {
                    Some(Target::Module(to)) => Target::Module(self.modules[&to].file.0.clone()),
                    Some(other) => other,
                    None => continue,
                };
                let from = &module.file.0;
                let own = matches!(&to, Target::Module(to) if to == from || to.is_empty() || one.reexport && is_below(to, from));
                if !from.is_empty() && !own {
                    edges.insert(Edge { from: from.clone(), to, place: (module.file.1.clone(), one.line), test: one.test });
                }
            }
        }
        edges
    }

    /// Returns the graph of the files, without test code.
    pub fn graph(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut graph: BTreeMap<_, BTreeSet<_>> = self.nodes().into_iter().map(|node| (node.to_owned(), BTreeSet::new())).collect();
        for edge in self.edges().into_iter().filter(|edge| !edge.test) {
            if let Target::Module(to) = edge.to {
                graph.entry(edge.from).or_default().insert(to);
            }
        }
        graph
    }

    /// Returns what a path in a module means. A path into nothing known, as a local name, is
    /// nothing.
    fn resolve(&self, scope: &str, path: &[String], depth: usize) -> Option<Target> {
        let (head, rest) = path.split_first()?;
        // Imports may name each other in a circle.
        if depth > 20 {
            return None;
        }
        match head.as_str() {
            "crate" => self.walk("", rest, depth),
            "self" => self.walk(scope, rest, depth),
            "super" => self.walk(parent(scope), rest, depth),
            name if self.has(scope, name, depth) => self.walk(scope, path, depth),
            name if path.len() > 1 && name.starts_with(|c: char| c.is_ascii_lowercase()) => Some(Target::Crate(name.to_owned())),
            _ => None,
        }
    }

    /// Follows a path from a module on.
    fn walk(&self, from: &str, path: &[String], depth: usize) -> Option<Target> {
        let here = Some(Target::Module(from.to_owned()));
        let Some((name, rest)) = path.split_first() else { return here };
        let module = self.modules.get(from)?;
        match name.as_str() {
            "super" => return self.walk(parent(from), rest, depth),
            "self" => return self.walk(from, rest, depth),
            _ => {}
        }
        if module.children.contains(name) {
            return self.walk(&join(from, name), rest, depth);
        }
        if module.items.contains(name) {
            return here;
        }
        if let Some(import) = module.imports.get(name) {
            let path: Vec<String> = import.iter().chain(rest).cloned().collect();
            return self.resolve_import(from, name, &path, depth);
        }
        for glob in &module.globs {
            if let Some(Target::Module(other)) = self.resolve(from, glob, depth + 1)
                && other != from
                && self.has(&other, name, depth + 1)
            {
                return self.walk(&other, path, depth + 1);
            }
        }
        here
    }

    /// `use regex;` and `use regex::Regex as regex;` import a name that is also that of a crate.
    fn resolve_import(&self, from: &str, name: &str, path: &[String], depth: usize) -> Option<Target> {
        if path[0] == name { Some(Target::Crate(name.to_owned())) } else { self.resolve(from, path, depth + 1) }
    }

    fn has(&self, module: &str, name: &str, depth: usize) -> bool {
        let Some(found) = self.modules.get(module).filter(|_| depth <= 20) else { return false };
        let through = |glob: &Vec<String>| match self.resolve(module, glob, depth + 1) {
            Some(Target::Module(other)) => other != module && self.has(&other, name, depth + 1),
            _ => false,
        };
        found.children.contains(name) || found.items.contains(name) || found.imports.contains_key(name) || found.globs.iter().any(through)
    }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// Returns whether a module is another module's own.
pub fn is_below(module: &str, above: &str) -> bool {
    module.strip_prefix(above).is_some_and(|rest| rest.starts_with("::"))
}

/// Reads the files of a crate, from its root on.
struct Reader<'a> {
    name: &'a str,
    files: &'a BTreeMap<String, String>,
    krate: Crate,
    read: BTreeSet<String>,
}

impl Reader<'_> {
    /// Reads a module from its own file. `folder` has the files of its children, and ends with `/`.
    fn file(&mut self, module: &str, file: &str, folder: &str, test: bool) {
        let syntax =
            syn::parse_file(&self.files[file]).unwrap_or_else(|error| unreachable!("could not parse {}/src/{file}: {error}", self.name));
        self.read.insert(file.to_owned());
        self.module(module, &(module.to_owned(), file.to_owned()), &syntax.items, folder, test);
    }

    fn module(&mut self, name: &str, file: &(String, String), items: &[Item], folder: &str, test: bool) {
        let mut module = Module { file: file.clone(), test, ..Module::default() };
        let mut uses = Uses { test, ..Uses::default() };
        for item in items {
            if let Item::Use(item) = item {
                module.import(item);
            }
            if let Item::Mod(item) = item {
                module.children.insert(item.ident.to_string());
                self.child(&join(name, &item.ident.to_string()), file, item, folder, test || is_test(&item.attrs));
            } else {
                module.items.extend(defined(item));
                uses.visit_item(item);
            }
        }
        module.uses.extend(uses.found);
        self.krate.modules.insert(name.to_owned(), module);
    }

    fn child(&mut self, name: &str, file: &(String, String), item: &ItemMod, folder: &str, test: bool) {
        let below = format!("{folder}{}/", item.ident);
        if let Some((_, items)) = &item.content {
            return self.module(name, file, items, &below, test);
        }
        let places = [format!("{folder}{}.rs", item.ident), format!("{below}mod.rs")];
        let found = places.iter().find(|place| self.files.contains_key(*place));
        let found = found.unwrap_or_else(|| unreachable!("{}/src/{} declares {name}, but none of {places:?} exists", self.name, file.1));
        self.file(name, &found.clone(), &below, test);
    }
}

impl Module {
    fn import(&mut self, item: &ItemUse) {
        for (path, name) in imports(item) {
            match name {
                Some(name) => drop(self.imports.insert(name, path)),
                None => self.globs.push(path),
            }
        }
    }
}

/// Returns the paths of a `use`, each with the name that it imports. A `*` has none.
fn imports(item: &ItemUse) -> Vec<(Vec<String>, Option<String>)> {
    let mut all = Vec::new();
    // A leading `::` means a crate.
    if item.leading_colon.is_none() {
        flatten(&item.tree, &[], &mut all);
    }
    all
}

fn flatten(tree: &UseTree, before: &[String], all: &mut Vec<(Vec<String>, Option<String>)>) {
    let with = |name: &str| before.iter().cloned().chain([name.to_owned()]).collect::<Vec<_>>();
    match tree {
        UseTree::Path(path) => flatten(&path.tree, &with(&path.ident.to_string()), all),
        UseTree::Name(name) if name.ident == "self" => all.push((before.to_vec(), before.last().cloned())),
        UseTree::Name(name) => all.push((with(&name.ident.to_string()), Some(name.ident.to_string()))),
        UseTree::Rename(name) if name.ident == "self" => all.push((before.to_vec(), Some(name.rename.to_string()))),
        UseTree::Rename(name) => all.push((with(&name.ident.to_string()), Some(name.rename.to_string()))),
        UseTree::Glob(_) => all.push((before.to_vec(), None)),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, all)),
    }
}

/// Returns the name that an item defines.
fn defined(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Collects the paths in the code of a module.
#[derive(Default)]
struct Uses {
    found: Vec<Use>,
    test: bool,
}

impl Uses {
    fn add(&mut self, path: Vec<String>, line: usize, reexport: bool) {
        let test = self.test;
        self.found.push(Use { path, line, reexport, test });
    }

    /// Collects the paths in tokens that syn does not parse, as in `format!`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons) = (0, 0);
        for tree in tokens {
            match tree {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.path(&mut path, line);
                    }
                    if path.is_empty() {
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.path(&mut path, line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path(&mut path, line);
    }

    fn path(&mut self, path: &mut Vec<String>, line: usize) {
        let path = std::mem::take(path);
        if path.len() > 1 {
            self.add(path, line, false);
        }
    }

    fn within(&mut self, attributes: &[Attribute], visit: impl FnOnce(&mut Self)) {
        let before = self.test;
        self.test |= is_test(attributes);
        visit(self);
        self.test = before;
    }
}

impl<'a> Visit<'a> for Uses {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let line = item.use_token.span.start().line;
        let reexport = !matches!(item.vis, Visibility::Inherited);
        for (path, _) in imports(item) {
            self.add(path, line, reexport);
        }
    }

    fn visit_path(&mut self, path: &'a Path) {
        if path.leading_colon.is_none() && path.segments.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect(), line, false);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        match &attribute.meta {
            Meta::List(list) => self.tokens(list.tokens.clone()),
            Meta::NameValue(pair) => self.visit_expr(&pair.value),
            Meta::Path(_) => {}
        }
    }

    /// `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_item(&mut self, item: &'a Item) {
        self.within(attributes(item), |uses| syn::visit::visit_item(uses, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        self.within(&item.attrs, |uses| syn::visit::visit_impl_item_fn(uses, item));
    }
}

/// Returns the edges of a crate as `from -> to`, without those to other crates.
#[cfg(test)]
fn edges(files: &[(&str, &str)]) -> Vec<String> {
    let edges = of_files(files).graph().into_iter();
    edges.flat_map(|(from, to)| to.into_iter().map(move |to| format!("{from} -> {to}"))).collect()
}

#[cfg(test)]
fn of_files(files: &[(&str, &str)]) -> Crate {
    Crate::of("test", &files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn a_use_is_an_edge() {
    let main = ("main.rs", "mod a; mod b; mod c;");
    let of = |text| edges(&[main, ("a.rs", text), ("b.rs", "pub mod inner { pub struct B; } pub struct B;"), ("c.rs", "pub struct C;")]);
    assert_eq!(of("use crate::b::B;"), ["a -> b"]);
    assert_eq!(of("use crate::{b::{self, B}, c};"), ["a -> b", "a -> c"]);
    assert_eq!(of("use super::b::*;"), ["a -> b"]);
    assert_eq!(of("use crate::b::inner::B as Other;"), ["a -> b"], "a module in a file belongs to the file");
    assert_eq!(of("fn f() { use crate::c::C; }"), ["a -> c"], "also in a function");
    assert_eq!(of("use b::B; use std::fmt; use ::c::C;"), [""; 0], "other crates");
    assert_eq!(of("mod inner { use super::super::c::C; use super::A; } struct A;"), ["a -> c"]);
}

#[test]
fn a_path_in_code_is_an_edge() {
    let main = ("main.rs", "mod a; mod b; struct Root;");
    let of = |text| edges(&[main, ("a.rs", text), ("b.rs", "pub fn f() {} pub struct B;")]);
    assert_eq!(of("fn g() { crate::b::f(); }"), ["a -> b"]);
    assert_eq!(of("struct A(Vec<crate::b::B>);"), ["a -> b"]);
    assert_eq!(of("fn g() { println!(\"{}\", [crate::b::f()]); }"), ["a -> b"], "in a macro");
    assert_eq!(of("macro_rules! m { () => { $crate::b::f() }; }"), ["a -> b"]);
    assert_eq!(of("#[arg(value_parser = crate::b::f)] struct A;"), ["a -> b"], "in an attribute");
    assert_eq!(of("pub(super) fn g(root: &crate::Root) { self::h(); }"), [""; 0], "the root is no node");
    assert_eq!(of("fn g() { b::f(); }"), [""; 0], "another crate");
}

#[test]
fn test_code_has_no_edges() {
    let main = ("main.rs", "mod a; mod b; #[cfg(test)] mod t;");
    let of = |text| edges(&[main, ("a.rs", text), ("b.rs", "pub fn f() {}"), ("t.rs", "use crate::b::f;")]);
    assert_eq!(of("#[cfg(test)] mod tests { use crate::b::f; #[test] fn g() { crate::b::f(); } }"), [""; 0]);
    assert_eq!(of("#[cfg(test)] use crate::b::f; #[test] fn g() { crate::b::f(); }"), [""; 0]);
    assert_eq!(of("#[cfg(not(test))] use crate::b::f;"), ["a -> b"]);
    let files = [main, ("a.rs", "#[cfg(test)] mod tests {}"), ("b.rs", ""), ("t.rs", "mod below;"), ("t/below.rs", "")];
    assert_eq!(of_files(&files).test_files(), BTreeSet::from(["t.rs", "t/below.rs"]));
}

#[test]
fn a_folder_is_a_node_without_edges_to_what_it_reexports() {
    let main = ("main.rs", "mod a; mod folder;");
    let of = |folder, inner| {
        edges(&[main, ("a.rs", ""), ("folder/mod.rs", folder), ("folder/inner.rs", inner), ("folder/other.rs", "pub struct O;")])
    };
    assert_eq!(of("mod inner; mod other; pub use inner::I; pub(crate) use self::other::O;", "pub struct I;"), [""; 0]);
    assert_eq!(of("mod inner; mod other; use inner::I;", "pub struct I;"), ["folder -> folder::inner"], "a private use is an edge");
    assert_eq!(of("mod inner; mod other; fn f() { inner::f(); }", "pub fn f() {}"), ["folder -> folder::inner"]);
    assert_eq!(of("mod inner; mod other; pub struct F;", "use super::F;"), ["folder::inner -> folder"]);
    assert_eq!(of("mod inner; mod other; pub use crate::a::A;", ""), ["folder -> a"], "not one of its own");
}

/// So a circle is found even if each file imports from the root only, and a `pub use` gives no
/// circle.
#[test]
fn a_reexported_name_is_of_the_module_that_defines_it() {
    let root = ("lib.rs", "pub mod a; pub mod b; pub mod folder; pub use b::B; use a::{A as Renamed}; pub use folder::*;");
    let of = |a, b| {
        let folder = ("folder/mod.rs", "mod inner; mod other; pub use inner::Inner; pub use other::*;");
        edges(&[root, ("a.rs", a), ("b.rs", b), folder, ("folder/inner.rs", "use super::Other;"), ("folder/other.rs", "pub struct Other;")])
    };
    assert_eq!(of("use crate::B;", "use crate::Renamed;")[..2], ["a -> b", "b -> a"]);
    assert_eq!(
        of("use crate::folder::Inner;", "use crate::Other;"),
        ["a -> folder::inner", "b -> folder::other", "folder::inner -> folder::other"]
    );
    assert_eq!(of("use crate::B as Mine; fn f() { Mine::new(); }", "")[..1], ["a -> b"]);
}
