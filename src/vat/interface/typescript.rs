//! An interface as TypeScript declarations, for clients that hold the objects through `@endo/captp`.
//!
//! A method returns a promise, as `E(object).method(...)` does. Integers may be given as numbers or bigints; those of 64 bits and more
//! come back as bigints. If there are several interfaces, each is in a namespace of its own, named after the first vat that runs it.

use super::{Argument, Interface, Method, Type};

/// The words that cannot be names of arguments.
const RESERVED: &str = "arguments await break case catch class const continue debugger default delete do else enum eval export extends \
    false finally for function if implements import in instanceof interface let new null package private protected public return \
    static super switch this throw true try typeof var void while with yield";

/// The names of TypeScript's own types, which no interface may take.
const TAKEN: &str =
    "any bigint boolean never null number object string symbol undefined unknown void Array Error Promise";

/// Writes the declarations of interfaces, each with the names of the vats that run it; no names for a module by itself.
pub fn write(interfaces: &[(&[String], &Interface)]) -> String {
    let mut out = String::from("// Made by `vathost check --interface=typescript`.\n");
    if let [(vats, interface)] = interfaces {
        of_one(&mut out, "", interface, vats);
        return out;
    }
    for (vats, interface) in interfaces {
        let name = identifier(vats.first().map_or("vat", |name| name));
        out += &format!("\nexport namespace {name} {{");
        of_one(&mut out, "  ", interface, vats);
        out += "}\n";
    }
    out
}

/// Makes a name of TypeScript from the name of a vat.
fn identifier(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let bad =
        plain.starts_with(|c: char| c.is_ascii_digit()) || is_one_of(RESERVED, &plain) || is_one_of(TAKEN, &plain);
    if bad || plain.is_empty() { format!("_{plain}") } else { plain }
}

fn is_one_of(words: &str, name: &str) -> bool {
    words.split_whitespace().any(|word| word == name)
}

fn of_one(out: &mut String, indent: &str, interface: &Interface, vats: &[String]) {
    for exo in &interface.exos {
        out.push('\n');
        let is_root = exo.name == interface.root;
        let of =
            if is_root && !vats.is_empty() { format!("\n\nThe root of {}.", vats.join(", ")) } else { String::new() };
        words(out, indent, format!("{}{of}", exo.doc).trim());
        *out += &format!("{indent}export interface {} {{\n", identifier(&exo.name));
        exo.methods.iter().for_each(|it| method(out, indent, interface, it));
        *out += &format!("{indent}}}\n");
    }
    // A module may have a kind named `Root`.
    if let Some(root) = interface.root().filter(|_| interface.exo("Root").is_none()) {
        *out += &format!("\n{indent}/** The type of the object that one begins with. */\n");
        *out += &format!("{indent}export type Root = {};\n", identifier(&root.name));
    }
}

fn method(out: &mut String, indent: &str, interface: &Interface, method: &Method) {
    let indent = format!("{indent}  ");
    words(out, &indent, &method.doc);
    // An argument can be left out only if all arguments behind it can.
    let optional = method.args.iter().rev().take_while(|argument| argument.kind.may_be_missing()).count();
    let needed = method.args.len() - optional;
    let args: Vec<String> =
        method.args.iter().enumerate().map(|(at, it)| argument(interface, it, at >= needed)).collect();
    let answer = answer(interface, &method.answer);
    *out += &format!("{indent}{}({}): Promise<{answer}>;\n", method.name, args.join(", "));
}

fn argument(interface: &Interface, argument: &Argument, is_optional: bool) -> String {
    let underscore = if is_one_of(RESERVED, &argument.name) { "_" } else { "" };
    let mark = if is_optional { "?" } else { "" };
    format!("{underscore}{}{mark}: {}", argument.name, given(interface, &argument.kind))
}

/// Returns the type of an argument.
fn given(interface: &Interface, kind: &Type) -> String {
    match kind {
        Type::Option(inner) => format!("{} | null | undefined", given(interface, inner)),
        Type::List(inner) => format!("Array<{}>", given(interface, inner)),
        kind if kind.range().is_some() => "number | bigint".to_owned(),
        other => plain(interface, other),
    }
}

/// Returns the type of an answer.
fn answer(interface: &Interface, kind: &Type) -> String {
    match kind {
        Type::Undefined => "void".to_owned(),
        Type::Option(inner) => format!("{} | undefined", answer(interface, inner)),
        Type::List(inner) => format!("Array<{}>", answer(interface, inner)),
        Type::U64 | Type::I64 | Type::I128 => "bigint".to_owned(),
        other => plain(interface, other),
    }
}

fn plain(interface: &Interface, kind: &Type) -> String {
    match kind {
        Type::Boolean => "boolean",
        Type::String => "string",
        Type::Undefined => "undefined",
        Type::Remote | Type::Device => "object",
        Type::Promise => "Promise<unknown>",
        Type::Object(name) if interface.exo(name).is_some() => return identifier(name),
        Type::Object(_) => "object",
        Type::Any | Type::Named(_) | Type::Option(_) | Type::List(_) => "unknown",
        _ => "number",
    }
    .to_owned()
}

fn words(out: &mut String, indent: &str, doc: &str) {
    if doc.is_empty() {
        return;
    }
    let doc = doc.replace("*/", "*\\/");
    if !doc.contains('\n') {
        *out += &format!("{indent}/** {doc} */\n");
        return;
    }
    *out += &format!("{indent}/**\n");
    for line in doc.lines() {
        *out += format!("{indent} * {line}").trim_end();
        out.push('\n');
    }
    *out += &format!("{indent} */\n");
}
