//! The kernel's behaviour, on scripted vats. A test is a [`World`], what its vats do, and what they are told.
//!
//! `w.on("a.go", "send o-50 hi(o+1)->p+5; subscribe p+5")` queues a script for the next delivery of that name to that vat: a message's
//! method, or the kind of any other delivery. A vat without a script does nothing. The words of a script:
//!
//! ```text
//!   send TARGET METHOD(SLOT,…)[->RESULT]     subscribe P           resolve P=DATA P!DATA …  (! rejects)
//!   send TARGET #BODY[->RESULT]
//!   exit DATA    exit-failure DATA           trap WORDS            try SYSCALL              (and go on, whatever it says)
//!   get K   set K V   delete K   next K      scan PREFIX AFTER MAX
//!   drop O…   retire-imports O…   retire-exports O…   abandon O…   call D #BODY SLOT,…
//!   burn N    (fuel, beside what is limited)
//!
//!   DATA   $o+1 a presence    &p+1 a promise    [o+1,p+2] data with slots    #… a raw body    anything else a text
//! ```
//!
//! A vat that is brought up again after a fault does again what it did. `w.run()` runs until nothing is left, and returns what happened in the same words.

mod bounds;
mod devices;
mod faults;
mod gc;
mod obey;
mod promises;
mod rollback;
mod swingset;
mod syscalls;
mod termination;

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt::Display,
    rc::Rc,
    sync::{Arc, Mutex},
};

use expect_test::Expect;
use vathost::{
    kernel::{self, Halt, Ledger, Ran, ScriptedVat, Scripts, Syscalls, Usage},
    model::{
        blame::{Fault, KernelPanic, VatFault},
        id::{BundleId, KRef, ObjectId, PromiseId, VRef, VatId},
        value::{Answer, Bytes, CapData, Delivery, Message, Resolution, Syscall},
    },
    slog::{Detail, Event, Recorder, Slog},
    state::{
        block::{Block, Printed},
        table::{Options, Promise, Tables},
    },
};

/// Options of a vat that is never told to bring out its dead, so that tests count what they mean to.
pub(crate) fn plain() -> Options {
    Options { reap_interval: None, reap_gc_krefs: None, ..Options::default() }
}

/// The same, taking messages to promises that it decides.
pub(crate) fn pipelining() -> Options {
    Options { pipelining: true, ..plain() }
}

/// A kernel in memory, audited after each crank, and its scripted vats, whose roots are pinned.
pub(crate) struct World {
    block: Option<Block>,
    pub(crate) vats: BTreeMap<String, (VatId, ObjectId)>,
    actors: Scripts,
    stage: Rc<RefCell<Stage>>,
    slog: Arc<Mutex<Vec<String>>>,
}

type Code = Box<dyn FnOnce(&mut Syscalls) -> Result<(), Fault>>;

enum Script {
    Words(String),
    Code(Code),
}

#[derive(Default)]
struct Stage {
    scripts: BTreeMap<String, VecDeque<Script>>,
    names: BTreeMap<VatId, String>,
    /// The scripts of each incarnation's deliveries, for its replays.
    past: BTreeMap<(VatId, u32), Vec<String>>,
    log: Vec<String>,
}

impl World {
    /// Vats of these names, up and running.
    pub(crate) fn new(names: &str) -> World {
        World::of(names.split(' ').map(|it| (it, plain())))
    }

    /// Vats with options of their own, in SwingSet's order: what happens is easier to foretell.
    pub(crate) fn of<'a>(vats: impl IntoIterator<Item = (&'a str, Options)>) -> World {
        World::under(1, vats)
    }

    /// The same, under this version of the kernel.
    pub(crate) fn under<'a>(version: u32, vats: impl IntoIterator<Item = (&'a str, Options)>) -> World {
        let slog = Arc::new(Mutex::new(Vec::new()));
        let mut block = Block::memory(Slog::new(Detail::Cranks, Lines(slog.clone()))).unwrap();
        block.set_audit(1);
        let stage = Rc::new(RefCell::new(Stage::default()));
        let actors = actors(&stage);
        let mut world = World { block: Some(block), vats: BTreeMap::new(), actors, stage, slog };
        world.outside(|crank| {
            crank.set_kernel_version(version);
            Ok(())
        });
        for (name, options) in vats {
            let made = world.outside(|crank| {
                let vat = crank.create_vat(name, BundleId::of(b"script"), options, CapData::plain("#{}"))?;
                let root = crank.root(vat)?;
                crank.pin(root)?;
                Ok((vat, root))
            });
            world.stage.borrow_mut().names.insert(made.0, name.to_owned());
            world.vats.insert(name.to_owned(), made);
        }
        world.run();
        world
    }

    pub(crate) fn block(&self) -> &Block {
        self.block.as_ref().expect("the host has not halted")
    }

    pub(crate) fn tables(&self) -> &Tables {
        self.block().tables()
    }

    pub(crate) fn vat(&self, name: &str) -> VatId {
        self.vats[name].0
    }

    pub(crate) fn root(&self, name: &str) -> ObjectId {
        self.vats[name].1
    }

    /// What vats wrote to the console since this was last asked.
    pub(crate) fn printed(&mut self) -> Vec<Printed> {
        self.block.as_mut().unwrap().console().take_printed()
    }

    /// What the host does from outside.
    #[track_caller]
    pub(crate) fn outside<T>(&mut self, input: impl FnOnce(&mut Ledger) -> Result<T, Fault>) -> T {
        let (block, result) = kernel::outside(self.block.take().unwrap(), input).unwrap();
        self.block = Some(block);
        result
    }

    /// Queues what the vat does at its next delivery of that name.
    pub(crate) fn on(&mut self, event: &str, script: &str) {
        self.queue(event, Script::Words(script.to_owned()));
    }

    /// The same in code, for what words cannot say.
    pub(crate) fn on_code(&mut self, event: &str, code: impl FnOnce(&mut Syscalls) -> Result<(), Fault> + 'static) {
        self.queue(event, Script::Code(Box::new(code)));
    }

    fn queue(&mut self, event: &str, script: Script) {
        self.stage.borrow_mut().scripts.entry(event.to_owned()).or_default().push_back(script);
    }

    /// `a.hi(b,ko20)`: a message from outside to the root of `a`, with roots of vats and objects as arguments.
    #[track_caller]
    pub(crate) fn call(&mut self, call: &str) -> PromiseId {
        let (vat, call) = call.split_once('.').unwrap();
        let (method, args) = call.split_once('(').unwrap_or((call, ")"));
        let args = list(args.trim_end_matches(')'));
        let slots: Vec<KRef> = args.map(|it| it.parse().unwrap_or_else(|_| self.root(it).into())).collect();
        let data = CapData { body: body_of(method, slots.iter().map(|it| matches!(it, KRef::Promise(_)))), slots };
        let target = self.root(vat).into();
        self.outside(|crank| crank.send_from_outside(target, data, Some((vat, method))))
    }

    /// One crank.
    pub(crate) fn try_step(&mut self) -> Result<Option<Ran>, Box<Halt>> {
        let (block, ran) = kernel::crank(self.block.take().unwrap(), &mut self.actors)?;
        self.block = Some(block);
        // A directive ends a vat without a delivery.
        if let Some(ended) = ran.as_ref().and_then(|it| it.ended.as_ref())
            && let Some((vat, _)) = ran.as_ref().and_then(|it| it.delivery)
        {
            let mut stage = self.stage.borrow_mut();
            let how = match (&ended.fault, ended.aborted) {
                (Some(fault), _) => format!("faulted: {fault}"),
                (None, aborted) => format!("exited({aborted}): {}", show(&ended.info)),
            };
            let line = format!("{} {how}", stage.names.get(&vat).map_or("?", |it| it));
            stage.log.push(line);
        }
        Ok(ran)
    }

    #[track_caller]
    pub(crate) fn step(&mut self) -> Option<Ran> {
        self.try_step().unwrap()
    }

    /// Runs until nothing is left, and returns what happened.
    #[track_caller]
    pub(crate) fn run(&mut self) -> String {
        while self.step().is_some() {}
        self.log()
    }

    /// What happened since the last time.
    pub(crate) fn log(&mut self) -> String {
        std::mem::take(&mut self.stage.borrow_mut().log).join("\n")
    }

    /// Runs, and compares what happened.
    #[track_caller]
    pub(crate) fn check(&mut self, expect: Expect) {
        expect.assert_eq(&self.run());
    }

    /// Runs until the host halts, and returns why.
    #[track_caller]
    pub(crate) fn panics(&mut self) -> KernelPanic {
        loop {
            match self.try_step() {
                Ok(Some(_)) => (),
                Ok(None) => panic!("the host did not halt"),
                Err(halt) => match halt.fault {
                    Fault::Kernel(panic) => return panic,
                    other => panic!("not a kernel panic: {other}"),
                },
            }
        }
    }

    /// How a promise stands: `pending`, `=DATA`, `!DATA`, or `gone`.
    pub(crate) fn outcome(&self, id: PromiseId) -> String {
        match self.tables().settling(id) {
            ("fulfilled", Some(data)) => format!("={}", show(data)),
            (_, Some(data)) => format!("!{}", show(data)),
            (_, None) if self.tables().promises.contains(&id) => "pending".to_owned(),
            (_, None) => "gone".to_owned(),
        }
    }

    /// The outcome of the last message from outside.
    pub(crate) fn last(&self) -> String {
        let row = self.tables().outside.iter().next_back().map(|(it, _)| *it);
        self.outcome(row.expect("somebody called"))
    }

    pub(crate) fn promise(&self, id: PromiseId) -> &Promise {
        self.tables().promises.get(&id).unwrap()
    }

    /// How many promises there are that nobody outside waits for.
    pub(crate) fn stray_promises(&self) -> usize {
        self.tables().promises.len() - self.tables().outside.len()
    }

    /// A vat's c-list: `o-50:ko20 _o-51:ko21 …`, in order of the vat's names; `_` where unreachable. Roots are left out.
    pub(crate) fn clist(&self, name: &str) -> String {
        let entries = self.tables().clist.of(self.vat(name)).filter(|(vref, _)| *vref != VRef::ROOT);
        let flag = |reachable| if reachable { "" } else { "_" };
        entries.map(|(vref, it)| format!("{}{vref}:{}", flag(it.reachable), it.kref)).collect::<Vec<_>>().join(" ")
    }

    /// The object that a vat knows under this name.
    pub(crate) fn object(&self, name: &str, vref: &str) -> ObjectId {
        match self.tables().clist.get(&(self.vat(name), vref.parse().unwrap())).map(|it| it.kref) {
            Some(KRef::Object(id)) => id,
            other => panic!("{vref} of {name} is {other:?}"),
        }
    }

    /// Reachable, recognizable; `None` where the object is gone.
    pub(crate) fn counts(&self, id: ObjectId) -> Option<(u32, u32)> {
        self.tables().objects.get(&id).map(|it| (it.reachable, it.recognizable))
    }

    pub(crate) fn stored(&self, name: &str) -> Vec<(String, String)> {
        let text = |it: &Bytes| it.as_text().unwrap().to_owned();
        let rows = self.tables().vatstore.iter().filter(|((vat, _), _)| *vat == self.vat(name));
        rows.map(|((_, key), value)| (text(key), text(value))).collect()
    }

    /// Ends a vat from outside.
    pub(crate) fn terminate(&mut self, name: &str) {
        let vat = self.vat(name);
        self.outside(|crank| crank.terminate_with_reason(vat, "enough"));
    }

    /// The slog lines of this type so far.
    pub(crate) fn slog(&self, kind: &str) -> Vec<String> {
        let wanted = format!("{{\"type\":\"{kind}\"");
        self.slog.lock().unwrap().iter().filter(|it| it.starts_with(&wanted)).cloned().collect()
    }
}

struct Lines(Arc<Mutex<Vec<String>>>);

impl Recorder for Lines {
    fn record(&mut self, event: &Event<'_>) {
        self.0.lock().unwrap().push(serde_json::to_string(event).unwrap());
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// ---- the vats

fn actors(stage: &Rc<RefCell<Stage>>) -> Scripts {
    let stage = stage.clone();
    Scripts::new(move |vat, row| -> ScriptedVat {
        stage.borrow_mut().names.entry(vat).or_insert_with(|| row.name.clone());
        let mut actor = Actor { vat, incarnation: row.incarnation, age: 0, stage: stage.clone() };
        Box::new(move |delivery, fuel_max, syscalls| actor.act(delivery, fuel_max, syscalls))
    })
}

struct Actor {
    vat: VatId,
    incarnation: u32,
    /// Deliveries so far, replayed ones included.
    age: usize,
    stage: Rc<RefCell<Stage>>,
}

impl Actor {
    fn act(&mut self, delivery: &Delivery<VRef>, fuel_max: u64, syscalls: &mut Syscalls) -> Result<Usage, Fault> {
        let (event, text) = describe(delivery);
        let (key, age) = ((self.vat, self.incarnation), self.age);
        self.age += 1;
        // Nothing but a replay has so much.
        if fuel_max > u64::MAX >> 2 {
            let words = self.stage.borrow().past[&key][age].clone();
            let log = self.stage.borrow().log.len();
            let result = self.perform("", &words, fuel_max, syscalls);
            self.stage.borrow_mut().log.truncate(log);
            return result;
        }
        let (name, script) = {
            let mut stage = self.stage.borrow_mut();
            let name = stage.names.get(&self.vat).cloned().unwrap_or_default();
            if !matches!(delivery, Delivery::StartVat(_)) {
                stage.log.push(format!("{name}: {text}"));
            }
            let script = stage.scripts.get_mut(&format!("{name}.{event}")).and_then(VecDeque::pop_front);
            (name, script)
        };
        let (result, words) = match script {
            None => (Ok(Usage::default()), String::new()),
            Some(Script::Code(code)) => {
                (code(syscalls).map(|()| Usage::default()), "trap code is not replayed".to_owned())
            }
            Some(Script::Words(words)) => (self.perform(&name, &words, fuel_max, syscalls), words),
        };
        let mut stage = self.stage.borrow_mut();
        let past = stage.past.entry(key).or_default();
        past.truncate(age);
        past.push(words);
        drop(stage);
        result
    }

    fn perform(&self, name: &str, words: &str, fuel_max: u64, syscalls: &mut Syscalls) -> Result<Usage, Fault> {
        let mut usage = Usage::default();
        for word in words.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            if let Some(why) = word.strip_prefix("trap ") {
                return Err(VatFault::Delivery(why.to_owned()).into());
            }
            if let Some(fuel) = word.strip_prefix("burn ") {
                usage.fuel += fuel.parse::<u64>().unwrap();
                if usage.fuel > fuel_max {
                    return Err(VatFault::OutOfFuel.into());
                }
                continue;
            }
            let (tries, word) = word.strip_prefix("try ").map_or((false, word), |it| (true, it));
            match syscalls.call(syscall(word)) {
                Ok(Answer::Done) => (),
                Ok(Answer::Device(answer)) => {
                    let (Ok(body) | Err(body)) = &answer;
                    let sign = if answer.is_ok() { "=" } else { "!" };
                    self.stage.borrow_mut().log.push(format!("{name}> {word} {sign} {}", body.as_text().unwrap()));
                }
                Ok(Answer::Value(value)) => {
                    let value = value.map_or("nothing".to_owned(), |it| String::from_utf8_lossy(&it).into_owned());
                    self.stage.borrow_mut().log.push(format!("{name}> {word} = {value:?}"));
                }
                Err(_) if tries => (),
                Err(fault) => return Err(fault),
            }
        }
        Ok(usage)
    }
}

// ---- words

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).filter(|it| !it.is_empty())
}

#[track_caller]
fn vref(text: &str) -> VRef {
    text.parse().unwrap_or_else(|err| panic!("{err}"))
}

/// A syscall in words.
#[track_caller]
pub(crate) fn syscall(words: &str) -> Syscall<VRef> {
    let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
    let refs = || list(rest).map(vref).collect();
    let word = |at: usize| Bytes::from(rest.split(' ').nth(at).unwrap_or(""));
    match verb {
        "send" => {
            let (target, call) = rest.split_once(' ').unwrap();
            let (call, result) =
                call.split_once("->").map_or((call, None), |(call, result)| (call, Some(vref(result))));
            if call.starts_with('#') {
                return Syscall::Send {
                    target: vref(target),
                    message: Message { methargs: CapData::plain(call), result },
                };
            }
            let (method, args) = call.split_once('(').unwrap_or((call, ""));
            let slots: Vec<VRef> = list(args.trim_end_matches(')')).map(vref).collect();
            let methargs = CapData { body: body_of(method, slots.iter().map(|it| it.is_promise())), slots };
            Syscall::Send { target: vref(target), message: Message { methargs, result } }
        }
        "subscribe" => Syscall::Subscribe(vref(rest)),
        "resolve" => Syscall::Resolve(rest.split(' ').map(resolution).collect()),
        "exit" => Syscall::Exit { failure: false, info: data(rest) },
        "exit-failure" => Syscall::Exit { failure: true, info: data(rest) },
        "get" => Syscall::VatstoreGet(word(0)),
        "set" => Syscall::VatstoreSet(word(0), word(1)),
        "delete" => Syscall::VatstoreDelete(word(0)),
        "next" => Syscall::VatstoreGetNextKey(word(0)),
        "scan" => {
            let max = rest.split(' ').nth(2).unwrap().parse().unwrap();
            Syscall::VatstoreScan { prefix: word(0), after: word(1), max }
        }
        "drop" => Syscall::DropImports(refs()),
        "retire-imports" => Syscall::RetireImports(refs()),
        "retire-exports" => Syscall::RetireExports(refs()),
        "abandon" => Syscall::AbandonExports(refs()),
        "call" => {
            let slots = rest.split(' ').nth(2).map(|it| list(it).map(vref).collect()).unwrap_or_default();
            Syscall::CallNow {
                device: vref(rest.split(' ').next().unwrap()),
                methargs: CapData { body: word(1), slots },
            }
        }
        other => panic!("`{other}` is no syscall"),
    }
}

fn resolution(word: &str) -> Resolution<VRef> {
    let at = word.find(['=', '!']).unwrap();
    let rejected = word[at..].starts_with('!');
    Resolution { promise: vref(&word[..at]), rejected, data: data(&word[at + 1..]) }
}

fn data(word: &str) -> CapData<VRef> {
    if let Some(presence) = word.strip_prefix('$') {
        CapData { body: "#\"$0\"".into(), slots: vec![vref(presence)] }
    } else if let Some(promise) = word.strip_prefix('&') {
        CapData { body: "#\"&0\"".into(), slots: vec![vref(promise)] }
    } else if word.starts_with('[') {
        let slots: Vec<VRef> = list(word.trim_matches(['[', ']'])).map(vref).collect();
        CapData { body: Bytes::from(format!("#[{}]", marks(slots.iter().map(|it| it.is_promise())))), slots }
    } else if word.starts_with('#') {
        CapData::plain(word)
    } else {
        CapData::plain(format!("#\"{word}\""))
    }
}

fn marks(promises: impl Iterator<Item = bool>) -> String {
    let mark = |promise| if promise { '&' } else { '$' };
    promises.enumerate().map(|(at, it)| format!("\"{}{at}\"", mark(it))).collect::<Vec<_>>().join(",")
}

fn body_of(method: &str, promises: impl Iterator<Item = bool>) -> Bytes {
    Bytes::from(format!("#[\"{method}\",[{}]]", marks(promises)))
}

/// The name of a delivery, and the whole of it.
pub(crate) fn describe(delivery: &Delivery<VRef>) -> (String, String) {
    let join = |refs: &[VRef]| refs.iter().map(VRef::to_string).collect::<Vec<_>>().join(",");
    let text = match delivery {
        Delivery::Message { target, message } => {
            let body = message.methargs.body.as_text().unwrap_or_default();
            let method = body.split('"').nth(1).unwrap_or_default().to_owned();
            let result = message.result.map_or(String::new(), |it| format!("->{it}"));
            let text = format!("{target}.{method}({}){result}", join(&message.methargs.slots));
            return (method, text);
        }
        Delivery::Notify(resolutions) => {
            let sign = |rejected| if rejected { '!' } else { '=' };
            resolutions
                .iter()
                .map(|it| format!("{}{}{}", it.promise, sign(it.rejected), show(&it.data)))
                .collect::<Vec<_>>()
                .join(" ")
        }
        Delivery::DropExports(refs) | Delivery::RetireExports(refs) | Delivery::RetireImports(refs) => join(refs),
        Delivery::StartVat(_) | Delivery::ChangeOptions(_) | Delivery::BringOutYourDead => String::new(),
    };
    (delivery.kind().to_owned(), format!("{} {text}", delivery.kind()).trim_end().to_owned())
}

/// Data, in the words of a script.
fn show<R: Display>(data: &CapData<R>) -> String {
    let slots: Vec<String> = data.slots.iter().map(R::to_string).collect();
    let body = data.body.as_text().unwrap_or_default();
    match (body, &*slots) {
        ("#\"$0\"", [slot]) => format!("${slot}"),
        ("#\"&0\"", [slot]) => format!("&{slot}"),
        (_, []) => match serde_json::from_str(body.trim_start_matches('#')) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(it) if it["#error"].is_string() => format!("Error({})", it["#error"].as_str().unwrap()),
            _ => body.to_owned(),
        },
        (_, slots) => format!("[{}]", slots.join(",")),
    }
}
