//! View of the transcript of one vat: for scripts in the shapes of the slog, for people a line for each syscall.

use std::fmt::Display;

use serde_json::{Value, json};

use super::{bracketed, brief, printable, said};
use crate::{
    inspect::view::text::grouped,
    model::{
        blame::HostFault,
        id::{DeliveryNum, VatId},
        value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::{Shape, SyscallResult},
    state::{
        block::Block,
        transcript::{End, Entry},
    },
};

/// Returns the deliveries from the first to the last number of the range.
pub(crate) fn entries(
    block: &Block,
    vat: VatId,
    (from, to): (DeliveryNum, DeliveryNum),
) -> Result<impl Iterator<Item = Result<Entry, HostFault>>, HostFault> {
    let wanted = move |it: &Result<Entry, HostFault>| it.as_ref().map_or(true, |it| it.number <= to);
    Ok(block.transcript(vat, from)?.take_while(wanted))
}

pub(crate) fn json_of(entry: &Entry) -> Value {
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
        End::Skipped => ("skipped", None, None),
    };
    json!({
        "delivery": entry.number.0,
        "kind": entry.delivery.as_ref().map(Delivery::kind),
        "vd": entry.delivery.as_ref().map(Shape),
        "syscalls": syscalls,
        "outcome": outcome,
        "fuel": fuel,
        "fault": fault,
    })
}

pub(crate) fn text_of(entry: &Entry) -> String {
    let mut text = entry.number.to_string();
    if let Some(delivery) = &entry.delivery {
        text += &format!(" {}", describe_delivery(delivery));
    }
    for (syscall, answer) in &entry.syscalls {
        text += &format!("\n  {}{}", describe_syscall(syscall), describe_answer(answer));
    }
    format!("{text}\n  {}", describe_end(&entry.end))
}

pub(crate) fn describe_delivery<R: Display>(delivery: &Delivery<R>) -> String {
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

pub(crate) fn describe_syscall<R: Display>(syscall: &Syscall<R>) -> String {
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
            format!("{kind} {}", printable(key))
        }
        Syscall::VatstoreSet(key, value) => format!("{kind} {} = {}", printable(key), printable(value)),
        Syscall::VatstoreScan { prefix, after, max } => {
            format!("{kind} {} after {}, {max} bytes", printable(prefix), printable(after))
        }
        Syscall::DropImports(refs)
        | Syscall::RetireImports(refs)
        | Syscall::RetireExports(refs)
        | Syscall::AbandonExports(refs) => format!("{kind}{}", bracketed(refs)),
        Syscall::CallNow { device, methargs } => format!("{kind} {device} {}", describe_call(methargs)),
    }
}

pub(crate) fn describe_answer(answer: &Answer) -> String {
    match answer {
        Answer::Done => String::new(),
        Answer::Value(Some(value)) => format!(" -> {}", printable(value)),
        Answer::Value(None) => " -> nothing".to_owned(),
        Answer::Device(Ok(body)) => format!(" -> {}", describe_body(body)),
        Answer::Device(Err(body)) => format!(" -> refused {}", describe_body(body)),
    }
}

fn describe_message<R: Display>(message: &Message<R>) -> String {
    let result = message.result.as_ref().map_or(String::new(), |it| format!(" result {it}"));
    describe_call(&message.methargs) + &result
}

fn describe_resolutions<R: Display>(resolutions: &[Resolution<R>]) -> String {
    let each = resolutions.iter().map(|it| {
        let how = if it.rejected { "rejected" } else { "fulfilled" };
        format!(" {} {how} {}", it.promise, describe_data(&it.data))
    });
    each.collect::<Vec<_>>().join(";")
}

/// Returns capdata as people read it, in one short line.
pub(crate) fn describe_data<R: Display>(data: &CapData<R>) -> String {
    brief(said::data(&String::from_utf8_lossy(&data.body), &data.slots).as_bytes())
}

fn describe_call<R: Display>(methargs: &CapData<R>) -> String {
    brief(said::call(&String::from_utf8_lossy(&methargs.body), &methargs.slots).as_bytes())
}

fn describe_body(body: &Bytes) -> String {
    let no_slots: [&str; 0] = [];
    match body.as_text() {
        Some(text) => brief(said::said(text, &no_slots).as_bytes()),
        None => printable(body),
    }
}

/// Returns the end of a delivery, in words.
pub(crate) fn describe_end(end: &End) -> String {
    match end {
        End::Done { fuel } => format!("done, fuel {}", grouped(*fuel)),
        End::Skipped => "skipped".to_owned(),
        End::Faulted(fault) => format!("faulted: {}", brief(fault.to_string().as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{blame::VatFault, id::VRef};

    fn text(delivery: Delivery<VRef>, syscalls: Vec<(Syscall<VRef>, Answer)>, end: End) -> String {
        text_of(&Entry { number: DeliveryNum(7), delivery: Some(delivery), syscalls, end })
    }

    #[test]
    fn a_faulted_delivery_says_so() {
        let fault = VatFault::illegal("send", "o-99 is not in the c-list");
        let entry = Entry { number: DeliveryNum(7), delivery: None, syscalls: vec![], end: End::Faulted(fault) };
        assert_eq!(text_of(&entry), "delivery-7\n  faulted: illegal syscall send: o-99 is not in the c-list");
        let json = json_of(&entry);
        assert_eq!([&json["outcome"], &json["fuel"]], [&json!("faulted"), &Value::Null]);
        let skipped = Entry { end: End::Skipped, ..entry };
        assert_eq!(text_of(&skipped), "delivery-7\n  skipped");
        assert_eq!(json_of(&skipped)["outcome"], "skipped");
        assert_eq!(json["fault"], "illegal syscall send: o-99 is not in the c-list");
    }

    #[test]
    fn every_kind_of_syscall_fits_a_line() {
        let (object, promise, device) =
            (VRef::imported_object(50), VRef::imported_promise(60), "d-70".parse().expect("a device"));
        let data = || CapData { body: "#[]".into(), slots: vec![object] };
        let resolution = |rejected| Resolution { promise, rejected, data: data() };
        let key = || Bytes::from("k");
        let syscalls = vec![
            (
                Syscall::Send { target: object, message: Message { methargs: data(), result: Some(promise) } },
                Answer::Done,
            ),
            (Syscall::Resolve(vec![resolution(false), resolution(true)]), Answer::Done),
            (Syscall::Exit { failure: true, info: data() }, Answer::Done),
            (Syscall::VatstoreGetNextKey(key()), Answer::Value(Some(key()))),
            (Syscall::VatstoreDelete(key()), Answer::Done),
            (Syscall::VatstoreScan { prefix: key(), after: Bytes::from(&[255]), max: 9 }, Answer::Value(None)),
            (Syscall::DropImports(vec![object, promise]), Answer::Done),
            (Syscall::CallNow { device, methargs: data() }, Answer::Device(Ok(key()))),
            (Syscall::CallNow { device, methargs: data() }, Answer::Device(Err(key()))),
        ];
        let lines = text(Delivery::Notify(vec![resolution(false)]), syscalls, End::Done { fuel: 1_234 });
        assert_eq!(
            lines.lines().collect::<Vec<_>>(),
            [
                "delivery-7 notify p-60 fulfilled [] [o-50]",
                "  send o-50 [] [o-50] result p-60",
                "  resolve p-60 fulfilled [] [o-50]; p-60 rejected [] [o-50]",
                "  exit failure [] [o-50]",
                "  vatstoreGetNextKey k -> k",
                "  vatstoreDelete k",
                "  vatstoreScan k after 0xff, 9 bytes -> nothing",
                "  dropImports [o-50, p-60]",
                "  callNow d-70 [] [o-50] -> k",
                "  callNow d-70 [] [o-50] -> refused k",
                "  done, fuel 1,234",
            ]
        );
        let drops = text(Delivery::DropExports(vec![VRef::ROOT]), vec![], End::Done { fuel: 0 });
        assert_eq!(drops, "delivery-7 dropExports [o+0]\n  done, fuel 0");
    }
}
