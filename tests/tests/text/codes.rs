//! The short names of errors and warnings: each is unique, and has a heading in
//! `docs/troubleshooting.md`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use regex::Regex;
use syn::Lit;
use tests::tool::root;

use crate::source::{product_code, products, read, shown, test_code};

/// Functions and methods whose first argument is a code. `Code::new` is one more.
const CONSTRUCTORS: &[&str] =
    &["document", "usage", "failed", "denied", "unavailable", "unanswered", "wrong", "expected", "warn", "warn_at"];

/// A code in the source.
#[derive(Debug, Clone)]
struct Code {
    name: String,
    /// The crate.
    krate: &'static str,
    place: String,
    /// The texts of the message, with the places of its values.
    templates: Vec<String>,
}

/// Returns the codes of all products, without test code.
fn codes() -> Vec<Code> {
    let mut all = Vec::new();
    for krate in products() {
        for path in product_code(krate) {
            let found = in_file(&read(&path)).into_iter();
            all.extend(found.map(|(line, name, templates)| Code { name, krate, place: format!("{}:{line}", shown(&path)), templates }));
        }
    }
    all
}

type Found = (usize, String, Vec<String>);

fn in_file(text: &str) -> Vec<Found> {
    let tests = test_code(&syn::parse_file(text).unwrap_or_else(|error| unreachable!("{error}: {text}")));
    let mut found = Vec::new();
    scan(text.parse().unwrap(), &[], &mut |name, arguments, before| {
        let place = name.span().start();
        let Some(code) = string(arguments.first()).filter(|_| !tests.iter().any(|(start, end)| (start..=end).contains(&&place))) else {
            return;
        };
        let templates = arguments[1..].iter().flat_map(|argument| templates(variable(argument, before).unwrap_or(argument)));
        found.push((place.line, code, templates.collect()));
    });
    found
}

/// Calls `each` with the name and the arguments of each constructor, also within macros, but not
/// within attributes, and with the tokens before it: those of the outermost block first. Works on
/// tokens, because syn does not parse the arguments of macros.
fn scan(tokens: TokenStream, outside: &[&[TokenTree]], each: &mut impl FnMut(&Ident, &[Vec<TokenTree>], &[&[TokenTree]])) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        if is_attribute(&tokens[..index], group) {
            continue;
        }
        let before: Vec<&[TokenTree]> = outside.iter().copied().chain([&tokens[..index]]).collect();
        if let Some(name) = constructor(&tokens[..index]).filter(|_| group.delimiter() == Delimiter::Parenthesis) {
            each(name, &arguments(group), &before);
        }
        scan(group.stream(), &before, each);
    }
}

fn is_attribute(before: &[TokenTree], group: &Group) -> bool {
    let sign = |back, sign| is_sign(before.iter().nth_back(back), sign);
    group.delimiter() == Delimiter::Bracket && (sign(0, '#') || sign(0, '!') && sign(1, '#'))
}

/// Returns the name of the constructor that the tokens before a pair of parentheses call.
fn constructor(before: &[TokenTree]) -> Option<&Ident> {
    let [rest @ .., TokenTree::Ident(name)] = before else { return None };
    let is_code =
        matches!(rest, [.., TokenTree::Ident(of), TokenTree::Punct(_), TokenTree::Punct(colon)] if of == "Code" && colon.as_char() == ':');
    (CONSTRUCTORS.iter().any(|one| name == one) || name == "new" && is_code).then_some(name)
}

fn arguments(group: &Group) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    tokens.split(|token| is_sign(Some(token), ',')).map(<[_]>::to_vec).collect()
}

/// Returns the value of an argument that is a string literal and nothing else.
fn string(argument: Option<&Vec<TokenTree>>) -> Option<String> {
    match argument?.as_slice() {
        [TokenTree::Literal(literal)] => text(literal),
        _ => None,
    }
}

fn text(literal: &proc_macro2::Literal) -> Option<String> {
    match Lit::new(literal.clone()) {
        Lit::Str(text) => Some(text.value()),
        _ => None,
    }
}

/// Returns the value of an argument that is a variable: that of the nearest `let` before it.
fn variable<'a>(argument: &[TokenTree], before: &[&'a [TokenTree]]) -> Option<&'a [TokenTree]> {
    let argument = if is_sign(argument.first(), '&') { &argument[1..] } else { argument };
    let [TokenTree::Ident(name)] = argument else { return None };
    before.iter().rev().find_map(|tokens| {
        let is_let = |three: &[TokenTree]| {
            matches!(three, [TokenTree::Ident(word), TokenTree::Ident(other), sign] if word == "let" && other == name && is_sign(Some(sign), '='))
        };
        let start = tokens.windows(3).rposition(is_let)? + 3;
        tokens[start..].split(|token| is_sign(Some(token), ';')).next()
    })
}

fn is_sign(token: Option<&TokenTree>, sign: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

/// Returns the texts of an argument: its string literals, the first literal of each `format!`, and
/// the literals of each branch. The arguments of other calls are no texts.
fn templates(argument: &[TokenTree]) -> Vec<String> {
    let mut all = Vec::new();
    for (index, token) in argument.iter().enumerate() {
        match token {
            TokenTree::Literal(literal) => all.extend(text(literal)),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                all.extend(templates(&group.stream().into_iter().collect::<Vec<_>>()));
            }
            TokenTree::Group(group) if is_format(&argument[..index]) => all.extend(string(arguments(group).first())),
            _ => {}
        }
    }
    all
}

fn is_format(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(name), TokenTree::Punct(mark)] if name == "format" && mark.as_char() == '!')
}

/// Returns the headings of the third level with their lines, without those in code blocks.
fn headings(markdown: &str) -> Vec<(usize, String)> {
    let mut code = false;
    let mut all = Vec::new();
    for (index, line) in markdown.lines().enumerate() {
        code ^= line.trim_start().starts_with("```");
        if let Some(heading) = line.strip_prefix("### ").filter(|_| !code) {
            all.push((index + 1, heading.trim().to_owned()));
        }
    }
    all
}

#[test]
fn each_code_is_unique_and_documented() {
    const PAGE: &str = "docs/troubleshooting.md";
    let form = Regex::new("^[a-z0-9]+(-[a-z0-9]+)*$").unwrap();
    let page = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
    let (mut places, mut documented) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::<String, Vec<String>>::new());
    for code in codes() {
        places.entry(code.name).or_default().push(code.place);
    }
    for (line, heading) in headings(&page) {
        documented.entry(heading).or_default().push(format!("{PAGE}:{line}"));
    }
    assert!(!places.is_empty(), "no code was found");
    let mut wrong = Vec::new();
    for (code, places) in &places {
        let at = places.join(", ");
        if !form.is_match(code) {
            wrong.push(format!("{code:?} is not kebab-case ({at})"));
        }
        if places.len() > 1 {
            wrong.push(format!("{code:?} is used {} times ({at})", places.len()));
        }
        if !documented.contains_key(code) {
            wrong.push(format!("{code:?} has no heading in {PAGE} ({at})"));
        }
    }
    for (heading, lines) in &documented {
        let at = lines.join(", ");
        if lines.len() > 1 {
            wrong.push(format!("the heading {heading:?} occurs {} times ({at})", lines.len()));
        }
        if !places.contains_key(heading) {
            wrong.push(format!("the heading {heading:?} is no code ({at})"));
        }
    }
    assert!(wrong.is_empty(), "{} mistakes:\n{}", wrong.len(), wrong.join("\n"));
}

/// The texts of all messages, so that a change of a text is reviewed.
#[test]
fn catalogue_of_messages() {
    let lines: BTreeSet<String> = codes().iter().map(entry).collect();
    insta::assert_snapshot!("catalogue", lines.into_iter().collect::<Vec<_>>().join("\n"));
}

fn entry(code: &Code) -> String {
    let templates = code.templates.iter().map(|template| format!("\n    {}", template.replace('\n', "\n    ")));
    format!("{} ({}){}", code.name, code.krate, templates.collect::<String>())
}

#[test]
fn a_code_is_the_first_argument_of_a_constructor() {
    let found = |body: &str| in_file(&format!("fn f() {{ {body} }}")).into_iter().map(|(_, code, _)| code).collect::<Vec<_>>();
    assert_eq!(found(r#"Error::document("one", path, "text")"#), ["one"], "a function of a type");
    assert_eq!(found(r#"document("one", path, "text"); at.wrong("two", "text"); run.warn("three",)"#), ["one", "two", "three"]);
    assert_eq!(found(r#"Code::new("one"); shared::error::Code::new("two"); String::new("three"); new("four")"#), ["one", "two"]);
    assert_eq!(found(r#"vec![at.wrong("one", format!("{}", at.wrong("two", "text")))]"#), ["one", "two"], "within macros");
    assert_eq!(found(r#"return Err(Error::failed("one", "text").into())"#), ["one"], "within another call");
    let none = r#"at.wrong(code, "text"); at.wrong("text".to_owned()); wrong(); warn!("text"); Error::Failed("text"); at.expect("text")"#;
    assert_eq!(found(none), [""; 0]);
}

#[test]
fn a_code_in_a_test_or_an_attribute_does_not_count() {
    let text = r#"
        #[failed("attribute")]
        fn f() { at.wrong("product", "text") }
        #[cfg(test)]
        mod tests {
            #[test]
            fn g() { at.wrong("test", "text") }
        }
        fn denied(code: &str) {}
    "#;
    let found: Vec<_> = in_file(text).into_iter().map(|(line, code, _)| (line, code)).collect();
    assert_eq!(found, [(3, "product".to_owned())]);
}

#[test]
fn a_template_is_a_literal_also_in_format_or_a_variable() {
    let found = |call: &str| in_file(&format!("fn f() {{ {call} }}")).remove(0).2;
    assert_eq!(found(r#"document("c", at.path(), "text")"#), ["text"]);
    assert_eq!(found(r#"document("c", "x-net.nat", format!("{} of {x}", names.join(", ")))"#), ["x-net.nat", "{} of {x}"]);
    assert_eq!(found(r#"warn("c", &format!("{} has no effect", place))"#), ["{} has no effect"]);
    assert_eq!(found(r#"wrong("c", if many { "many".to_owned() } else { format!("only {n}") })"#), ["many", "only {n}"]);
    assert_eq!(found(r#"wrong("c", match kind { A => "first", B => "second" })"#), ["first", "second"]);
    assert_eq!(
        found(
            r#"wrong("c", "a text \
        in two lines")"#
        ),
        ["a text in two lines"]
    );
    assert_eq!(
        found(r#"let what = "no"; let what = format!("text"); if x { wrong("c", &what) } let what = "no";"#),
        ["text"],
        "a variable"
    );
    assert_eq!(found(r#"wrong("c", what)"#), [""; 0], "an argument of the function");
}

#[test]
fn headings_are_of_the_third_level() {
    let markdown = "# Title\n### one\ntext ### no\n```\n### code\n```\n#### four\n  ### no\n### two \n";
    assert_eq!(headings(markdown), [(2, "one".to_owned()), (9, "two".to_owned())]);
}
