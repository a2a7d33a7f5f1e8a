//! Verbs that ask a running node over HTTP: `status`, `submit`, `result`, `tail`.

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use clap::Args;
use serde_json::Value;
use vathost::host::staged::BlockInput;

use super::{Exit, Usage, log::short, output::Output};
use crate::{
    home::{Home, read_key},
    http::SubmissionBody,
    keys::Digest,
    submit::{Submission, WINDOW},
};

/// The longest that a request of ours takes.
const REQUEST_TIME: Duration = Duration::from_secs(90);

/// Where a running node is.
#[derive(Args, Debug)]
struct NodeAddress {
    /// The home of the node, whose settings say where it is
    #[arg(long, value_name = "DIR", required_unless_present = "node")]
    home: Option<PathBuf>,
    /// Its address, instead, as in `http://127.0.0.1:7200`
    #[arg(long, value_name = "URL")]
    node: Option<String>,
}

impl NodeAddress {
    fn url(&self) -> anyhow::Result<String> {
        match (&self.node, &self.home) {
            (Some(url), _) => Ok(url.trim_end_matches('/').to_owned()),
            (None, Some(home)) => Ok(format!("http://{}", Home::at(home).settings()?.http)),
            (None, None) => Err(Usage::new("no node is named", "name one with --home or --node").into()),
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(REQUEST_TIME)).http_status_as_error(false).build().into()
}

/// Asks a node by HTTP. A refusal is an error with the node's own words.
pub(super) fn ask(url: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let sent = match body {
        Some(body) => agent().post(url).content_type("application/json").send(body.to_string()),
        None => agent().get(url).call(),
    };
    let mut answer = sent.map_err(|err| {
        Usage::new(format!("{url}: {err}"), "is the node running? `vathost-node start --home DIR` starts it")
    })?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().with_context(|| format!("read the answer of {url}"))?;
    let value: Value = serde_json::from_str(&text).with_context(|| format!("{url} does not answer in JSON"))?;
    if status >= 400 && value["status"] != "unknown" {
        let detail = value["detail"].as_str().unwrap_or(&text).to_owned();
        return Err(
            Usage::new(format!("the node answers {status}: {detail}"), "docs/validators.md has its routes").into()
        );
    }
    Ok(value)
}

/// Show where a node stands
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vathost-node status --home ./home\n  vathost-node status --node http://127.0.0.1:7200 --json"
)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    address: NodeAddress,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_status(args: &StatusArgs, output: &Output) -> anyhow::Result<Exit> {
    let status = ask(&format!("{}/status", args.address.url()?), None)?;
    let halted = !status["halt"].is_null();
    if args.json {
        output.json(&status)?;
    } else {
        let list = |name: &str| {
            let items = status[name].as_array().map(Vec::as_slice).unwrap_or_default();
            let items: Vec<String> =
                items.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)).collect();
            if items.is_empty() { "none".to_owned() } else { items.join(", ") }
        };
        let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
        output.line(format!("{} of chain {}", text("name"), text("chain")))?;
        output.line(format!("height      {}", status["height"]))?;
        output.line(format!("state hash  {}", text("stateHash")))?;
        output.line(format!("connected   {}", list("peers")))?;
        output.line(format!("waiting     {}", status["waiting"]))?;
        output.line(format!("directives  {}", list("directives")))?;
        output.line(format!("not running {}", list("notRunning")))?;
        if halted {
            output.line(format!("halted      {}", status["halt"]["why"].as_str().unwrap_or_default()))?;
        }
    }
    Ok(if halted { Exit::FINDINGS } else { Exit::OK })
}

/// Send a message to an exported vat, or another input, and wait for what comes of it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vathost-node submit --home ./home north makePurse 100
  vathost-node submit --home ./home --key ./me.key bank pay '{\"amount\": 3}' '\"@alice\"'
  vathost-node submit --home ./home --key ./me.key --input '{\"kind\": \"mail\", \"number\": 1, \"message\": \"hello\"}'")]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    address: NodeAddress,
    /// The vat's exported name
    #[arg(required_unless_present = "input")]
    to: Option<String>,
    /// The method
    #[arg(required_unless_present = "input")]
    method: Option<String>,
    /// The arguments, each JSON or else a text
    args: Vec<String>,
    /// Another input than a message, as JSON: of the kind `mail`, `acknowledgeMail`, `forget` or `device`
    #[arg(long, value_name = "JSON", conflicts_with_all = ["to", "method", "args"])]
    input: Option<String>,
    /// The secret key that signs it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A number that makes it another submission than one that is otherwise the same [default: random]
    #[arg(long, value_name = "N")]
    nonce: Option<u64>,
    /// Seconds to wait for what comes of it; with 0 only its id is printed
    #[arg(long, value_name = "S", default_value_t = 30)]
    wait: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_submit(args: &SubmitArgs, output: &Output) -> anyhow::Result<Exit> {
    let url = args.address.url()?;
    let status = ask(&format!("{url}/status"), None)?;
    let text = status["chainId"].as_str().unwrap_or_default();
    let chain: Digest = text.parse().with_context(|| format!("{url} names no chain"))?;
    let height = status["height"].as_u64().unwrap_or(0);
    let key = args.key.as_deref().map(read_key).transpose()?;
    let nonce = match args.nonce {
        Some(nonce) => nonce,
        None => {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).context("make a random number")?;
            u64::from_be_bytes(bytes)
        }
    };
    let submission = Submission::new(&chain, input(args)?, nonce, height + WINDOW, key.as_ref());
    let body = serde_json::to_value(SubmissionBody::from(&submission))?;
    let answer = ask(&format!("{url}/submit?wait={}", args.wait), Some(&body))?;
    say_answer(&answer, args.json, output)
}

fn input(args: &SubmitArgs) -> anyhow::Result<Vec<u8>> {
    if let Some(input) = &args.input {
        let parsed: Result<BlockInput, _> = serde_json::from_str(input);
        parsed.map_err(|err| {
            Usage::new(format!("--input: {err}"), "as in '{\"kind\": \"forget\", \"result\": \"kp41\"}'")
        })?;
        return Ok(input.clone().into_bytes());
    }
    let value = |it: &String| serde_json::from_str(it).unwrap_or_else(|_| Value::String(it.clone()));
    let (to, method) = (args.to.clone().unwrap_or_default(), args.method.clone().unwrap_or_default());
    Ok(serde_json::to_vec(&BlockInput::Send { to, method, args: args.args.iter().map(value).collect() })?)
}

/// Prints what became of a submission.
fn say_answer(answer: &Value, as_json: bool, output: &Output) -> anyhow::Result<Exit> {
    let status = answer["status"].as_str().unwrap_or_default();
    let exit = if ["rejected", "refused", "unknown"].contains(&status) { Exit::FINDINGS } else { Exit::OK };
    if as_json {
        output.json(answer)?;
        return Ok(exit);
    }
    let id = answer["id"].as_str().unwrap_or_default();
    let value = match status {
        "fulfilled" => answer["value"].to_string(),
        "rejected" => answer["reason"].to_string(),
        "refused" => answer["refused"].as_str().unwrap_or_default().to_owned(),
        _ => String::new(),
    };
    let block = answer["height"].as_u64().map(|it| format!(" in block {it}")).unwrap_or_default();
    output.line(format!("{status}{block} {value}").trim_end())?;
    output.note(format!("id {id}"));
    Ok(exit)
}

/// Ask any node what became of a submission
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  vathost-node result --home ./home 5f3a…")]
pub(super) struct ResultArgs {
    #[command(flatten)]
    address: NodeAddress,
    /// The id of the submission
    id: Digest,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "S", default_value_t = 0)]
    wait: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn cmd_result(args: &ResultArgs, output: &Output) -> anyhow::Result<Exit> {
    let url = format!("{}/result/{}?wait={}", args.address.url()?, args.id, args.wait);
    say_answer(&ask(&url, None)?, args.json, output)
}

/// Follow the blocks of a node
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  vathost-node tail --home ./home\n  vathost-node tail --home ./home --from 1 --blocks 10"
)]
pub(super) struct TailArgs {
    #[command(flatten)]
    address: NodeAddress,
    /// The first block [default: the next one]
    #[arg(long, value_name = "H")]
    from: Option<u64>,
    /// Stop after this many blocks
    #[arg(long, value_name = "N")]
    blocks: Option<u64>,
    /// Print each block as a JSON object
    #[arg(long)]
    json: bool,
}

/// The time between two questions whether there is a new block.
const ASK_AGAIN: Duration = Duration::from_millis(200);

pub(super) fn cmd_tail(args: &TailArgs, output: &Output) -> anyhow::Result<Exit> {
    let url = args.address.url()?;
    let height = || anyhow::Ok(ask(&format!("{url}/status"), None)?["height"].as_u64().unwrap_or(0));
    let mut next = match args.from {
        Some(from) => from.max(1),
        None => height()? + 1,
    };
    let mut left = args.blocks.unwrap_or(u64::MAX);
    while left > 0 {
        while height()? < next {
            std::thread::sleep(ASK_AGAIN);
        }
        let block = ask(&format!("{url}/block/{next}"), None)?;
        if args.json {
            output.json(&block)?;
        } else {
            output.line(block_line(&block))?;
        }
        next += 1;
        left -= 1;
    }
    Ok(Exit::OK)
}

fn block_line(block: &Value) -> String {
    let count = |it: &Value| it.as_array().map_or(0, Vec::len);
    let (height, result) = (&block["height"], &block["result"]);
    let fired = result["fired"].as_array().map(Vec::as_slice).unwrap_or_default();
    let fired: String = fired.iter().map(|it| format!("; obeyed {}", it.as_str().unwrap_or_default())).collect();
    format!(
        "block {height}: {} submissions, {} cranks, state hash {}, round {}, signed by {}{fired}",
        count(&block["submissions"]),
        result["cranks"],
        short(result["stateHash"].as_str().unwrap_or_default()),
        block["certificate"]["round"],
        count(&block["signers"]),
    )
}
