//! The transcript of one vat. For scripts in the shapes of the slog, for people a line a syscall.

use std::fmt::Display;

use serde_json::{Value, json};

use super::show::{Printer, bracketed, brief};
use crate::{
    block::Block,
    cli::output::grouped,
    fault::HostFault,
    id::{DeliveryNum, VRef, VatId},
    slog::{Shape, SyscallResult},
    transcript::{End, Entry},
    value::{Answer, CapData, Delivery, Message, Resolution, Syscall},
};

/// Prints the deliveries from the first to the last number of the range.
pub(super) fn print(
    block: &Block,
    vat: VatId,
    (from, to): (DeliveryNum, DeliveryNum),
    printer: &Printer<'_>,
) -> anyhow::Result<()> {
    let wanted = |it: &Result<Entry, HostFault>| it.as_ref().map_or(true, |it| it.number <= to);
    let entries: Vec<Entry> = block.transcript(vat, from)?.take_while(wanted).collect::<Result<_, _>>()?;
    let shown = &entries[..printer.shown(entries.len())];
    if printer.json {
        printer.output.json(&shown.iter().map(json_of).collect::<Vec<_>>())?;
    } else {
        for entry in shown {
            printer.output.line(text_of(entry))?;
        }
    }
    printer.say_what_is_left_out(shown.len(), entries.len());
    Ok(())
}

fn json_of(entry: &Entry) -> Value {
    let syscalls: Vec<Value> = entry
        .syscalls
        .iter()
        .map(|(syscall, answer)| {
            json!({ "kind": syscall.kind(), "vsc": Shape(syscall), "vsr": SyscallResult::Ok(answer) })
        })
        .collect();
    let (outcome, fuel, fault) = match &entry.end {
        End::Done { fuel } => ("done", Some(fuel), None),
        End::Faulted(fault) => ("faulted", None, Some(fault.to_string())),
    };
    json!({
        "delivery": entry.number.0,
        "kind": entry.delivery.kind(),
        "vd": Shape(&entry.delivery),
        "syscalls": syscalls,
        "outcome": outcome,
        "fuel": fuel,
        "fault": fault,
    })
}

fn text_of(entry: &Entry) -> String {
    let mut text = format!("{} {}", entry.number, describe_delivery(&entry.delivery));
    for (syscall, answer) in &entry.syscalls {
        text += &format!("\n  {}{}", describe_syscall(syscall), describe_answer(answer));
    }
    text + &match &entry.end {
        End::Done { fuel } => format!("\n  done, fuel {}", grouped(*fuel)),
        End::Faulted(fault) => format!("\n  faulted: {}", brief(fault.to_string().as_bytes())),
    }
}

fn describe_delivery(delivery: &Delivery<VRef>) -> String {
    let kind = delivery.kind();
    match delivery {
        Delivery::StartVat(data) | Delivery::ChangeOptions(data) => format!("{kind} {}", describe_data(data)),
        Delivery::Message { target, message } => format!("{kind} {target} {}", describe_message(message)),
        Delivery::Notify(resolutions) => format!("{kind}{}", describe_resolutions(resolutions)),
        Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => {
            format!("{kind}{}", bracketed(refs))
        }
        Delivery::BringOutYourDead => kind.to_owned(),
    }
}

fn describe_syscall(syscall: &Syscall<VRef>) -> String {
    let kind = syscall.kind();
    match syscall {
        Syscall::Send { target, message } => format!("{kind} {target} {}", describe_message(message)),
        Syscall::Subscribe(promise) => format!("{kind} {promise}"),
        Syscall::Resolve(resolutions) => format!("{kind}{}", describe_resolutions(resolutions)),
        Syscall::Exit { failure, info } => {
            let how = if *failure { "failure" } else { "success" };
            format!("{kind} {how} {}", describe_data(info))
        }
        Syscall::VatstoreGet(key) | Syscall::VatstoreDelete(key) | Syscall::VatstoreGetNextKey(key) => {
            format!("{kind} {}", brief(key))
        }
        Syscall::VatstoreSet(key, value) => format!("{kind} {} = {}", brief(key), brief(value)),
        Syscall::VatstoreScan { prefix, after, max } => {
            format!("{kind} {} after {}, {max} bytes", brief(prefix), brief(after))
        }
        Syscall::DropImports(refs)
        | Syscall::RetireImports(refs)
        | Syscall::RetireExports(refs)
        | Syscall::AbandonExports(refs) => format!("{kind}{}", bracketed(refs)),
        Syscall::CallNow { device, methargs } => format!("{kind} {device} {}", describe_data(methargs)),
    }
}

fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Done => String::new(),
        Answer::Value(Some(value)) => format!(" -> {}", brief(value)),
        Answer::Value(None) => " -> nothing".to_owned(),
    }
}

fn describe_message<R: Display>(message: &Message<R>) -> String {
    let result = message.result.as_ref().map_or(String::new(), |it| format!(" result {it}"));
    describe_data(&message.methargs) + &result
}

fn describe_resolutions<R: Display>(resolutions: &[Resolution<R>]) -> String {
    let each = resolutions.iter().map(|it| {
        let how = if it.rejected { "rejected" } else { "fulfilled" };
        format!(" {} {how} {}", it.promise, describe_data(&it.data))
    });
    each.collect::<Vec<_>>().join(";")
}

fn describe_data<R: Display>(data: &CapData<R>) -> String {
    brief(&data.body) + &bracketed(data.slots.iter())
}
