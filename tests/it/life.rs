//! The life of a vat under the vat admin: created, upgraded, paused, resumed, changed, metered, and ended.
//!
//! A [`Town`] is a world of scripted vats whose admin is asked from outside; a [`Rig`](rig::Rig) runs real guests, for what
//! becomes of their heaps.

mod create;
mod end;
mod fault;
mod foreman;
mod made;
mod meter;
mod options;
mod pause;
mod rig;
mod upgrade;

use std::ops::{Deref, DerefMut};

use vathost::{
    model::{
        id::{BundleId, KRef, ObjectId, PromiseId},
        value::CapData,
    },
    state::table::{Owner, Status},
};

use crate::kernel::World;

/// Scripted vats, and the vat admin.
struct Town {
    w: World,
    admin: ObjectId,
}

impl Deref for Town {
    type Target = World;
    fn deref(&self) -> &World {
        &self.w
    }
}

impl DerefMut for Town {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.w
    }
}

impl Town {
    fn new(names: &str) -> Town {
        let mut w = World::new(names);
        let admin = w.outside(|crank| {
            crank.name_bundle("script", BundleId::of(b"script"));
            crank.vat_admin()
        });
        Town { w, admin }
    }

    /// Sends a message from outside.
    #[track_caller]
    fn post(&mut self, target: ObjectId, message: &str, slots: &[KRef]) -> PromiseId {
        let data = CapData { body: format!("#{message}").as_str().into(), slots: slots.to_vec() };
        self.outside(|crank| crank.send_from_outside(target.into(), data, Some(("", ""))))
    }

    /// The same; runs until nothing is left to do, and tells how it was answered.
    #[track_caller]
    fn ask(&mut self, target: ObjectId, message: &str) -> String {
        let answer = self.post(target, message, &[]);
        while self.step().is_some() {}
        self.outcome(answer)
    }

    /// The slots of an answer.
    fn slots(&self, answer: PromiseId) -> Vec<KRef> {
        self.tables().settled(answer).unwrap().slots.clone()
    }

    /// Creates a vat that is known by this name from then on; its admin facet.
    #[track_caller]
    fn create(&mut self, name: &str, options: &str, slots: &[KRef]) -> ObjectId {
        let never = "\"reapInterval\":0,\"reapGcKrefs\":0";
        let message = format!("[\"createVat\",[\"script\",{{}},{{\"name\":\"{name}\",{never}{options}}}]]");
        let answer = self.post(self.admin, &message, slots);
        while self.step().is_some() {}
        match *self.slots(answer) {
            [KRef::Object(root), KRef::Object(facet)] => {
                let Some(Owner::Vat(vat)) = self.tables().objects.get(&root).unwrap().owner else {
                    panic!("{root} is no vat's");
                };
                self.w.vats.insert(name.to_owned(), (vat, root));
                facet
            }
            ref other => panic!("{other:?}"),
        }
    }

    fn status(&self, name: &str) -> &Status {
        &self.tables().vats.get(&self.vat(name)).unwrap().status
    }

    fn incarnation(&self, name: &str) -> u32 {
        self.tables().vats.get(&self.vat(name)).unwrap().incarnation
    }
}

const UPGRADE: &str = "[\"upgrade\",[\"script\",{}]]";
const TERMINATE: &str = "[\"terminate\",[{\"#error\":\"enough\",\"name\":\"Error\"}]]";
const DONE: &str = "[\"done\",[]]";
const PAUSE: &str = "[\"pause\",[\"lunch\"]]";
const RESUME: &str = "[\"resume\",[]]";
