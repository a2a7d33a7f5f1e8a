//! The grammar: the text that people read, and the tables that the parser follows. A test holds one against the other.

use std::borrow::Cow;

use crate::directive::{Action, Bit, Disturbance, SYSCALL_ERRORS, line::Line, problem::Problem};

/// The grammar of a directive file, as `vathost directives grammar` prints it.
pub const GRAMMAR: &str = r#"file      = { line } ;            line   = [ directive | expect ] [ comment ] ;
directive = when ":" action ;     when   = "crank-" num | vat "/delivery-" num | "block-" num ;
action    = "skip" [vat] [ "expect" hex ] | "pause" [vat] [why] | "resume" vat | "terminate" [vat] [why]
          | "upgrade" vat "bundle" hex [why] | "break" | "halt" | "replace-kernel" num
          | "replace-engine" num ;
expect    = "expect" "state" hex "before" when ;
vat       = "v" num ;  why = "reason" string ;  hex = at least 8 hexadecimal digits of a hash
"#;

/// The grammar that only an experiment's lines may use, as `vathost fault grammar` prints it.
pub const FAULT_GRAMMAR: &str = r##"schedule  = { line } ;            line   = [ when ":" fault ] [ comment ] ;
when      = "crank-" num | vat "/delivery-" num                as in a directive file, and only in an experiment:
          | vat "/delivery" "every" num                        numbers num, 2 num, 3 num, …
          | vat "/delivery-" num "end"                         it has run, and its crank has not ended
          | vat "/delivery-" num "/syscall-" num               counted from 0
          | vat "/syscall-" kind "-" num                       counted from 1; also: vat "/syscall:" kind "#" num
          | "commit-" num [ "/store-op-" num ]                 the commit of that block; its writes, syncs … from 1
fault     = "skip" … | "pause" … | "resume" … | "terminate" … | "upgrade" …    as in a directive file, and only in an experiment:
          | "plant" bug
          | "kernel-panic" invariant
          | "flip" vat "memory" "bit" ( "random" | num "." num )
          | "trap" "after" num "fuel"
          | "error" ( "absent" | "illegal" | "out-of-fuel" )
          | "value" ( string | "0x" hex )
          | "delay" num "cranks"
          | "duplicate"
          | "kill" "-9"
          | "lose" "unsynced"
          | "tear" "at" num
          | "eio"
          | "enospc"
bug       = the name of an invariant, or of a bug that is a mistake one could make: see `vathost run --plant`
"##;

/// The kind of file that a line is read for. The forms of an experiment are read for both kinds, and refused to the
/// operators with a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reader {
    /// A host's directives.
    Operator,
    /// An experiment's faults.
    Experiment,
}

/// A function that reads the rest of a line once its verb is read.
type Parse = fn(&mut Line<'_>) -> Result<Action, Box<Problem>>;

/// An action: its verb, its arguments in EBNF, its parser.
pub(super) struct Form {
    pub(super) verb: &'static str,
    pub(super) arguments: &'static str,
    pub(super) parse: Parse,
}

/// Every action of the operators that follows a place.
pub(super) static FORMS: [Form; 9] = [
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
    Form { verb: "replace-engine", arguments: " num", parse: |line| Ok(Action::ReplaceEngine(line.version()?)) },
];

/// The forms of the actions that only an experiment can order.
pub(super) static FAULT_FORMS: [Form; 13] = [
    Form {
        verb: "plant",
        arguments: " bug",
        parse: |line| Ok(Action::Disturb(Disturbance::Plant(line.plant(Want::Bug)?))),
    },
    Form {
        verb: "kernel-panic",
        arguments: " invariant",
        parse: |line| Ok(Action::Disturb(Disturbance::KernelPanic(line.plant(Want::Invariant)?))),
    },
    Form {
        verb: "flip",
        arguments: r#" vat "memory" "bit" ( "random" | num "." num )"#,
        parse: |line| {
            let vat = line.vat()?;
            line.word("memory")?;
            line.word("bit")?;
            let bit = if line.word_maybe("random") { Bit::Random } else { line.bit()? };
            Ok(Action::Disturb(Disturbance::Flip { vat, bit }))
        },
    },
    Form {
        verb: "trap",
        arguments: r#" "after" num "fuel""#,
        parse: |line| {
            line.word("after")?;
            let fuel = line.number()?;
            line.word("fuel")?;
            Ok(Action::Disturb(Disturbance::TrapAfter { fuel }))
        },
    },
    Form {
        verb: "error",
        arguments: r#" ( "absent" | "illegal" | "out-of-fuel" )"#,
        parse: |line| {
            let found = SYSCALL_ERRORS.iter().find(|(name, _)| line.word_maybe(name));
            let (_, error) = found.ok_or_else(|| line.unexpected())?;
            Ok(Action::Disturb(Disturbance::Error(*error)))
        },
    },
    Form {
        verb: "value",
        arguments: r#" ( string | "0x" hex )"#,
        parse: |line| Ok(Action::Disturb(Disturbance::Value(line.bytes()?))),
    },
    Form {
        verb: "delay",
        arguments: r#" num "cranks""#,
        parse: |line| {
            let cranks = line.number()?;
            line.word("cranks")?;
            Ok(Action::Disturb(Disturbance::Delay { cranks }))
        },
    },
    Form { verb: "duplicate", arguments: "", parse: |_| Ok(Action::Disturb(Disturbance::Duplicate)) },
    Form {
        verb: "kill",
        arguments: r#" "-9""#,
        parse: |line| {
            line.word("-9")?;
            Ok(Action::Disturb(Disturbance::Kill))
        },
    },
    Form {
        verb: "lose",
        arguments: r#" "unsynced""#,
        parse: |line| {
            line.word("unsynced")?;
            Ok(Action::Disturb(Disturbance::LoseUnsynced))
        },
    },
    Form {
        verb: "tear",
        arguments: r#" "at" num"#,
        parse: |line| {
            line.word("at")?;
            Ok(Action::Disturb(Disturbance::Tear { sector: line.sector()? }))
        },
    },
    Form { verb: "eio", arguments: "", parse: |_| Ok(Action::Disturb(Disturbance::Eio)) },
    Form { verb: "enospc", arguments: "", parse: |_| Ok(Action::Disturb(Disturbance::Enospc)) },
];

/// Returns the form of the action with this verb.
pub(super) fn form(verb: &str) -> Option<&'static Form> {
    FORMS.iter().chain(&FAULT_FORMS).find(|it| it.verb == verb)
}

/// Returns the verbs that a reader may use.
pub(super) fn verbs(reader: Reader) -> impl Iterator<Item = &'static str> {
    let faults = FAULT_FORMS.iter().filter(move |_| reader == Reader::Experiment);
    let faultless = ["break", "halt", "replace-kernel", "replace-engine"];
    let forms = FORMS.iter().filter(move |it| reader == Reader::Operator || !faultless.contains(&it.verb));
    forms.chain(faults).map(|it| it.verb)
}

/// Words that people write when they mean one of the verbs, each with that verb.
pub(super) const SYNONYMS: [(&str, &str); 13] = [
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
    ("engine", "replace-engine"),
];

/// A thing that may stand at some place of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    Place(Reader),
    Colon,
    Verb(Reader),
    Vat,
    Number,
    Bug,
    Invariant,
    Bit,
    Bytes,
    Sector,
    Word(&'static str),
    Hash,
    Text,
    Version,
    End,
}

impl Want {
    /// Describes what is wanted, for the reader of an error.
    pub(super) fn describe(self) -> Cow<'static, str> {
        match self {
            Want::Place(Reader::Operator) => "a place (`crank-7890`, `v56/delivery-1234` or `block-120`)".into(),
            Want::Place(Reader::Experiment) => {
                "a place (`crank-7890`, `v56/delivery-1234`, `v56/delivery-1234/syscall-3`, `commit-4`, …)".into()
            }
            Want::Colon => "a colon".into(),
            Want::Verb(reader) => {
                let verbs: Vec<String> = verbs(reader).map(|it| format!("`{it}`")).collect();
                any_of(&verbs).into()
            }
            Want::Vat => "a vat like `v56`".into(),
            Want::Word(word) => format!("`{word}`").into(),
            Want::Hash => "at least 8 hexadecimal digits of a hash".into(),
            Want::Text => "a text in double quotes".into(),
            Want::Version => "the number of a kernel version".into(),
            Want::Number => "a number".into(),
            Want::Bug => "the name of a bug that can be planted".into(),
            Want::Invariant => "the name of an invariant of the kernel".into(),
            Want::Bit => "an address and the number of a bit, as in `1048576.3`".into(),
            Want::Bytes => "a text in double quotes, or bytes like `0x00ff`".into(),
            Want::Sector => "the size of a sector, a power of two from 512 to 65536".into(),
            Want::End => "the end of the line".into(),
        }
    }
}

/// Joins texts as alternatives: `a`, `a or b`, `a, b or c`.
pub(super) fn any_of(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Returns a text as a string of the grammar: one of JSON's, on one line, in which every control character is
/// escaped.
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
        let faults: Vec<String> = FAULT_FORMS.iter().map(|it| format!("\"{}\"{}", it.verb, it.arguments)).collect();
        let start = FAULT_GRAMMAR.find("| \"plant\"").expect("has faults");
        let end = FAULT_GRAMMAR.find("bug       =").expect("has bugs");
        let printed: Vec<&str> = FAULT_GRAMMAR[start + 2..end].trim_end().split("\n          | ").collect();
        assert_eq!(printed, faults);
    }
}
