//! Completion of a command line while it is typed: what a shell is told.

use std::process::Command;

use super::Place;

/// What a shell offers behind these words: each word, and its help.
fn offered(place: &Place, words: &str) -> Vec<(String, String)> {
    let mut command = place.command(&format!("-- vathost {words}"));
    // The last word is the one that is typed; where the line ends with a blank it is still empty.
    if words.ends_with(' ') {
        command.arg("");
    }
    let output = command.env("COMPLETE", "fish").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let split = |line: &str| {
        line.split_once('\t').map_or((line.to_owned(), String::new()), |(a, b)| (a.to_owned(), b.to_owned()))
    };
    text.lines().map(split).collect()
}

/// The words of it.
fn words(place: &Place, line: &str) -> String {
    offered(place, line)
        .into_iter()
        .map(|(word, _)| word)
        .filter(|it| !it.starts_with('-'))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn vats_and_methods_are_offered_with_what_they_are() {
    let place = Place::new();
    place.vathost("run vats/bank --state @state").ok();
    assert_eq!(words(&place, "call @state "), "market north south", "west has ended");
    assert_eq!(words(&place, "call @state n"), "north");
    assert!(offered(&place, "call @state ").contains(&("north".to_owned(), "v2".to_owned())));
    assert_eq!(words(&place, "call @state north "), "makePurse pay closeDown");
    assert_eq!(words(&place, "send @state v2 m"), "makePurse");
    let help = "makePurse(balance: u64) -> Purse  Opens a purse with that much in it.";
    assert_eq!(offered(&place, "call @state north m"), [("makePurse".to_owned(), help.to_owned())]);
    // Options and their values stand where they like.
    assert_eq!(words(&place, "--color never call --json --blocks 3 --state @state n"), "north");
    assert_eq!(words(&place, "call --state @state --vat north p"), "pay");
    // Other verbs that take a vat.
    for line in [
        "pause @state n",
        "resume @state n",
        "terminate @state n",
        "inspect --state @state vat n",
        "replay @state --vat n",
    ] {
        assert_eq!(words(&place, line), "north", "{line}");
    }
    place.vathost("pause @state north").ok();
    assert!(offered(&place, "resume @state n").contains(&("north".to_owned(), "v2, paused".to_owned())));
    // What is not there is not offered, and does no harm.
    for line in ["call @state nobody ", "call @nowhere ", "call @nowhere north ", "call @state north pay "] {
        assert_eq!(words(&place, line), "", "{line}");
    }
    assert!(words(&place, "ca").contains("call"));
}

#[test]
fn the_line_that_switches_it_on_is_a_script_of_each_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let output = place.command("").env("COMPLETE", shell).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains("vathost"), "{shell}: {script}");
    }
    let help = place.vathost("completions --help").ok().stdout;
    assert!(help.contains("source <(COMPLETE=bash vathost)"), "{help}");
    // As bash asks: with the place of the word.
    place.vathost("run vats/bank --state @state").ok();
    let mut asked: Command = place.command("-- vathost call @state so behind");
    asked.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "3").env("_CLAP_IFS", "\n");
    let output = asked.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "south");
}
