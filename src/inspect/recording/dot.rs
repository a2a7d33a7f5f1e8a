//! Export of a recording as a graph for Graphviz: the vats, and the messages that they send to each other. Messages
//! to the kernel, or to dead vats, are left out.
//!
//! In memory are the vats, the methods that each calls on each other, and the messages that are under way.

use std::{collections::BTreeMap, io::Write, path::Path};

use crate::inspect::recording::{
    ExportError,
    crank::{Cranks, RecordedCrank},
    export::{Range, method},
    history::History,
    link::Link,
};

/// Writes the graph of a range of cranks.
pub(super) fn write(path: &Path, range: Range, out: &mut dyn Write) -> Result<(), ExportError> {
    let history = History::of(path)?;
    let mut graph = Graph::default();
    for crank in Cranks::that_count(path, &history)? {
        graph.add(&crank?, range);
    }
    Ok(graph.write(out)?)
}

/// The node for every sender that is no vat.
const OUTSIDE: &str = "outside";

#[derive(Default)]
struct Graph {
    names: BTreeMap<String, String>,
    /// The senders of the messages that are under way.
    senders: BTreeMap<Link, String>,
    /// The number of messages, by sender and receiver, and by method.
    edges: BTreeMap<(String, String), BTreeMap<String, u64>>,
}

impl Graph {
    fn add(&mut self, crank: &RecordedCrank, range: Range) {
        self.names.extend(crank.created());
        // What waits for a paused vat is taken again; what is for a dead one, or for the kernel, is no edge.
        let Some(vat) = crank.deliver().and_then(|it| it.vat()) else { return };
        if let Some(message) = crank.item().message() {
            let link = Link::of_message(message);
            let from = self.senders.remove(&link).unwrap_or_else(|| OUTSIDE.to_owned());
            if range.has(crank.number) {
                let methods = self.edges.entry((from, vat.to_owned())).or_default();
                *methods.entry(method(&message)).or_default() += 1;
            }
        }
        let sent = crank.made().into_iter().map(|(it, _)| it).filter(|it| !matches!(it, Link::Settled(_)));
        self.senders.extend(sent.map(|it| (it, vat.to_owned())));
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        writeln!(out, "digraph vats {{")?;
        writeln!(out, "  node [shape=box];")?;
        let seen = self.edges.keys().flat_map(|(from, to)| [from, to]);
        let mut nodes: Vec<&String> = seen.chain(self.names.keys()).collect();
        nodes.sort_by_key(|it| (it.strip_prefix('v').and_then(|it| it.parse::<u64>().ok()), *it));
        nodes.dedup();
        for id in nodes {
            match self.names.get(id) {
                Some(name) => writeln!(out, "  {id} [label={}];", quoted(&format!("{id}\n{name}")))?,
                None if id.starts_with('v') => writeln!(out, "  {id};")?,
                None => writeln!(out, "  {id} [shape=ellipse];")?,
            }
        }
        for ((from, to), methods) in &self.edges {
            let mut counts: Vec<_> = methods.iter().collect();
            counts.sort_by_key(|(method, count)| (std::cmp::Reverse(**count), *method));
            let label: Vec<_> = counts.iter().map(|(method, count)| format!("{method} {count}")).collect();
            let weight: u64 = methods.values().sum();
            writeln!(out, "  {from} -> {to} [label={}, weight={weight}];", quoted(&label.join("\n")))?;
        }
        writeln!(out, "}}")
    }
}

/// Quotes a string for Graphviz, so that a guest's text cannot end it. Line breaks are shown as such.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for it in text.chars() {
        match it {
            '\n' => out.push_str("\\n"),
            '"' | '\\' => out.extend(['\\', it]),
            it if it.is_control() => out.push('\u{fffd}'),
            it => out.push(it),
        }
    }
    out.push('"');
    out
}
