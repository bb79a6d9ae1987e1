//! `.dockerignore` with Docker's rules: the last pattern that matches a path, or a folder above it, decides.
//! <https://docs.docker.com/build/concepts/context/#dockerignore-files>

use globset::{GlobBuilder, GlobMatcher};

#[derive(Debug, Default, Clone)]
pub struct Ignore {
    patterns: Vec<Pattern>,
    /// Whether any pattern begins with `!`, which includes a path again.
    excepts: bool,
}

#[derive(Debug, Clone)]
struct Pattern {
    glob: GlobMatcher,
    ignores: bool,
    /// Whether its last part begins with a dot, as in `!**/.env`.
    is_of_hidden: bool,
}

impl Ignore {
    /// Reads the patterns, one a line.
    ///
    /// # Errors
    /// Returns the pattern that is not valid.
    pub fn parse(text: &str) -> Result<Self, globset::Error> {
        let mut patterns = Vec::new();
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (ignores, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (false, pattern.trim()),
                None => (true, line),
            };
            let pattern = clean(pattern);
            // `.` alone is the context itself, which can't be excluded.
            if pattern.is_empty() {
                continue;
            }
            let glob = GlobBuilder::new(&pattern).literal_separator(true).backslash_escape(true).build()?.compile_matcher();
            let is_of_hidden = pattern.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
            patterns.push(Pattern { glob, ignores, is_of_hidden });
        }
        Ok(Self { excepts: patterns.iter().any(|pattern| !pattern.ignores), patterns })
    }

    /// Returns whether this path, relative to the context, is excluded.
    pub fn ignores(&self, path: &str) -> bool {
        let above: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).chain([path]).collect();
        let matching = |pattern: &&Pattern| above.iter().any(|path| pattern.glob.is_match(path));
        self.patterns.iter().rev().find(matching).is_some_and(|pattern| pattern.ignores)
    }

    /// Returns whether a pattern such as `!.env` includes this hidden file or folder. A pattern of a folder around it, or of all files, does not.
    pub fn includes_hidden(&self, path: &str) -> bool {
        !self.ignores(path) && self.patterns.iter().any(|pattern| !pattern.ignores && pattern.is_of_hidden && pattern.glob.is_match(path))
    }

    /// Returns whether nothing below this folder can be in the context, so that it need not be read.
    pub fn skips_all_below(&self, folder: &str) -> bool {
        !self.excepts && self.ignores(folder)
    }
}

/// Returns a pattern without leading and trailing slashes and without `.` and `..`, as Go's `filepath.Clean` does.
fn clean(pattern: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in pattern.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    steps.join("/")
}

#[cfg(test)]
mod tests {
    use super::Ignore;

    /// The forms are those of Docker's documentation.
    #[test]
    fn each_form_of_a_pattern_matches_as_in_docker() {
        let ignore = Ignore::parse(
            "# comment\n/node_modules/\n*/temp*\n**/*.log\n!keep.log\ndocs\n!docs/README.md\n*.md\n!README*.md\nREADME-secret.md\n",
        )
        .unwrap();
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
            assert_eq!(ignore.ignores(path), ignored, "{path}");
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
    fn a_folder_is_skipped_only_without_exceptions() {
        assert!(Ignore::parse("target").unwrap().skips_all_below("target"));
        assert!(!Ignore::parse("target\n!target/keep").unwrap().skips_all_below("target"));
    }
}
