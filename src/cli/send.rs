//! `send` and `call`: messages from outside to a state that exists.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

#[cfg(feature = "serve")]
use crate::cli::running::RunningHost;
use crate::{
    cli::{
        Exit, Output, Usage, complete, interface,
        named::find_vat,
        output::harmless,
        run::{self, Begun, RunArgs},
        state,
    },
    host::controller::{Arg, Host, Outcome, Sent, To, expired},
    inspect::view::said::said,
    model::{id::KRef, smallcaps},
};

/// Send a message to a vat of a state that exists
///
/// The message is durable when this returns, as the beginning of a block; the next run delivers it, or this one with `--run`. Each
/// argument is JSON. Where the vat's module says what its root answers to (`vathost check --interface`), the message is checked by that
/// before it is sent. In an argument a text `"@bank"` is the root of that vat, `"@ko31"` an object or a promise that a result named, `"@@x"` the
/// text `@x`; an integer beyond 53 bits arrives as a bigint, and one beyond 64 bits is refused. Every replica must be sent the same.
#[derive(Args, Debug)]
#[command(
    override_usage = "vathost send [OPTIONS] DIR VAT METHOD [JSON]...\n       vathost send [OPTIONS] --state DIR VAT METHOD [JSON]...",
    after_help = "\
Examples:
  vathost send ./state bank deposit 100
  vathost send --state ./state bank transfer '\"@shop\"' '{\"amount\": 5}' --run
  vathost send ./state v3 hello '\"Ada\"' --json | jq -r .promise"
)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    message: MessageArgs,
    /// Run the state then, until nothing is left to do
    #[arg(long)]
    run: bool,
}

/// Send a message, run the state, and print the answer
///
/// As `send --run`, but what is printed is the answer alone. Exits with 1 where it is a rejection, or does not come.
#[derive(Args, Debug)]
#[command(
    override_usage = "vathost call [OPTIONS] DIR VAT METHOD [JSON]...\n       vathost call [OPTIONS] --state DIR VAT METHOD [JSON]...",
    after_help = "\
Examples:
  vathost call ./state bank balance
  vathost call --state ./state greeter hello '\"Ada\"' --json | jq .value"
)]
pub(crate) struct CallArgs {
    #[command(flatten)]
    message: MessageArgs,
}

#[derive(Args, Debug)]
struct MessageArgs {
    /// The folder of the state (unless --state names it), the vat (`v3`, its name, or `ko31`), the method, and its arguments
    #[arg(value_name = "DIR VAT METHOD JSON", allow_negative_numbers = true, add = complete::message_words())]
    words: Vec<String>,
    /// The folder of the state, instead of the first word
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The vat, instead of a word
    #[arg(long, value_name = "VAT", add = complete::vat())]
    vat: Option<String>,
    /// Run this many blocks at the most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    blocks: Option<u64>,
    /// Send what the vat's module says that the vat will refuse
    #[arg(long)]
    unchecked: bool,
    /// Record what happens, as `run` does
    #[arg(long, value_name = "FILE")]
    slog: Option<PathBuf>,
    /// The directives that the host obeys; otherwise those that `host.toml` in the folder names
    #[arg(long, value_name = "FILE")]
    directives: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The words of a message, parsed.
struct SendWords {
    state: PathBuf,
    vat: String,
    method: String,
    args: Vec<Value>,
    /// Whether the message is sent without a check against the vat's interface.
    unchecked: bool,
}

impl SendWords {
    /// Makes the message as a running host takes it.
    #[cfg(feature = "serve")]
    fn message(&self) -> Value {
        json!({ "to": self.vat, "method": self.method, "args": self.args })
    }
}

impl MessageArgs {
    fn read(&self, verb: &str) -> Result<SendWords, Usage> {
        let mut words = self.words.iter();
        let state = self.state.clone().or_else(|| words.next().map(PathBuf::from));
        let vat = self.vat.clone().or_else(|| words.next().cloned());
        let (Some(state), Some(vat), Some(method)) = (state, vat, words.next()) else {
            let hint = format!("as in `vathost {verb} ./state bank deposit 100`");
            return Err(Usage::new("the state, the vat and the method are wanted", hint));
        };
        let args = words.enumerate().map(|(at, text)| {
            smallcaps::read_json(text.as_bytes()).map_err(|why| {
                let hint = "each argument is JSON: a text has quotes of its own, as in '\"Ada\"'";
                Usage::new(format!("argument {}, `{text}`: {why}", at + 1), hint)
            })
        });
        let (method, args) = (method.clone(), args.collect::<Result<_, _>>()?);
        Ok(SendWords { state, vat, method, args, unchecked: self.unchecked })
    }

    fn run_args(&self, words: &SendWords) -> RunArgs {
        RunArgs::of_state(&words.state, self.slog.clone(), self.directives.clone(), self.blocks, self.json)
    }
}

pub(crate) fn cmd_send(args: SendArgs, output: &Output) -> anyhow::Result<Exit> {
    let words = args.message.read("send")?;
    #[cfg(feature = "serve")]
    if let Some(host) = RunningHost::of(&words.state) {
        return send_to(host, &words, args.run, args.message.json, output);
    }
    let run_args = args.message.run_args(&words);
    let (mut begun, sent) = send(&words, &run_args, output)?;
    if !args.run {
        let controller = &mut begun.controller;
        controller.take_in(&begun.policy)?;
        controller.slog().flush()?;
        let promise = sent.promise();
        if args.message.json {
            output.json(&object(&words, sent, controller, &Outcome::Pending))?;
        } else {
            output.line(format!(
                "sent; its result is {promise}. `vathost run --state {}` delivers it",
                words.state.display()
            ))?;
        }
        return Ok(Exit::Ok);
    }
    let interrupted = run::go_on(&mut begun, &run_args, None, output)?;
    let controller = &begun.controller;
    let outcome = controller.outcome(sent)?;
    if args.message.json {
        output.json(&object(&words, sent, controller, &outcome))?;
    } else {
        output.line(format!("{}.{} {}", harmless(&words.vat), harmless(&words.method), text(&outcome)))?;
        output.line(format!("state hash   {}", controller.standing().state_hash))?;
    }
    Ok(if interrupted { Exit::Interrupted } else { Exit::Ok })
}

pub(crate) fn cmd_call(args: CallArgs, output: &Output) -> anyhow::Result<Exit> {
    let args = args.message;
    let words = args.read("call")?;
    #[cfg(feature = "serve")]
    if let Some(host) = RunningHost::of(&words.state) {
        return call_to(host, &words, args.json, output);
    }
    let run_args = args.run_args(&words);
    let (mut begun, sent) = send(&words, &run_args, output)?;
    let interrupted = run::go_on(&mut begun, &run_args, None, output)?;
    let controller = &begun.controller;
    let outcome = controller.outcome(sent)?;
    if args.json {
        output.json(&object(&words, sent, controller, &outcome))?;
    } else if let Outcome::Fulfilled(data) = &outcome {
        output.line(harmless(&said(&String::from_utf8_lossy(&data.body), &data.slots)))?;
    } else {
        output.line(text(&outcome))?;
    }
    if outcome == Outcome::Pending {
        output.note(format!("no answer yet: it will be {}", sent.promise()));
    }
    Ok(match outcome {
        _ if interrupted => Exit::Interrupted,
        Outcome::Fulfilled(_) => Exit::Ok,
        Outcome::Rejected(_) | Outcome::Pending | Outcome::Expired(_) => Exit::Findings,
    })
}

/// Has a running host send the message. With `run`, prints the answer too, once the host is at rest.
#[cfg(feature = "serve")]
fn send_to(host: RunningHost, words: &SendWords, run: bool, as_json: bool, output: &Output) -> anyhow::Result<Exit> {
    let answer = host.ask(if run { "/control/call" } else { "/control/send" }, &words.message())?;
    if as_json {
        output.json(&object_of(words, answer))?;
    } else if run {
        output.line(format!("{}.{} {}", harmless(&words.vat), harmless(&words.method), text_of(&answer)))?;
        output.line(format!("state hash   {}", harmless(answer["stateHash"].as_str().unwrap_or_default())))?;
    } else {
        let promise = harmless(answer["promise"].as_str().unwrap_or_default());
        output.line(format!("sent; its result is {promise}. The running host delivers it"))?;
    }
    Ok(Exit::Ok)
}

/// Has a running host send the message, and prints its answer.
#[cfg(feature = "serve")]
fn call_to(host: RunningHost, words: &SendWords, as_json: bool, output: &Output) -> anyhow::Result<Exit> {
    let answer = host.ask("/control/call", &words.message())?;
    let is_fulfilled = answer["status"] == "fulfilled";
    if answer["status"] == "pending" {
        output.note(format!("no answer yet: it will be {}", harmless(answer["promise"].as_str().unwrap_or_default())));
    }
    if as_json {
        output.json(&object_of(words, answer))?;
    } else {
        let text = text_of(&answer);
        output.line(if is_fulfilled { text.trim_start_matches("fulfilled ") } else { &text })?;
    }
    Ok(if is_fulfilled { Exit::Ok } else { Exit::Findings })
}

/// The answer of a running host, as people read it.
#[cfg(feature = "serve")]
fn text_of(answer: &Value) -> String {
    let status = answer["status"].as_str().unwrap_or_default();
    let Some(body) = answer["body"].as_str() else { return harmless(status) };
    let slots: Vec<&str> = answer["slots"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    format!("{} {}", harmless(status), harmless(&said(body, &slots)))
}

/// The object that is printed of a running host's answer: the same as of a state at rest.
#[cfg(feature = "serve")]
fn object_of(words: &SendWords, mut answer: Value) -> Value {
    (answer["to"], answer["method"]) = (words.vat.as_str().into(), words.method.as_str().into());
    let plain = answer["body"].as_str().and_then(|it| serde_json::from_str(it.strip_prefix('#')?).ok());
    if let Some(value) = plain.and_then(|it: Value| smallcaps::to_json(&it).ok()) {
        answer["value"] = value;
    }
    answer
}

/// Opens the state, as `run` does, and gives it the message.
fn send(words: &SendWords, args: &RunArgs, output: &Output) -> anyhow::Result<(Begun, Sent)> {
    state::must_exist(&words.state)?;
    let mut begun = run::begin(args, None, output)?;
    let controller = &mut begun.controller;
    let to = match words.vat.parse::<KRef>() {
        Ok(kref) => To::Held(kref),
        Err(_) => To::Vat(find_vat(controller.block()?.tables(), &words.vat)?),
    };
    if let To::Vat(vat) = to
        && !words.unchecked
    {
        interface::check_message(controller.block()?, vat, (&words.vat, &words.method, &words.args), output)?;
    }
    let given = words.args.iter().cloned().map(Arg::Told);
    let sent = controller.send(to, &words.method, given).map_err(|fault| {
        Usage::new(
            fault.why.clone(),
            "`vathost inspect DIR vats` lists the vats, `vathost run --state DIR` the results and what they hold",
        )
    })?;
    Ok((begun, sent))
}

fn text(outcome: &Outcome) -> String {
    let (how, data) = match outcome {
        Outcome::Pending => return "pending".to_owned(),
        Outcome::Expired(blocks) => return expired(*blocks),
        Outcome::Fulfilled(data) => ("fulfilled", data),
        Outcome::Rejected(data) => ("rejected", data),
    };
    format!("{how} {}", harmless(&said(&String::from_utf8_lossy(&data.body), &data.slots)))
}

fn object(words: &SendWords, sent: Sent, controller: &Host, outcome: &Outcome) -> Value {
    let (status, data) = match outcome {
        Outcome::Pending => ("pending", None),
        Outcome::Expired(_) => ("expired", None),
        Outcome::Fulfilled(data) => ("fulfilled", Some(data)),
        Outcome::Rejected(data) => ("rejected", Some(data)),
    };
    let standing = controller.standing();
    let mut object = json!({
        "to": words.vat, "method": words.method, "promise": sent.promise().to_string(), "status": status,
        "height": standing.height, "stateHash": standing.state_hash,
    });
    if let Some(data) = data {
        let body = String::from_utf8_lossy(&data.body);
        let plain = body.strip_prefix('#').and_then(|it| serde_json::from_str(it).ok());
        object["body"] = (*body).into();
        object["slots"] = data.slots.iter().map(ToString::to_string).collect();
        if let Some(value) = plain.and_then(|it: Value| smallcaps::to_json(&it).ok()) {
            object["value"] = value;
        }
    }
    object
}
