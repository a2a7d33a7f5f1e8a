//! Real guests under the vat admin, in a state on disk.

use tempfile::TempDir;
use vathost::{
    kernel,
    model::{
        id::{KRef, ObjectId, PromiseId, VatId},
        value::CapData,
    },
    slog::Slog,
    state::{block::Block, table::Owner},
    vat::Warehouse,
};

use crate::snapshot::lab::patiently;

pub(super) struct Rig {
    block: Option<Block>,
    workers: Warehouse,
    dir: TempDir,
    admin: ObjectId,
}

impl Rig {
    /// A state that knows the bundles `mortal` and `vault`.
    pub(super) fn new() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let mut block = open(&dir);
        let bundles = ["mortal", "vault"].map(|name| {
            let wasm = std::fs::read(format!("{}/vats/{name}.wasm", env!("CARGO_MANIFEST_DIR"))).unwrap();
            (name, block.put_bundle(&wasm))
        });
        let (block, admin) = kernel::outside(block, |crank| {
            bundles.into_iter().for_each(|(name, id)| crank.name_bundle(name, id));
            crank.vat_admin()
        })
        .unwrap();
        let workers = warehouse(&dir);
        Rig { block: Some(block), workers, dir, admin }
    }

    /// Commits what was run of the block, and goes on with it from the disk.
    pub(super) fn restart(&mut self) {
        drop(self.block.take().unwrap().commit(true).unwrap());
        self.workers = warehouse(&self.dir);
        self.block = Some(open(&self.dir));
    }

    pub(super) fn block(&self) -> &Block {
        self.block.as_ref().unwrap()
    }

    pub(super) fn admin(&self) -> ObjectId {
        self.admin
    }

    pub(super) fn post(&mut self, target: KRef, message: &str) -> PromiseId {
        self.post_with(target, message, &[])
    }

    fn post_with(&mut self, target: KRef, message: &str, slots: &[KRef]) -> PromiseId {
        let data = CapData { body: format!("#{message}").as_str().into(), slots: slots.to_vec() };
        let send = |ledger: &mut kernel::Ledger| ledger.send_from_outside(target, data, Some(("", "")));
        let (block, answer) = kernel::outside(self.block.take().unwrap(), send).unwrap();
        self.block = Some(block);
        answer
    }

    /// One crank; whether there was one.
    pub(super) fn step(&mut self) -> bool {
        let (block, ran) = kernel::crank(self.block.take().unwrap(), &mut self.workers).unwrap();
        self.block = Some(block);
        ran.is_some()
    }

    pub(super) fn run(&mut self) {
        while self.step() {}
    }

    /// Sends a message, and runs until nothing is left to do; its answer.
    pub(super) fn ask(&mut self, target: KRef, message: &str) -> String {
        let answer = self.post(target, message);
        self.run();
        self.outcome(answer)
    }

    /// The body of an answer, after a `!` where it is a rejection.
    pub(super) fn outcome(&self, answer: PromiseId) -> String {
        let text = |data: &CapData<KRef>| data.body.as_text().unwrap().to_owned();
        match self.block().tables().settling(answer) {
            ("fulfilled", Some(data)) => text(data),
            (_, Some(data)) => format!("!{}", text(data)),
            (_, None) => "pending".to_owned(),
        }
    }

    pub(super) fn slots(&self, answer: PromiseId) -> Vec<KRef> {
        self.block().tables().settled(answer).unwrap().slots.clone()
    }

    /// The root and the admin facet of a new vat.
    pub(super) fn create(&mut self, bundle: &str, parameters: &str, options: &str) -> (KRef, KRef) {
        self.create_with(bundle, parameters, options, &[])
    }

    pub(super) fn create_with(
        &mut self,
        bundle: &str,
        parameters: &str,
        options: &str,
        slots: &[KRef],
    ) -> (KRef, KRef) {
        let message = format!("[\"createVat\",[\"{bundle}\",{parameters},{options}]]");
        let answer = self.post_with(self.admin.into(), &message, slots);
        self.run();
        let slots = self.slots(answer);
        (slots[0], slots[1])
    }

    /// The vat of a root.
    pub(super) fn vat(&self, root: KRef) -> VatId {
        let KRef::Object(id) = root else { panic!("{root} is no object") };
        match self.block().tables().objects.get(&id).unwrap().owner {
            Some(Owner::Vat(vat)) => vat,
            other => panic!("{root} is of {other:?}"),
        }
    }
}

fn open(dir: &TempDir) -> Block {
    let mut block = patiently(|| Block::open(&dir.path().join("state"), Slog::default()));
    block.set_audit(1);
    block
}

fn warehouse(dir: &TempDir) -> Warehouse {
    Warehouse::new(Some(&dir.path().join("code"))).unwrap()
}
