//! The language of the source: each public summary names its subject, each type name has one meaning.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Openings that leave the subject out: pronouns, and bare question words.
const SUBJECTLESS: [&str; 34] = [
    "Its",
    "It",
    "Of",
    "Whom",
    "Whose",
    "What",
    "How",
    "Where",
    "Why",
    "Whether",
    "Who",
    "Which",
    "When",
    "They",
    "Them",
    "Those",
    "These",
    "This",
    "That",
    "As",
    "And",
    "But",
    "So",
    "Such",
    "Nobody",
    "Somebody",
    "Whatever",
    "Whoever",
    "Wherever",
    "The same",
    "All of it",
    "All of them",
    "One that",
    "Both",
];

/// Words of a summary of a function or a type, at least.
const WORDS_MIN: usize = 4;

/// Words after which a line declares an item.
const ITEMS: [&str; 7] = ["fn ", "struct ", "enum ", "trait ", "type ", "const ", "static "];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut dirs) = (Vec::new(), vec![root.join("src")]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            // A link leads to the SDK, which is not of this crate.
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Whether the line declares a public item; and whether that is a function or a type.
fn declared(line: &str) -> Option<bool> {
    let rest = line.strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let rest = rest.trim_start();
    let bare = rest.trim_start_matches("const ").trim_start_matches("async ").trim_start_matches("unsafe ");
    let is_const = rest.starts_with("const ") && !bare.starts_with("fn ");
    let item = ITEMS.iter().find(|item| bare.starts_with(**item));
    if is_const { Some(false) } else { item.map(|item| !["const ", "static "].contains(item)) }
}

/// The first sentences of the doc comments of public items: the line, the sentence, and whether it is of a function or a type.
fn summaries(text: &str) -> Vec<(usize, String, bool)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if !lines[at].starts_with("///") {
            at += 1;
            continue;
        }
        let from = at;
        while at < lines.len() && lines[at].starts_with("///") {
            at += 1;
        }
        let after = lines[at..].iter().find(|line| !line.starts_with("#["));
        let Some(large) = after.and_then(|line| declared(line)) else { continue };
        let words = lines[from..at].iter().map(|line| line[3..].trim());
        let paragraph = words.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        let sentence = paragraph.split_once(". ").map_or(&*paragraph, |(first, _)| first).to_owned();
        found.push((from + 1, sentence, large));
    }
    found
}

#[test]
fn every_summary_names_its_subject() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (path, text) in sources() {
        for (line, sentence, large) in summaries(&text) {
            seen += 1;
            let opens = SUBJECTLESS.iter().any(|word| {
                let rest = sentence.strip_prefix(word);
                rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '\''))
            });
            if opens {
                wrong.push(format!("{}:{line}: names no subject: {sentence}", path.display()));
            } else if large && sentence.split_whitespace().count() < WORDS_MIN {
                wrong.push(format!("{}:{line}: fewer than {WORDS_MIN} words: {sentence}", path.display()));
            }
        }
    }
    assert!(seen > 1_000, "{seen}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_check_of_summaries_sees_what_is_wrong() {
    let text = "/// Whom.\npub struct A;\n/// Sends it on. More.\n#[inline]\npub(crate) const fn b() {}\n/// Its size.\npub const C: u8 = 1;\n/// Its part.\nfn d() {}";
    let found = summaries(text);
    let expected = [(1, "Whom.", true), (3, "Sends it on", true), (6, "Its size.", false)];
    assert_eq!(found, expected.map(|(line, sentence, large)| (line, sentence.to_owned(), large)));
}

/// Names of types in more than two files: each a word of the field whose meaning its room makes plain.
const NAMES_OF_MANY: [&str; 3] = ["Outcome", "Step", "Verdict"];

#[test]
fn a_name_of_a_type_has_one_meaning() {
    // A package of its own has its own words for its own things.
    let mut files: std::collections::BTreeMap<(bool, String), std::collections::BTreeSet<PathBuf>> = Default::default();
    for (path, text) in sources() {
        let of_node = path.starts_with("src/node");
        for line in text.lines().map(str::trim_start) {
            let bare = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub(super) "));
            let bare = bare.or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
            let kinds = ["struct ", "enum ", "trait "];
            if let Some(rest) = kinds.iter().find_map(|kind| bare.strip_prefix(kind)) {
                let name: String = rest.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
                files.entry((of_node, name)).or_default().insert(path.clone());
            }
        }
    }
    assert!(files.len() > 500, "only {} types are seen", files.len());
    for ((_, name), files) in files {
        let is_word = NAMES_OF_MANY.contains(&name.as_str());
        assert!(files.len() <= 2 || is_word, "`{name}` is the name of {} types: {files:?}", files.len());
    }
}
