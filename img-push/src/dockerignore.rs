//! `.dockerignore` with Docker's rules: the last pattern that matches a path, or a folder above it, decides.
//! <https://docs.docker.com/build/concepts/context/#dockerignore-files>

use regex::Regex;

#[derive(Debug, Default, Clone)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    matcher: Matcher,
    /// Whether it begins with `!`, which includes a path again.
    includes: bool,
    /// The pattern as it is compared with folders, without a wildcard at its end.
    prefix: String,
    /// Whether its last part begins with a dot, as in `!**/.env`.
    is_of_hidden: bool,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact(String),
    /// `a**`: what begins with this.
    Prefix(String),
    /// `**a`: what ends with this.
    Suffix(String),
    Regex(Regex),
}

/// Which patterns match a path, or a folder above it.
#[derive(Debug, Default, Clone)]
pub struct Matches(Vec<bool>);

/// The characters that make a pattern more than plain text.
const SPECIAL: &[char] = &['*', '[', ']', '?', '\\'];

impl Ignore {
    /// Reads the patterns, one a line.
    ///
    /// # Errors
    /// Returns the pattern that is not valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.trim_start_matches('\u{feff}').lines();
        let lines = lines.filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        Ok(Self { patterns: lines.map(Pattern::parse).collect::<Result<_, _>>()? })
    }

    /// Returns whether this path, relative to the context, is excluded. `above` is the result for the folder that it is in.
    pub fn check(&self, path: &str, above: &Matches) -> (bool, Matches) {
        let mut ignored = false;
        let mut all = vec![false; self.patterns.len()];
        for (n, pattern) in self.patterns.iter().enumerate() {
            // A pattern that can't change the decision is not tried, also not for what is below. Docker does the same.
            let matched = above.0.get(n) == Some(&true) || pattern.includes == ignored && pattern.matcher.matches(path);
            if matched {
                ignored = !pattern.includes;
            }
            all[n] = matched;
        }
        (ignored, Matches(all))
    }

    /// Returns whether a pattern such as `!.env` includes this hidden file or folder. A pattern of a folder around it, or of all files, does not.
    pub fn includes_hidden(&self, path: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.includes && pattern.is_of_hidden && pattern.matcher.matches(path))
    }

    /// Returns whether nothing below this excluded folder can be in the context, so that it need not be read.
    pub fn skips_all_below(&self, folder: &str) -> bool {
        let below = format!("{folder}/");
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.includes);
        !exceptions.any(|pattern| {
            pattern.prefix.contains('^') || pattern.prefix.contains(SPECIAL) || format!("{}/", pattern.prefix).starts_with(&below)
        })
    }
}

impl Pattern {
    fn parse(line: &str) -> Result<Self, String> {
        let (includes, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, line),
        };
        if pattern.is_empty() {
            return Err(format!("the pattern {line:?} names nothing to include"));
        }
        let pattern = clean(pattern);
        let matcher = Matcher::of(&pattern).ok_or_else(|| format!("the pattern {line:?} is not valid"))?;
        let prefix = pattern.strip_suffix("/**").unwrap_or(&pattern);
        let prefix = prefix.strip_suffix("/*").unwrap_or(prefix).to_owned();
        let is_of_hidden = pattern.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
        Ok(Self { matcher, includes, prefix, is_of_hidden })
    }
}

impl Matcher {
    /// Returns the matcher of a pattern, or `None` for one that is not valid.
    fn of(pattern: &str) -> Option<Self> {
        let plain = |text: &str| !text.contains(SPECIAL);
        match (pattern.strip_prefix("**"), pattern.strip_suffix("**")) {
            (None, None) if plain(pattern) => Some(Self::Exact(pattern.to_owned())),
            (Some(end), _) if plain(end) => Some(Self::Suffix(end.to_owned())),
            (_, Some(begin)) if plain(begin) => Some(Self::Prefix(begin.to_owned())),
            _ if has_bad_range(pattern) => None,
            _ => Regex::new(&regex(pattern)).ok().map(Self::Regex),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(begin) => path.starts_with(begin),
            // `**/a` also matches `a`.
            Self::Suffix(end) => path.ends_with(end) || end.strip_prefix('/') == Some(path),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// Returns whether a pattern has a `[` that no `]` ends, an empty range, or a backslash at its end.
fn has_bad_range(pattern: &str) -> bool {
    let (mut chars, mut inside, mut empty) = (pattern.chars().peekable(), false, false);
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return true,
            '[' if !inside => {
                let _ = chars.next_if_eq(&'^');
                (inside, empty) = (true, true);
                continue;
            }
            ']' if inside && empty => return true,
            ']' => inside = false,
            _ => {}
        }
        empty = false;
    }
    inside
}

/// `*` and `?` match no slash, `**` matches any number of folders, and braces are plain characters.
fn regex(pattern: &str) -> String {
    let (mut regex, mut inside) = (String::from("(?s)^"), false);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if !inside && chars.next_if_eq(&'*').is_some() => {
                let _ = chars.next_if_eq(&'/');
                regex += if chars.peek().is_none() { ".*" } else { "(.*/)?" };
            }
            '*' if !inside => regex += "[^/]*",
            '?' if !inside => regex += "[^/]",
            '[' if !inside => {
                inside = true;
                regex.push(c);
            }
            ']' => {
                inside = false;
                regex.push(c);
            }
            // Docker passes these on, so `^` after the first character matches nothing, and `\\d` is a digit.
            '^' | '-' => regex.push(c),
            '\\' if chars.peek().is_some_and(char::is_ascii_alphanumeric) => regex.push(c),
            '\\' => regex.extend(chars.next().map(|c| regex::escape(&c.to_string()))),
            c => regex += &regex::escape(&c.to_string()),
        }
    }
    regex + "$"
}

/// Returns a pattern without leading and trailing slashes and without `.` and `..`, as Go's `filepath.Clean` does.
fn clean(pattern: &str) -> String {
    let rooted = pattern.starts_with('/');
    let mut steps: Vec<&str> = Vec::new();
    for step in pattern.split('/') {
        match step {
            "" | "." => {}
            ".." if steps.last().is_some_and(|last| *last != "..") => drop(steps.pop()),
            ".." if rooted => {}
            step => steps.push(step),
        }
    }
    // `.` is the context itself, which can't be excluded, because no path in it has this name.
    if steps.is_empty() { ".".to_owned() } else { steps.join("/") }
}

#[cfg(test)]
mod tests {
    use super::{Ignore, Matches};

    /// Decides about the path after the folders above it, as the walk through a context does.
    fn ignores(text: &str, path: &str) -> bool {
        let ignore = Ignore::parse(text).unwrap();
        let above: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
        let mut matches = Matches::default();
        for folder in above {
            let (ignored, found) = ignore.check(folder, &matches);
            if ignored && ignore.skips_all_below(folder) {
                return true;
            }
            matches = found;
        }
        ignore.check(path, &matches).0
    }

    /// The forms are those of Docker's documentation.
    #[test]
    fn each_form_of_a_pattern_matches_as_in_docker() {
        let text = "# comment\n/node_modules/\n*/temp*\n**/*.log\n!keep.log\ndocs\n!docs/README.md\n*.md\n!README*.md\nREADME-secret.md\n";
        for (path, ignored) in [
            ("node_modules/a/b.js", true),
            ("sub/node_modules/a", false),
            ("sub/temporary.txt", true),
            ("temporary.txt", false),
            ("sub/deep/temporary.txt", false),
            ("a.log", true),
            ("a/b/c.log", true),
            ("keep.log", false),
            ("docs/guide.txt", true),
            ("docs/README.md", false),
            ("x.md", true),
            ("README.md", false),
            ("README-secret.md", true),
            ("src/main.rs", false),
        ] {
            assert_eq!(ignores(text, path), ignored, "{path}");
        }
    }

    /// One pattern and one path a line: what is special about each of Docker's wildcards.
    #[test]
    fn wildcards_match_as_in_docker() {
        for (pattern, path, ignored) in [
            ("**", "file", true),
            ("**", "folder/file", true),
            ("**/", "file", true),
            ("**/**", "folder/file", true),
            ("folder/**", "folder/file", true),
            ("folder/**", "folder/a/b", true),
            ("folder/**", "folder", false),
            ("folder/**", "other/file", false),
            ("**/folder", "folder", true),
            ("**/folder", "a/b/folder", true),
            ("**/folder", "a/folder/file", true),
            ("**folder", "a/my-folder", true),
            ("**folder", "folder-2", false),
            ("**/folder2/*", "a/folder2/file", true),
            ("**/folder2/*", "folder2/file", true),
            ("**/folder2/*", "a/folder2", false),
            ("**/a**/b", "a/b", true),
            ("**/a**/b", "x/a1/y/b", true),
            ("a**/b", "a/x/y/b", true),
            ("a**/b", "ab", true),
            ("a**", "a", true),
            ("a**", "ab/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/b/c", true),
            ("a/**/c", "a/b/d", false),
            ("*", "a/b", true),
            ("*/*", "a", false),
            ("*/*", "a/b/c", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("a.c", "abc", false),
            ("a[b-d]e", "ace", true),
            ("a[b-d]e", "ae", false),
            ("a[^b]c", "adc", true),
            ("a[^b]c", "abc", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "acb", false),
            ("a[\\]b]c", "a]c", true),
            ("v\\d*", "v1.txt", true),
            ("{a,b}", "a", false),
            ("{a,b}", "{a,b}", true),
            ("*{1}", "x{1}", true),
            ("a|b", "a", false),
            ("(a)+$", "(a)+$", true),
            ("^a", "^a", true),
            ("ü*", "über", true),
            (".", "a", false),
            ("./a/", "a/b", true),
            ("/a/../b", "b", true),
            ("../a", "a", false),
            ("/../a", "a", true),
            ("  a  ", "a", true),
            (" # a", "# a", true),
            ("#a", "#a", false),
            ("\u{feff}a", "a", true),
            ("a\r", "a", true),
        ] {
            assert_eq!(ignores(pattern, path), ignored, "{pattern:?} and {path:?}");
        }
    }

    #[test]
    fn an_exception_includes_again_and_the_last_pattern_decides() {
        for (text, path, ignored) in [
            ("*\n!src\n!src/**", "src/a/b", false),
            ("*\n!src", "src/a/b", false),
            ("a\n!a/keep", "a/keep/b", false),
            ("a\n!a/keep", "a/other", true),
            ("a\n!**/keep", "a/b/keep", false),
            ("!a\na", "a", true),
            ("a\n!a\na/b", "a/b", true),
            ("a/x\n!a", "a/x/y", true),
            ("! a\nb", "b", true),
            ("**/*.md\n!docs/**", "docs/a/b.md", false),
        ] {
            assert_eq!(ignores(text, path), ignored, "{text:?} and {path:?}");
        }
    }

    #[test]
    fn a_hidden_file_is_included_by_its_name_only() {
        let ignore = Ignore::parse("*\n!src\n!lib/**\n!.env\n!**/.env.local\n").unwrap();
        for (path, included) in
            [(".env", true), ("src/.env", false), ("lib/.env", false), ("src/.env.local", true), (".env.local", true), (".git", false)]
        {
            assert_eq!(ignore.includes_hidden(path), included, "{path}");
        }
    }

    #[test]
    fn a_pattern_that_docker_refuses_is_refused() {
        for text in ["a[", "a[]b", "[^]", "*a\\", "!", "*[b", "[a\\]"] {
            assert!(Ignore::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_folder_is_skipped_only_when_no_exception_can_be_below_it() {
        for (text, skipped) in [
            ("target", true),
            ("target\n!target/keep", false),
            ("target\n!other", true),
            ("target\n!**/keep", false),
            ("target\n!target/keep/*", false),
            ("target\n!target2/**", true),
        ] {
            assert_eq!(Ignore::parse(text).unwrap().skips_all_below("target"), skipped, "{text:?}");
        }
    }
}
