//! The interface of a module: a line of JSON for each of its objects, in the custom section `vathost.interface`.
//!
//! The form is canonical: members in one order, no blanks, a line feed behind each line, so that a linker may put the lines of
//! several crates one behind the other. Types are written by their names in the sources; an alias is not resolved.

use proc_macro2::{Span, TokenStream as Tokens};
use quote::quote;
use syn::{
    Attribute, Expr, ExprLit, FnArg, GenericArgument, ImplItemFn, ItemFn, Lit, LitByteStr, Meta, Pat, PathArguments,
    ReturnType, Type,
};

use crate::camel_case;

/// The custom section that holds the lines.
const SECTION: &str = "vathost.interface";

/// An item that puts the line into the section. It adds no code. It adds nothing to the vat's memory either, as long as the
/// static is not marked as used: the linker writes the section from the static, and then drops it.
fn line(text: String) -> Tokens {
    let bytes = LitByteStr::new((text + "\n").as_bytes(), Span::call_site());
    let length = bytes.value().len();
    quote! {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[allow(dead_code, reason = "the linker reads it")]
            #[unsafe(link_section = #SECTION)]
            static INTERFACE: [u8; #length] = *#bytes;
        };
    }
}

/// The line of an object: its methods, as messages name them.
pub(crate) fn of_exo<'a>(name: &str, attrs: &[Attribute], methods: impl Iterator<Item = &'a ImplItemFn>) -> Tokens {
    let methods: Vec<String> = methods.map(|method| of_method(name, method)).collect();
    let (doc, methods) = (doc(attrs), methods.join(","));
    line(format!("{{\"vathost-interface\":1,\"exo\":{}{doc},\"methods\":[{methods}]}}", text(name)))
}

/// The line of the root object: which of the module's objects it is, and what its parameters are.
pub(crate) fn of_root(build: &ItemFn) -> Tokens {
    let root = answered(&build.sig.output).and_then(named).unwrap_or_default();
    let parameters = build
        .sig
        .inputs
        .iter()
        .find_map(typed)
        .map_or(String::new(), |parameters| format!(",\"parameters\":{}", kind(&root, &parameters.ty)));
    line(format!("{{\"vathost-interface\":1,\"root\":{}{}{parameters}}}", text(&root), doc(&build.attrs)))
}

fn of_method(exo: &str, method: &ImplItemFn) -> String {
    let args: Vec<String> = method
        .sig
        .inputs
        .iter()
        .filter_map(typed)
        .enumerate()
        .map(|(at, arg)| format!("{{\"name\":{},\"type\":{}}}", text(&arg_name(at, &arg.pat)), kind(exo, &arg.ty)))
        .collect();
    let answer = match answered(&method.sig.output) {
        // Whoever asks waits for the promise, and gets what it is settled with.
        Some(ty) if named(ty).as_deref() == Some("Promise") => text("any"),
        Some(ty) => kind(exo, ty),
        None => text("undefined"),
    };
    let (name, doc, args) = (camel_case(&method.sig.ident.to_string()), doc(&method.attrs), args.join(","));
    format!("{{\"name\":{}{doc},\"args\":[{args}],\"answer\":{answer}}}", text(&name))
}

fn typed(input: &FnArg) -> Option<&syn::PatType> {
    if let FnArg::Typed(typed) = input { Some(typed) } else { None }
}

fn arg_name(at: usize, pattern: &Pat) -> String {
    let name = match pattern {
        Pat::Ident(ident) => camel_case(ident.ident.to_string().trim_start_matches('_')),
        _ => String::new(),
    };
    if name.is_empty() { format!("arg{}", at + 1) } else { name }
}

/// The type of an answer; of a `Result`, the type of its `Ok`.
fn answered(output: &ReturnType) -> Option<&Type> {
    let ReturnType::Type(_, ty) = output else { return None };
    match named(ty).as_deref() {
        Some("Result") => inner(ty),
        _ => Some(ty),
    }
}

/// The last name in a type's path, as in `Rc` of `vat::Rc<Purse>`.
fn named(ty: &Type) -> Option<String> {
    match plain(ty) {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}

/// The first type in angle brackets.
fn inner(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = plain(ty) else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| if let GenericArgument::Type(ty) = argument { Some(ty) } else { None })
}

/// The type without references, brackets and groups around it.
fn plain(ty: &Type) -> &Type {
    match ty {
        Type::Reference(reference) => plain(&reference.elem),
        Type::Paren(paren) => plain(&paren.elem),
        Type::Group(group) => plain(&group.elem),
        _ => ty,
    }
}

/// A type in JSON: the interface's own word for a type of the SDK, or else the name in the sources.
fn kind(exo: &str, ty: &Type) -> String {
    if matches!(plain(ty), Type::Tuple(tuple) if tuple.elems.is_empty()) {
        return text("undefined");
    }
    let Some(name) = named(ty) else { return text("any") };
    let of = |word: &str, what: String| format!("{{\"{word}\":{what}}}");
    match (&*name, inner(ty)) {
        ("u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "i128" | "f64", _) => text(&name),
        ("bool", _) => text("boolean"),
        ("str" | "String", _) => text("string"),
        ("Value", _) => text("any"),
        ("Decimal", _) => text("decimal"),
        ("Remote", _) => text("remote"),
        ("Promise", _) => text("promise"),
        ("Device", _) => text("device"),
        ("Option", Some(ty)) => of("option", kind(exo, ty)),
        ("Vec", Some(ty)) => of("list", kind(exo, ty)),
        ("Rc", Some(ty)) => {
            let object = named(ty).unwrap_or_default();
            of("object", text(if object == "Self" { exo } else { &object }))
        }
        _ => of("named", text(&name)),
    }
}

/// The doc comment, as a member of JSON; empty if there is none.
fn doc(attrs: &[Attribute]) -> String {
    let lines: Vec<String> = attrs.iter().filter_map(doc_line).collect();
    let lines = lines.join("\n");
    if lines.trim().is_empty() { String::new() } else { format!(",\"doc\":{}", text(lines.trim())) }
}

fn doc_line(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attr.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) if pair.path.is_ident("doc") => {
            let line = line.value();
            Some(line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned())
        }
        _ => None,
    }
}

/// A text of JSON.
fn text(plain: &str) -> String {
    let mut quoted = String::from("\"");
    for c in plain.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            _ if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn kind_of(ty: &Type) -> String {
        kind("Bank", ty)
    }

    #[test]
    fn types_are_told_as_the_sources_name_them() {
        assert_eq!(kind_of(&parse_quote!(u64)), "\"u64\"");
        assert_eq!(kind_of(&parse_quote!(&str)), "\"string\"");
        assert_eq!(kind_of(&parse_quote!(())), "\"undefined\"");
        assert_eq!(kind_of(&parse_quote!(Option<vat::Rc<Purse>>)), r#"{"option":{"object":"Purse"}}"#);
        assert_eq!(kind_of(&parse_quote!(Vec<Rc<Self>>)), r#"{"list":{"object":"Bank"}}"#);
        assert_eq!(kind_of(&parse_quote!(vat::Bootstrap)), r#"{"named":"Bootstrap"}"#);
        assert_eq!(kind_of(&parse_quote!((u8, u8))), "\"any\"");
    }

    #[test]
    fn a_method_is_told_with_arguments_answer_and_words() {
        let method: ImplItemFn = parse_quote! {
            /// Pays "all",
            /// and more.
            pub async fn pay_out(self: Rc<Self>, to: Remote, _much: Option<u8>, (): ()) -> Result<u64, Error> {
                Ok(0)
            }
        };
        assert_eq!(
            of_method("Bank", &method),
            concat!(
                r#"{"name":"payOut","doc":"Pays \"all\",\nand more.","args":[{"name":"to","type":"remote"},"#,
                r#"{"name":"much","type":{"option":"u8"}},{"name":"arg3","type":"undefined"}],"answer":"u64"}"#
            )
        );
    }
}
