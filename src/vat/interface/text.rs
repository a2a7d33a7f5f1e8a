//! An interface as text, for people.

use super::{Exo, Interface, Method};

/// Writes an interface as text: each kind of object, its methods, and their docs.
pub fn write(interface: &Interface) -> String {
    let mut out = String::new();
    words(&mut out, "", &interface.doc);
    if let Some(parameters) = &interface.parameters {
        out += &format!("parameters: {parameters}\n");
    }
    // The root first: it is what one begins with.
    let (root, others): (Vec<&Exo>, Vec<&Exo>) = interface.exos.iter().partition(|exo| exo.name == interface.root);
    for exo in root.iter().chain(&others) {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &exo.name;
        out += if exo.name == interface.root { ", the root object\n" } else { "\n" };
        words(&mut out, "  ", &exo.doc);
        exo.methods.iter().for_each(|it| method(&mut out, it));
    }
    out
}

fn method(out: &mut String, method: &Method) {
    *out += &format!("\n  {method}\n");
    words(out, "      ", &method.doc);
}

fn words(out: &mut String, indent: &str, doc: &str) {
    for line in doc.lines() {
        *out += format!("{indent}{line}").trim_end();
        out.push('\n');
    }
}
