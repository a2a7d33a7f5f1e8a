//! The senders of what stands in the run-queue take turns: nobody's flood starves the others, and no order between two vats is lost.
//!
//! A vat here is a [`Role`]: what it does with a delivery, given how many it had, so that it does the same when it is brought up again.

mod bounds;
mod floods;
mod order;

use std::{cell::RefCell, collections::BTreeMap, path::Path, rc::Rc};

use vathost::{
    directive::DirectiveSet,
    kernel::{self, Ledger, Ran, ScriptedVat, Scripts, Syscalls, Usage},
    model::{
        blame::Fault,
        id::{BundleId, KRef, ObjectId, VRef, VatId},
        value::{CapData, Delivery, Message, Syscall},
    },
    slog::Slog,
    state::{
        block::Block,
        table::{DeviceRow, Options},
    },
};

/// What a vat is told, and what it can do about it.
struct Turn<'a> {
    vat: VatId,
    /// Deliveries that it had before.
    age: u64,
    delivery: &'a Delivery<VRef>,
    syscalls: &'a mut Syscalls,
}

impl Turn<'_> {
    /// The method of the message, or the kind of any other delivery.
    fn word(&self) -> String {
        match self.delivery {
            Delivery::Message { message, .. } => word(&message.methargs),
            other => other.kind().to_owned(),
        }
    }

    fn slots(&self) -> &[VRef] {
        match self.delivery {
            Delivery::Message { message, .. } => &message.methargs.slots,
            _ => &[],
        }
    }

    fn result(&self) -> Option<VRef> {
        match self.delivery {
            Delivery::Message { message, .. } => message.result,
            _ => None,
        }
    }

    /// A promise that it never used: the `at`th of this delivery.
    fn fresh(&self, at: u64) -> VRef {
        own("p", 1 + self.age * 100_000 + at)
    }

    fn call(&mut self, syscall: Syscall<VRef>) -> Result<(), Fault> {
        self.syscalls.call(syscall).map(drop)
    }

    fn send(&mut self, target: VRef, method: &str, slots: &[VRef], result: Option<VRef>) -> Result<(), Fault> {
        let message = Message { methargs: data(method, slots), result };
        self.call(Syscall::Send { target, message })
    }

    fn send_raw(&mut self, target: VRef, body: &str, result: VRef) -> Result<(), Fault> {
        self.call(Syscall::Send { target, message: Message { methargs: CapData::plain(body), result: Some(result) } })
    }

    fn resolve(&mut self, promise: VRef, slots: &[VRef]) -> Result<(), Fault> {
        let resolution = vathost::model::value::Resolution { promise, rejected: false, data: data("news", slots) };
        self.call(Syscall::Resolve(vec![resolution]))
    }
}

/// A name that the vat gives itself: `o+7`, `p+7`.
fn own(kind: &str, number: u64) -> VRef {
    format!("{kind}+{number}").parse().unwrap()
}

/// `#["method",["$0",…]]`: as a fulfilment it is a list.
fn data(method: &str, slots: &[VRef]) -> CapData<VRef> {
    let mark = |promise| if promise { '&' } else { '$' };
    let marks = slots.iter().enumerate().map(|(at, it)| format!("\"{}{at}\"", mark(it.is_promise())));
    let marks = marks.collect::<Vec<_>>().join(",");
    CapData { body: format!("#[\"{method}\",[{marks}]]").into(), slots: slots.to_vec() }
}

fn word<R>(data: &CapData<R>) -> String {
    data.body.as_text().unwrap_or_default().split('"').nth(1).unwrap_or_default().to_owned()
}

/// What a vat does.
type Role = Rc<dyn Fn(&mut Turn<'_>) -> Result<(), Fault>>;

fn role(it: impl Fn(&mut Turn<'_>) -> Result<(), Fault> + 'static) -> Role {
    Rc::new(it)
}

/// A state, and the vats in it.
struct Stage {
    block: Option<Block>,
    cast: Scripts,
    roles: Roles,
    told: Told,
    vats: BTreeMap<String, (VatId, ObjectId)>,
}

/// What was delivered, by vat, in order; deliveries that are made again are not told again.
type Told = Rc<RefCell<BTreeMap<VatId, Vec<String>>>>;

/// The roles by the name of the vat; those that vats create are called `child`.
type Roles = Rc<RefCell<BTreeMap<String, Role>>>;

fn cast(roles: &Roles, told: &Told) -> Scripts {
    let (roles, told) = (roles.clone(), told.clone());
    Scripts::new(move |vat, row| -> ScriptedVat {
        let (role, told, mut age) = (roles.borrow()[&row.name].clone(), told.clone(), 0);
        Box::new(move |delivery, _fuel, syscalls| {
            let mut turn = Turn { vat, age, delivery, syscalls };
            if turn.syscalls.is_live() {
                told.borrow_mut().entry(vat).or_default().push(turn.word());
            }
            age += 1;
            role(&mut turn).map(|()| Usage { fuel: 1, memory: 0 })
        })
    })
}

impl Stage {
    /// A new state under this version of the kernel, in memory or in a folder, with these vats up, and the timer.
    fn new(version: u32, dir: Option<&Path>, vats: Vec<(&str, Options, Role)>) -> Stage {
        let block = dir.map_or_else(|| Block::memory(Slog::default()), |it| Block::open(it, Slog::default()));
        let (roles, told) = (Roles::default(), Told::default());
        let cast = cast(&roles, &told);
        let mut stage = Stage { block: block.ok(), cast, roles, told, vats: BTreeMap::new() };
        stage.block.as_mut().unwrap().set_audit(0);
        stage.outside(|crank| {
            crank.set_kernel_version(version);
            crank.name_bundle("child", BundleId::of(b"child"));
            crank.add_device(DeviceRow::Timer);
            Ok(())
        });
        for (name, options, role) in vats {
            stage.roles.borrow_mut().insert(name.to_owned(), role);
            let made = stage.outside(|crank| {
                let vat = crank.create_vat(name, BundleId::of(b"role"), options, CapData::plain("#{}"))?;
                let root = crank.root(vat)?;
                crank.pin(root)?;
                Ok((vat, root))
            });
            stage.vats.insert(name.to_owned(), made);
        }
        stage.run(u64::MAX);
        stage
    }

    fn block(&self) -> &Block {
        self.block.as_ref().expect("the host has not halted")
    }

    fn vat(&self, name: &str) -> VatId {
        self.vats[name].0
    }

    #[track_caller]
    fn outside<T>(&mut self, input: impl FnOnce(&mut Ledger) -> Result<T, Fault>) -> T {
        let (block, result) = kernel::outside(self.block.take().unwrap(), input).unwrap();
        self.block = Some(block);
        result
    }

    /// A message from outside, with the roots of these vats; `vatAdmin` and `timer` are those.
    fn tell(&mut self, to: &str, method: &str, with: &[&str]) {
        let target: KRef = self.vats[to].1.into();
        let vats = self.vats.clone();
        self.outside(|crank| {
            let mut slots: Vec<KRef> = Vec::new();
            for name in with {
                slots.push(match *name {
                    "vatAdmin" => crank.vat_admin()?.into(),
                    "timer" => crank.add_device(DeviceRow::Timer).into(),
                    vat => vats[vat].1.into(),
                });
            }
            let marks = (0..slots.len()).map(|at| format!("\"${at}\"")).collect::<Vec<_>>().join(",");
            let methargs = CapData { body: format!("#[\"{method}\",[{marks}]]").into(), slots };
            crank.queue_from_outside(target, methargs, None)
        });
    }

    /// Has these directives take effect from now on.
    fn order(&mut self, lines: &str) {
        let mut set = DirectiveSet::default();
        set.read("test", lines.as_bytes()).unwrap();
        self.block.as_mut().unwrap().set_directives(set);
    }

    #[track_caller]
    fn step(&mut self) -> Option<Ran> {
        let (block, ran) =
            kernel::crank(self.block.take().unwrap(), &mut self.cast).unwrap_or_else(|halt| panic!("{halt}"));
        self.block = Some(block);
        ran
    }

    /// Runs so many cranks at the most. How many there were.
    fn run(&mut self, most: u64) -> u64 {
        (0..most).take_while(|_| self.step().is_some()).count() as u64
    }

    /// Runs until a vat had so many notifies, in blocks of a hundred cranks. How many cranks that took.
    #[track_caller]
    fn run_until(&mut self, name: &str, notifies: usize, most: u64) -> u64 {
        let vat = self.vat(name);
        let had = |it: &Stage| it.told.borrow()[&vat].iter().filter(|it| *it == "notify").count();
        for cranks in 0..most {
            if cranks % 100 == 0 {
                self.begin_block();
            }
            if had(self) >= notifies {
                return cranks;
            }
            assert!(self.step().is_some(), "nothing is left to do after {cranks} cranks");
        }
        panic!("{name} had {} notifies in {most} cranks, not {notifies}", had(self));
    }

    /// Commits, and begins the next block, a second later.
    fn begin_block(&mut self) {
        let block = self.block.take().unwrap().commit(false).unwrap();
        self.block = Some(kernel::begin_block(block, 1).unwrap());
    }

    fn told(&self, vat: VatId) -> Vec<String> {
        self.told.borrow().get(&vat).cloned().unwrap_or_default()
    }
}
