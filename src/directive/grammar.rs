//! The grammar: the text that people read, and the tables that the parser follows. A test holds one against the other.

use std::borrow::Cow;

use crate::directive::{Action, line::Line, problem::Problem};

/// The grammar of a directive file, as `vathost directives grammar` prints it.
pub const GRAMMAR: &str = r#"file      = { line } ;            line   = [ directive | expect ] [ comment ] ;
directive = when ":" action ;     when   = "crank-" num | vat "/delivery-" num | "block-" num ;
action    = "skip" [vat] [ "expect" hex ] | "pause" [vat] [why] | "resume" vat | "terminate" [vat] [why]
          | "upgrade" vat "bundle" hex [why] | "break" | "halt" | "replace-kernel" num ;
expect    = "expect" "state" hex "before" when ;
vat       = "v" num ;  why = "reason" string ;  hex = at least 8 hexadecimal digits of a hash
"#;

/// How the rest of a line is read once its verb is.
type Parse = fn(&mut Line<'_>) -> Result<Action, Box<Problem>>;

/// An action: its verb, its arguments in EBNF, its parser.
pub(super) struct Form {
    pub(super) verb: &'static str,
    pub(super) arguments: &'static str,
    pub(super) parse: Parse,
}

/// Every action that follows a place. An experiment's are to be added here.
pub(super) static FORMS: [Form; 8] = [
    Form {
        verb: "skip",
        arguments: r#" [vat] [ "expect" hex ]"#,
        parse: |line| Ok(Action::Skip { guard: line.vat_maybe(), expect: line.hash_maybe("expect")? }),
    },
    Form {
        verb: "pause",
        arguments: " [vat] [why]",
        parse: |line| Ok(Action::Pause { vat: line.vat_maybe(), why: line.why_maybe()? }),
    },
    Form { verb: "resume", arguments: " vat", parse: |line| Ok(Action::Resume(line.vat()?)) },
    Form {
        verb: "terminate",
        arguments: " [vat] [why]",
        parse: |line| Ok(Action::Terminate { vat: line.vat_maybe(), why: line.why_maybe()? }),
    },
    Form {
        verb: "upgrade",
        arguments: r#" vat "bundle" hex [why]"#,
        parse: |line| Ok(Action::Upgrade { vat: line.vat()?, bundle: line.hash("bundle")?, why: line.why_maybe()? }),
    },
    Form { verb: "break", arguments: "", parse: |_| Ok(Action::Break) },
    Form { verb: "halt", arguments: "", parse: |_| Ok(Action::Halt) },
    Form { verb: "replace-kernel", arguments: " num", parse: |line| Ok(Action::ReplaceKernel(line.version()?)) },
];

/// What people write where they mean one of the verbs.
pub(super) const SYNONYMS: [(&str, &str); 12] = [
    ("kill", "terminate"),
    ("stop", "halt"),
    ("exit", "halt"),
    ("drop", "skip"),
    ("ignore", "skip"),
    ("suspend", "pause"),
    ("unpause", "resume"),
    ("continue", "resume"),
    ("breakpoint", "break"),
    ("debug", "break"),
    ("replace", "replace-kernel"),
    ("kernel", "replace-kernel"),
];

/// A thing that may stand at some place of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Place,
    Colon,
    Verb,
    Vat,
    Word(&'static str),
    Hash,
    Text,
    Version,
    End,
}

impl Want {
    /// For the reader of an error.
    pub(super) fn describe(self) -> Cow<'static, str> {
        match self {
            Want::Place => "a place (`crank-7890`, `v56/delivery-1234` or `block-120`)".into(),
            Want::Colon => "a colon".into(),
            Want::Verb => {
                let verbs: Vec<String> = FORMS.iter().map(|it| format!("`{}`", it.verb)).collect();
                any_of(&verbs).into()
            }
            Want::Vat => "a vat like `v56`".into(),
            Want::Word(word) => format!("`{word}`").into(),
            Want::Hash => "at least 8 hexadecimal digits of a hash".into(),
            Want::Text => "a text in double quotes".into(),
            Want::Version => "the number of a kernel version".into(),
            Want::End => "the end of the line".into(),
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn any_of(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A text as a string of the grammar: one of JSON's, on one line, in which every control character is escaped.
pub(super) fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let escaped = |it: char| if it.is_control() { format!("\\u{:04x}", u32::from(it)) } else { it.to_string() };
    json.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_grammar_is_the_one_that_the_parser_follows() {
        let start = GRAMMAR.find("action    =").expect("has actions");
        let end = GRAMMAR.find("expect    =").expect("has expect");
        let printed: Vec<String> = GRAMMAR[start + 11..end]
            .trim_end()
            .trim_end_matches(';')
            .split('|')
            .map(|it| it.trim().to_owned())
            .collect();
        let followed: Vec<String> = FORMS.iter().map(|it| format!("\"{}\"{}", it.verb, it.arguments)).collect();
        assert_eq!(printed, followed);
        assert!(SYNONYMS.iter().all(|(_, verb)| FORMS.iter().any(|it| it.verb == *verb)));
    }
}
