//! The structure of the workspace, as `CONTRIBUTING.md` describes it: which crate and which file
//! may use which other, how long files and functions may be, and what product code must not know.

mod circle;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use regex::Regex;
use serde_json::Value;
use syn::visit::Visit;
use syn::{Block, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};
use tests::tool::{TOOLS, root};

use crate::source::modules::{Crate, Edge, Target, is_below};
use crate::source::{attributes, is_test, parse, product_code, products, read, shown, sources};
use circle::circles;

/// Returns the crates of the workspace with the crates on which they depend.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let said = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
    let names = |list: &Value| list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), names(&one["dependencies"])))
        .collect()
}

#[test]
fn tools_depend_on_shared_and_not_on_each_other() {
    for (package, needs) in dependencies() {
        if package == "tests" {
            continue;
        }
        let others: Vec<_> = needs.iter().filter(|name| TOOLS.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{package} depends on {others:?}");
        if package == "shared" {
            // STS returns the caller's identity, and aws-config needs it anyway
            // (docs/decisions/0002-shared-asks-sts.md).
            let services: Vec<_> = needs.iter().filter(|name| name.starts_with("aws-sdk-") && *name != "aws-sdk-sts").collect();
            assert!(services.is_empty(), "shared depends on {services:?}");
        }
        if needs.iter().any(|name| name == "aws-sdk-ec2") {
            assert!(matches!(package.as_str(), "net-up" | "cluster-up"), "{package} links the huge aws-sdk-ec2");
        }
    }
}

/// Prints each circle with the line of each use.
#[test]
fn files_do_not_use_each_other_in_a_circle() {
    let mut found = Vec::new();
    for name in dependencies().into_keys() {
        let krate = Crate::read(&name);
        let edges = krate.edges();
        found.extend(circles(&krate.graph()).into_iter().map(|circle| format!("{name}:{}", with_lines(&name, &edges, &circle))));
    }
    assert!(found.is_empty(), "{} circles:\n{}", found.len(), found.join("\n"));
}

fn with_lines(name: &str, edges: &BTreeSet<Edge>, circle: &[String]) -> String {
    let next = circle.iter().cycle().skip(1);
    let line = |(from, to): (&String, &String)| {
        let to = Target::Module(to.clone());
        let edge = edges.iter().find(|edge| !edge.test && edge.from == *from && edge.to == to).unwrap();
        format!("\n  {from} uses {} ({name}/src/{}:{})", shown_target(&to), edge.place.0, edge.place.1)
    };
    circle.iter().zip(next).map(line).collect()
}

fn shown_target(target: &Target) -> String {
    match target {
        Target::Module(module) => format!("crate::{module}"),
        Target::Crate(name) => name.clone(),
    }
}

/// `compose` turns the document into the model, and `aws` turns the model into resources. Tests
/// must keep this rule, too.
#[test]
fn compose_and_aws_of_svc_deploy_share_only_the_model() {
    let krate = Crate::read("svc-deploy");
    let nodes = krate.nodes();
    for floor in ["compose", "model", "aws"] {
        assert!(nodes.iter().any(|node| is_in(node, floor)), "svc-deploy has no module {floor}");
    }
    let is_refused = |edge: &Edge| match &edge.to {
        Target::Module(to) if is_in(&edge.from, "compose") => !["compose", "model", "settings"].iter().any(|floor| is_in(to, floor)),
        Target::Module(to) if is_in(&edge.from, "model") => !is_in(to, "model"),
        Target::Module(to) if is_in(&edge.from, "aws") => is_in(to, "compose") || is_in(to, "settings"),
        Target::Crate(to) => to.starts_with("aws_") && (is_in(&edge.from, "compose") || is_in(&edge.from, "model")),
        Target::Module(_) => false,
    };
    let edges = krate.edges();
    let refused = edges.iter().filter(|edge| is_refused(edge));
    let refused: Vec<_> = refused
        .map(|edge| format!("svc-deploy/src/{}:{}: {} uses {}", edge.place.0, edge.place.1, edge.from, shown_target(&edge.to)))
        .collect();
    assert!(refused.is_empty(), "{} uses:\n{}", refused.len(), refused.join("\n"));
}

fn is_in(module: &str, folder: &str) -> bool {
    module == folder || is_below(module, folder)
}

#[test]
fn files_of_svc_deploy_have_at_most_400_lines() {
    let lines = sources("svc-deploy").into_iter().map(|path| (read(&path).lines().count(), shown(&path)));
    let long: Vec<_> = lines.filter(|(lines, _)| *lines > 400).map(|(lines, path)| format!("{path}: {lines} lines")).collect();
    assert!(long.is_empty(), "{} files:\n{}", long.len(), long.join("\n"));
}

/// From the signature to the closing brace.
#[test]
fn functions_have_at_most_60_lines() {
    let mut long = Vec::new();
    for path in products().into_iter().flat_map(product_code) {
        let mut functions = Functions::default();
        functions.visit_file(&parse(&path));
        let found = functions.found.into_iter().filter(|function| function.lines > 60);
        long.extend(found.map(|function| format!("{}:{}: {} has {} lines", shown(&path), function.line, function.name, function.lines)));
    }
    assert!(long.is_empty(), "{} functions:\n{}", long.len(), long.join("\n"));
}

#[test]
fn the_lines_of_a_function_are_from_the_signature_to_the_closing_brace() {
    let text = "
        /// Documentation does not count.
        #[must_use]
        pub fn long(
            argument: u8,
        ) -> u8 {
            argument
        }
        impl A { fn method(&self) { fn inner() {
        } } }
        trait T { fn default() {} fn required(); }
        #[cfg(test)]
        mod tests { fn helper() {} }
        #[tokio::test]
        async fn test() {}";
    let mut functions = Functions::default();
    functions.visit_file(&syn::parse_file(text).unwrap());
    let found: Vec<_> = functions.found.into_iter().map(|function| (function.name, function.line, function.lines)).collect();
    let expected = [("long", 4, 5), ("method", 9, 2), ("inner", 9, 2), ("default", 11, 1)];
    assert_eq!(found, expected.map(|(name, line, lines)| (name.to_owned(), line, lines)));
}

/// The functions of a file, without test code.
#[derive(Default)]
struct Functions {
    found: Vec<Function>,
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

impl Functions {
    fn add(&mut self, signature: &Signature, block: &Block) {
        let line = signature.fn_token.span.start().line;
        let lines = block.brace_token.span.close().end().line - line + 1;
        self.found.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl<'a> Visit<'a> for Functions {
    fn visit_item(&mut self, item: &'a Item) {
        if !is_test(attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'a ItemFn) {
        self.add(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'a ImplItemFn) {
        if !is_test(&item.attrs) {
            self.add(&item.sig, &item.block);
            syn::visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'a TraitItemFn) {
        if let Some(block) = &item.default {
            self.add(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

/// What works only with an emulator is not for users.
#[test]
fn product_code_does_not_know_emulators() {
    let names = Regex::new("(?i)ministack|emulator|(^|[^a-z])moto([^a-z]|$)").unwrap();
    let mut found = Vec::new();
    for path in products().into_iter().flat_map(sources) {
        let text = read(&path);
        let lines = text.lines().enumerate().filter(|(_, line)| names.is_match(line));
        found.extend(lines.map(|(index, line)| format!("{}:{}: {}", shown(&path), index + 1, line.trim())));
    }
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}
