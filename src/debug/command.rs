//! The debugger's commands: the table of them, and the parser that follows it.

use std::{path::PathBuf, str::FromStr};

use crate::{
    debug::Refusal,
    directive::{Trigger, nearest},
    model::{
        id::{KRef, ObjectId, PromiseId, VatId},
        value::SYSCALL_KINDS,
    },
};

/// A command of the debugger. A vat is given by number or name; without one, the vat of the current delivery is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the table below says what each does")]
pub enum Command {
    Where,
    Delivery,
    Vats,
    Vat(Option<String>),
    Queue,
    Clist(Option<String>),
    Promise(Option<PromiseId>),
    Object(Option<ObjectId>),
    Kv { vat: Option<String>, prefix: String },
    Mem { vat: Option<String>, at: u64, len: u64 },
    Directives,
    Why(KRef),
    Next(u64),
    Step,
    Continue,
    Until(Trigger),
    Back(u64),
    Break(Option<Breakpoint>),
    Unbreak(usize),
    Skip,
    Pause { vat: Option<String>, why: Option<String> },
    Resume(String),
    Terminate { vat: Option<String>, why: Option<String> },
    Upgrade { vat: Option<String>, file: PathBuf },
    Retry,
    Add(String),
    Forget,
    WriteDirective(PathBuf),
    Help(Option<&'static Form>),
    Quit,
}

/// A place at which the debugger stops on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Breakpoint {
    /// Before that crank, delivery or block, written as the trigger of a directive.
    Place(Trigger),
    /// At each syscall of this kind.
    Syscall(&'static str),
    /// Before each delivery to this vat.
    Vat(VatId),
    /// Before each delivery that names this promise, and at each such syscall.
    Promise(PromiseId),
}

impl std::fmt::Display for Breakpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Breakpoint::Place(trigger) => trigger.fmt(f),
            Breakpoint::Syscall(kind) => write!(f, "syscall {kind}"),
            Breakpoint::Vat(vat) => write!(f, "every delivery to {vat}"),
            Breakpoint::Promise(promise) => write!(f, "whatever names {promise}"),
        }
    }
}

type Parse = fn(&mut CommandWords<'_>) -> Result<Command, Refusal>;

/// A row of the table of commands: its spelling, help and parser.
pub struct Form {
    /// The name of the command.
    pub verb: &'static str,
    /// The short name; empty if there is none.
    pub short: &'static str,
    /// The arguments, as help shows them.
    pub arguments: &'static str,
    /// The effect of the command, in a line.
    pub about: &'static str,
    parse: Parse,
}

impl PartialEq for Form {
    fn eq(&self, other: &Form) -> bool {
        self.verb == other.verb
    }
}

impl Eq for Form {}

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.verb)
    }
}

const fn form(
    verb: &'static str,
    short: &'static str,
    arguments: &'static str,
    about: &'static str,
    parse: Parse,
) -> Form {
    Form { verb, short, arguments, about, parse }
}

/// Every command there is, in the order in which `help` lists them.
pub static FORMS: [Form; 30] = [
    form("where", "w", "", "the crank ahead, the block, the hashes", |_| Ok(Command::Where)),
    form("delivery", "d", "", "what is delivered, in the kernel's references and the vat's", |_| Ok(Command::Delivery)),
    form("vats", "", "", "all vats", |_| Ok(Command::Vats)),
    form("vat", "", "[VAT]", "all about a vat", |it| Ok(Command::Vat(it.maybe()))),
    form("queue", "", "", "what waits, in the order in which it is taken", |_| Ok(Command::Queue)),
    form("clist", "", "[VAT]", "what a vat knows, and under which names", |it| Ok(Command::Clist(it.maybe()))),
    form("promise", "p", "[kp41]", "one promise, or all", |it| {
        Ok(Command::Promise(it.parse_maybe("a promise like `kp41`")?))
    }),
    form("object", "o", "[ko20]", "one object, or all", |it| {
        Ok(Command::Object(it.parse_maybe("an object like `ko20`")?))
    }),
    form("kv", "", "[VAT [PREFIX]]", "the vatstore of a vat", |it| {
        Ok(Command::Kv { vat: it.maybe(), prefix: it.maybe().unwrap_or_default() })
    }),
    form("mem", "", "[VAT] ADDR LEN", "bytes of a vat's memory", mem),
    form("directives", "", "", "the directives in force, and what was tried", |_| Ok(Command::Directives)),
    form("why", "", "kp41|ko20", "how it came to be, who decides, who waits", |it| {
        Ok(Command::Why(it.parse("a promise or object like `kp41`")?))
    }),
    form("next", "n", "[N]", "runs a crank, or N", |it| Ok(Command::Next(it.count()?))),
    form("step", "s", "", "runs to the next syscall", |_| Ok(Command::Step)),
    form("continue", "c", "", "runs to a breakpoint, a panic, or the end", |_| Ok(Command::Continue)),
    form(
        "until",
        "u",
        "PLACE",
        "runs to just before `crank-12`, `v3/delivery-5`, `block-7` or a `panic`",
        |it| match it.is("panic") {
            true => Ok(Command::Continue),
            false => Ok(Command::Until(it.place()?)),
        },
    ),
    form("back", "b", "[N]", "a crank back, or N, by running again from the commit", |it| {
        Ok(Command::Back(it.count()?))
    }),
    form("break", "", "[PLACE|syscall KIND|VAT|kp41]", "stops there from now on; alone: lists the places", breakpoint),
    form("unbreak", "", "N", "forgets a breakpoint, by its number", |it| {
        Ok(Command::Unbreak(it.parse("the number of a breakpoint: `break` lists them")?))
    }),
    form("skip", "", "", "tries: the vat is not given the delivery", |_| Ok(Command::Skip)),
    form("pause", "", "[VAT] [reason WORDS]", "tries: the vat gets nothing from this crank on", |it| {
        let (vat, why) = it.vat_and_reason();
        Ok(Command::Pause { vat, why })
    }),
    form("resume", "", "VAT", "tries: a paused vat gets what it was kept from", |it| {
        Ok(Command::Resume(it.need("a vat")?.to_owned()))
    }),
    form("terminate", "", "[VAT] [reason WORDS]", "tries: the vat dies before this crank", |it| {
        let (vat, why) = it.vat_and_reason();
        Ok(Command::Terminate { vat, why })
    }),
    form("upgrade", "", "[VAT] FILE", "tries: the vat runs this module from this crank on", upgrade),
    form("retry", "r", "", "runs the last crank again, with the directives as they are now", |_| Ok(Command::Retry)),
    form("add", "", "LINE", "one more directive, to be obeyed when its place comes", |it| {
        let line = it.rest();
        if line.is_empty() {
            Err(it.missing("a directive like `crank-7890: skip v56`"))
        } else {
            Ok(Command::Add(line))
        }
    }),
    form("forget", "", "", "forgets all that was tried", |_| Ok(Command::Forget)),
    form("write-directive", "", "FILE", "writes the directives in force, and what was tried, into a file", |it| {
        Ok(Command::WriteDirective(it.need("a file")?.into()))
    }),
    form("help", "?", "[COMMAND]", "this, or more on one command", |it| match it.next() {
        None => Ok(Command::Help(None)),
        Some(verb) => Ok(Command::Help(Some(find(verb)?))),
    }),
    form("quit", "q", "", "ends the session", |_| Ok(Command::Quit)),
];

fn mem(words: &mut CommandWords<'_>) -> Result<Command, Refusal> {
    let given: Vec<&str> = std::iter::from_fn(|| words.next()).collect();
    let (vat, at, len) = match given[..] {
        [at, len] => (None, at, len),
        [vat, at, len] => (Some(vat.to_owned()), at, len),
        _ => return Err(words.missing("an address and a length, such as `mem 0x100 64`")),
    };
    Ok(Command::Mem { vat, at: address(at)?, len: address(len)? })
}

fn address(word: &str) -> Result<u64, Refusal> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    number.ok_or_else(|| Refusal::new(format!("`{word}` is no number"), "write 4096 or 0x1000"))
}

fn breakpoint(words: &mut CommandWords<'_>) -> Result<Command, Refusal> {
    let Some(first) = words.next() else { return Ok(Command::Break(None)) };
    let place = if let Ok(vat) = first.parse() {
        Breakpoint::Vat(vat)
    } else if let Ok(promise) = first.parse() {
        Breakpoint::Promise(promise)
    } else if first == "syscall" {
        let word = words.need("a kind of syscall, such as `resolve`")?;
        let kind = SYSCALL_KINDS.iter().find(|it| **it == word).ok_or_else(|| {
            let near = nearest(word, SYSCALL_KINDS).map(|it| format!("did you mean `{it}`? "));
            let hint = format!("{}there are: {}", near.unwrap_or_default(), SYSCALL_KINDS.join(", "));
            Refusal::new(format!("there is no syscall `{word}`"), hint)
        })?;
        Breakpoint::Syscall(kind)
    } else {
        Breakpoint::Place(place(first)?)
    };
    Ok(Command::Break(Some(place)))
}

fn upgrade(words: &mut CommandWords<'_>) -> Result<Command, Refusal> {
    let first = words.need("a module")?.to_owned();
    Ok(match words.next() {
        Some(file) => Command::Upgrade { vat: Some(first), file: file.into() },
        None => Command::Upgrade { vat: None, file: first.into() },
    })
}

fn place(word: &str) -> Result<Trigger, Refusal> {
    word.parse().map_err(|problem: Box<crate::directive::Problem>| {
        Refusal::new(format!("`{word}` is no place"), problem.hint.unwrap_or(problem.expected))
    })
}

fn find(verb: &str) -> Result<&'static Form, Refusal> {
    let known = FORMS.iter().find(|it| it.verb == verb || (it.short == verb && !verb.is_empty()));
    known.ok_or_else(|| {
        let near = nearest(verb, FORMS.iter().map(|it| it.verb)).map(|it| format!("did you mean `{it}`?"));
        Refusal::new(format!("there is no command `{verb}`"), near.unwrap_or_else(|| "`help` lists them".to_owned()))
    })
}

impl Command {
    /// Parses a line; `None` if it is blank or a comment.
    ///
    /// # Errors
    ///
    /// The mistake in the line, and what may have been meant.
    pub fn parse(line: &str) -> Result<Option<Command>, Refusal> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (verb, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let form = find(verb)?;
        let mut words = CommandWords { form, rest: rest.trim() };
        let command = (form.parse)(&mut words)?;
        match words.rest {
            "" => Ok(Some(command)),
            rest => Err(Refusal::new(format!("`{rest}` is too much for `{}`", form.verb), words.usage())),
        }
    }
}

/// The words behind a verb.
struct CommandWords<'a> {
    form: &'static Form,
    rest: &'a str,
}

impl<'a> CommandWords<'a> {
    /// The next word. A `#` begins a comment, as in a directive file.
    fn next(&mut self) -> Option<&'a str> {
        if self.rest.starts_with('#') {
            self.rest = "";
        }
        let (word, rest) = self.rest.split_once(char::is_whitespace).unwrap_or((self.rest, ""));
        self.rest = rest.trim_start();
        if self.rest.starts_with('#') {
            self.rest = "";
        }
        (!word.is_empty()).then_some(word)
    }

    fn maybe(&mut self) -> Option<String> {
        self.next().map(str::to_owned)
    }

    fn need(&mut self, what: &str) -> Result<&'a str, Refusal> {
        self.next().ok_or_else(|| self.missing(what))
    }

    fn parse<T: FromStr>(&mut self, what: &str) -> Result<T, Refusal> {
        let word = self.need(what)?;
        word.parse().map_err(|_| Refusal::new(format!("`{word}` is not {what}"), self.usage()))
    }

    fn parse_maybe<T: FromStr>(&mut self, what: &str) -> Result<Option<T>, Refusal> {
        if self.rest.is_empty() { Ok(None) } else { self.parse(what).map(Some) }
    }

    /// Reads a number of cranks; one if there is none.
    fn count(&mut self) -> Result<u64, Refusal> {
        let count = self.parse_maybe("a number of cranks")?.unwrap_or(1);
        if count == 0 { Err(Refusal::new("0 cranks are none", self.usage())) } else { Ok(count) }
    }

    /// Returns whether this word is all that is left; then it is read.
    fn is(&mut self, word: &str) -> bool {
        let is = self.rest.split('#').next().is_some_and(|it| it.trim() == word);
        if is {
            self.rest = "";
        }
        is
    }

    fn place(&mut self) -> Result<Trigger, Refusal> {
        place(self.need("a place like `crank-12`, `v3/delivery-5` or `block-7`")?)
    }

    fn vat_and_reason(&mut self) -> (Option<String>, Option<String>) {
        let vat = if self.rest.starts_with("reason ") { None } else { self.maybe() };
        let why = self.rest.strip_prefix("reason ").map(|it| it.trim().trim_matches('"').to_owned());
        if why.is_some() {
            self.rest = "";
        }
        (vat, why)
    }

    fn rest(&mut self) -> String {
        std::mem::take(&mut self.rest).to_owned()
    }

    fn usage(&self) -> String {
        usage(self.form)
    }

    fn missing(&self, what: &str) -> Refusal {
        Refusal::new(format!("`{}` needs {what}", self.form.verb), self.usage())
    }
}

/// Returns the usage of a command, in a line.
fn usage(form: &Form) -> String {
    format!("usage: {} {}", form.verb, form.arguments).trim_end().to_owned()
}

/// Returns the text that `help` prints: for one command, or for all of them.
pub(super) fn help(form: Option<&Form>) -> String {
    match form {
        Some(form) if form.short.is_empty() => format!("{}\n  {}", usage(form), form.about),
        Some(form) => format!("{}\n  {} (short: {})", usage(form), form.about, form.short),
        None => {
            let rows = FORMS.iter().map(|it| {
                vec![
                    format!("{} {}", it.verb, it.arguments).trim_end().to_owned(),
                    it.short.to_owned(),
                    it.about.to_owned(),
                ]
            });
            crate::inspect::view::text::table(&["command", "short", "what it does"], &[0, 1, 2], rows)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(line: &str) -> String {
        let refusal = Command::parse(line).expect_err(line);
        format!("{}; {}", refusal.what, refusal.hint)
    }

    fn parsed(line: &str) -> Option<Command> {
        Command::parse(line).expect(line)
    }

    #[test]
    fn every_command_is_read_and_what_is_too_much_is_refused() {
        for form in &FORMS {
            assert!(find(form.verb).is_ok_and(|it| it == form));
            let mut shorts = FORMS.iter().filter(|it| !it.short.is_empty() && it.short == form.short);
            assert!(form.short.is_empty() || shorts.by_ref().count() == 1, "{form:?}");
        }
        assert_eq!(parsed("  # nothing"), None);
        assert_eq!(parsed("n 3 # three"), Some(Command::Next(3)));
        assert_eq!(parsed("until panic"), Some(Command::Continue));
        assert_eq!(hint("where now"), "`now` is too much for `where`; usage: where");
        assert_eq!(hint("next many"), "`many` is not a number of cranks; usage: next [N]");
        assert_eq!(
            hint("mem"),
            "`mem` needs an address and a length, such as `mem 0x100 64`; usage: mem [VAT] ADDR LEN"
        );
        assert_eq!(parsed("mem bank 0x10 16"), Some(Command::Mem { vat: Some("bank".into()), at: 16, len: 16 }));
        let why = Some("so it is".to_owned());
        assert_eq!(parsed("pause reason so it is"), Some(Command::Pause { vat: None, why }));
    }

    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        assert_eq!(hint("nxt"), "there is no command `nxt`; did you mean `next`?");
        assert_eq!(hint("xyzzy"), "there is no command `xyzzy`; `help` lists them");
        assert_eq!(hint("until crnk-7"), "`crnk-7` is no place; did you mean `crank-7`?");
        assert!(hint("break syscall reslve").contains("did you mean `resolve`?"));
        assert_eq!(hint("why v3"), "`v3` is not a promise or object like `kp41`; usage: why kp41|ko20");
    }
}
