//! What a Dockerfile takes from the build context, as far as its text says so.
//! <https://docs.docker.com/reference/dockerfile/>

/// How a file of the context gets into the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    No,
    /// With the folder that it is in.
    WithFolder,
    ByName,
}

/// Returns how a Dockerfile takes a file or folder of the context.
pub fn takes(dockerfile: &str, name: &str) -> Taken {
    let mut taken = Taken::No;
    for instruction in instructions(dockerfile) {
        if words(&instruction).any(|word| is_at_or_below(clean(word), name)) {
            return Taken::ByName;
        }
        if sources(&instruction).iter().any(|source| source.contains(['*', '?']) || is_at_or_below(name, source)) {
            taken = Taken::WithFolder;
        }
    }
    taken
}

/// Returns the instructions, each in one line and without comments.
fn instructions(dockerfile: &str) -> Vec<String> {
    let lines = dockerfile.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let text = line.strip_suffix('\\').unwrap_or(line);
        match all.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last} {text}"),
            None => all.push(text.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    all
}

fn words(instruction: &str) -> impl Iterator<Item = &str> {
    instruction.split(|c: char| c.is_whitespace() || matches!(c, '=' | ',' | '"' | '\'' | '[' | ']')).filter(|word| !word.is_empty())
}

/// Returns what an instruction reads of the context; the empty text is all of it.
fn sources(instruction: &str) -> Vec<&str> {
    let (flags, rest): (Vec<&str>, Vec<&str>) = instruction.split_whitespace().partition(|word| word.starts_with("--"));
    let keyword = rest.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    if matches!(keyword.as_str(), "COPY" | "ADD") && !flags.iter().any(|flag| flag.starts_with("--from=")) {
        let paths: Vec<&str> = rest[1..].iter().flat_map(|word| words(word)).map(clean).collect();
        return paths.split_last().map(|(_, sources)| sources.to_vec()).unwrap_or_default();
    }
    let is_bind =
        |flag: &&str| flag.starts_with("--mount=") && !flag.contains("from=") && (!flag.contains("type=") || flag.contains("type=bind"));
    flags.into_iter().filter(is_bind).map(bound).collect()
}

/// Returns the source of a mount; without one it is the whole context.
fn bound(flag: &str) -> &str {
    let source = flag.split(',').find_map(|part| part.strip_prefix("source=").or(part.strip_prefix("src=")));
    clean(source.unwrap_or_default())
}

/// Returns a path without the slashes around it; the context itself is the empty path.
fn clean(path: &str) -> &str {
    let path = path.strip_prefix("./").unwrap_or(path).trim_matches('/');
    if path == "." { "" } else { path }
}

fn is_at_or_below(path: &str, folder: &str) -> bool {
    folder.is_empty() || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{Taken, takes};

    #[test]
    fn a_file_is_taken_by_its_name_or_with_its_folder() {
        for (dockerfile, name, taken) in [
            ("FROM a\nCOPY . /app", ".git", Taken::WithFolder),
            ("FROM a\nCOPY ./ /app", "live.json", Taken::WithFolder),
            ("FROM a\nadd --chown=1:1 . /app", "live.json", Taken::WithFolder),
            ("FROM a\nCOPY [\".\", \"/app\"]", "live.json", Taken::WithFolder),
            ("FROM a\nCOPY * /app/", "live.json", Taken::WithFolder),
            ("FROM a\nCOPY *.json /app/", "live.json", Taken::WithFolder),
            ("FROM a\nCOPY ops /app", "ops/live.json", Taken::WithFolder),
            ("FROM a\nRUN --mount=type=bind,target=. make", ".git", Taken::WithFolder),
            ("FROM a\nCOPY src /app", "live.json", Taken::No),
            ("FROM a\nCOPY --from=b . /app", "live.json", Taken::No),
            ("FROM a\nRUN --mount=type=cache,target=/c make", ".git", Taken::No),
            ("FROM a\nRUN --mount=type=bind,source=src,target=/c make", ".git", Taken::No),
            ("FROM a\n# COPY live.json /app", "live.json", Taken::No),
            ("FROM a\nCOPY . /app\nCOPY .git /app/.git", ".git", Taken::ByName),
            ("FROM a\nCOPY .git/HEAD /app/", ".git", Taken::ByName),
            ("FROM a\nCOPY a.txt \\\n  ./live.json /app/", "live.json", Taken::ByName),
            ("FROM a\nRUN --mount=type=bind,source=.git,target=/g git describe", ".git", Taken::ByName),
        ] {
            assert_eq!(takes(dockerfile, name), taken, "{dockerfile:?} and {name}");
        }
    }
}
