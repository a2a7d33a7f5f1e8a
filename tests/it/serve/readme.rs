//! What the README shows of a served host is run as it stands: its lines of curl, and its lines of JavaScript.

use std::{net::TcpListener, path::Path, process::Command};

use super::{npm, server::Served};
use crate::cli::Place;

/// The port that the README names.
const PORT: u16 = 7100;

/// The code blocks of this language in the README's section on served hosts.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|it| it.starts_with("Stay up, and answer")).unwrap();
    let mut blocks = Vec::new();
    for (at, part) in section.split("```").enumerate() {
        if at % 2 == 1
            && let Some(text) = part.strip_prefix(&format!("{language}\n"))
        {
            blocks.push(text.to_owned());
        }
    }
    blocks
}

/// A host at the README's port, and how its texts are to be read: as they stand, or with another port where that one is taken.
#[expect(clippy::print_stderr, reason = "who runs the tests is told what was run")]
fn serve(place: &Place) -> (Served, impl Fn(&str) -> String + use<>) {
    let words = "vats/bank --state @state";
    let is_free = TcpListener::bind(("127.0.0.1", PORT)).is_ok();
    let host = match is_free {
        true => Served::start_at(place, words, &format!("127.0.0.1:{PORT}")),
        false => {
            eprintln!("port {PORT} is taken: the README's lines are run with another one");
            Served::start(place, words)
        }
    };
    let port = host.address.port().to_string();
    (host, move |text: &str| text.replace(&PORT.to_string(), &port))
}

/// The commands of a console block, each with what it prints.
fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((_, printed))) => *printed += &format!("{line}\n"),
            (None, None) => panic!("it begins with a command: {block}"),
        }
    }
    commands
}

#[test]
fn the_commands_of_curl_print_what_stands_below_them() {
    let curl = blocks("console").into_iter().find(|it| it.contains("$ curl")).unwrap();
    let commands = commands(&curl);
    assert_eq!(commands.iter().filter(|(command, _)| command.contains("curl ")).count(), 3);
    let place = Place::new();
    let (_host, read) = serve(&place);
    let script: Vec<String> = commands.iter().map(|(command, _)| read(command)).collect();
    let run = Command::new("bash").args(["-euc", &script.join("\n")]).output().unwrap();
    assert!(run.status.success(), "{run:?}");
    let expected: String = commands.into_iter().map(|(_, printed)| printed).collect();
    assert_eq!(String::from_utf8(run.stdout).unwrap(), expected);
}

#[test]
fn the_lines_of_javascript_print_what_they_say() {
    let script = blocks("js").into_iter().next().unwrap();
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/serve.md")).unwrap();
    assert!(docs.contains(&script), "docs/serve.md shows the same lines");
    assert!(script.lines().count() <= 14, "{script}");
    let place = Place::new();
    let dir = place.path("node");
    if !npm::install(&dir) {
        return;
    }
    let (_host, read) = serve(&place);
    std::fs::write(dir.join("client.mjs"), read(&script)).unwrap();
    let (_, said) = script.rsplit_once("// ").unwrap();
    assert_eq!(npm::node(&dir, "client.mjs", &[]), format!("{}\n", said.trim()));
}
