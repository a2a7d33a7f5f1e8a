//! The objects that the kernel answers for: the vat admin, the admin facet of each vat, and meters.
//!
//! They answer plain messages. Holding one is the authority: nothing here asks who sent it.

use serde_json::{Value, json};

use crate::{
    invariant,
    kernel::{
        Ended, Ledger,
        lifecycle::may_make,
        request::{Refused, Request, Unanswered, number, refuse, undefined},
    },
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{BundleId, KRef, ObjectId, PromiseId, VatId},
        limits, price,
        value::{Bytes, CapData, Message},
    },
    state::{
        block::pending,
        table::{Awaited, Item, KernelObject, Meter, Object, OnFault, Options, Owner},
    },
};

/// The reply to a message to one of the kernel's objects.
enum AdminReply {
    /// An answer that is there at once.
    Now(CapData<KRef>),
    /// A later answer, by the holder of the promise.
    Later,
}

/// A request that the kernel answers, with the promise for its answer.
struct Answering<'a> {
    ledger: &'a mut Ledger,
    request: &'a Request,
    result: Option<PromiseId>,
}

impl Ledger {
    /// Makes an object whose messages the kernel answers.
    pub(super) fn new_kernel_object(&mut self, object: KernelObject) -> ObjectId {
        let id = self.next_object_id();
        self.tables_mut().objects.insert(id, Object { owner: Some(Owner::Kernel(object)), ..Object::default() });
        id
    }

    /// Answers a message to one of the kernel's objects.
    pub(super) fn answer(&mut self, object: KernelObject, target: KRef, message: Message<KRef>) -> Result<(), Fault> {
        let result = message.result.and_then(KRef::promise);
        let data = &message.methargs;
        self.charge_sender(price::KERNEL_OBJECT.of(data.body.len() as u64, data.slots.len() as u64))?;
        match self.reply(object, data, result) {
            Ok(AdminReply::Now(data)) => result.map_or(Ok(()), |it| self.settle(it, false, data))?,
            Ok(AdminReply::Later) => (),
            Err(Unanswered::Refused(Refused(why))) => {
                result.map_or(Ok(()), |it| self.settle(it, true, body::error(&why)))?;
            }
            Err(Unanswered::Broken(fault)) => return Err(fault),
        }
        Ok(self.decref_message(target, &message)?)
    }

    fn reply(
        &mut self,
        object: KernelObject,
        methargs: &CapData<KRef>,
        result: Option<PromiseId>,
    ) -> Result<AdminReply, Unanswered> {
        let request = &Request::decode(methargs)?;
        let mut answering = Answering { ledger: self, request, result };
        match object {
            KernelObject::VatAdmin => answering.answer_admin(),
            KernelObject::AdminFacet(vat) => answering.admin_facet(vat),
            KernelObject::Meter(meter) => answering.meter(meter),
        }
    }

    /// Changes the number of live vats that use a meter. One that nobody uses or holds is gone.
    pub(super) fn use_meter(&mut self, meter: Option<u64>, more: i64) -> Result<(), KernelPanic> {
        let Some(id) = meter else { return Ok(()) };
        let users = self.tables_mut().meters.update(&id, |it| {
            let users = it.users.checked_add_signed(more);
            it.users = users.unwrap_or(0);
            users
        });
        invariant!(users.flatten().is_some(), "vat.known", "meter {id} has {users:?} users");
        self.drop_meter(id)
    }

    fn drop_meter(&mut self, id: u64) -> Result<(), KernelPanic> {
        if self.tables().meters.get(&id).is_some_and(|it| it.held || it.users > 0) {
            return Ok(());
        }
        let gone = self.tables_mut().meters.remove(&id);
        self.count_made(gone.and_then(|it| it.creator), -1)?;
        self.take_waiting(Awaited::Meter(id)).into_iter().try_for_each(|it| self.decref(it.into()))
    }

    /// Forgets a kernel object that no vat holds any more, and gives up what the object held.
    pub(super) fn forget_kernel_object(&mut self, object: KernelObject) -> Result<(), KernelPanic> {
        match object {
            KernelObject::VatAdmin => Ok(()),
            KernelObject::AdminFacet(vat) => self.forget_ending(vat),
            KernelObject::Meter(id) => {
                self.tables_mut().meters.update(&id, |it| it.held = false);
                self.drop_meter(id)
            }
        }
    }
}

impl Answering<'_> {
    fn answer_admin(&mut self) -> Result<AdminReply, Unanswered> {
        match &*self.request.method {
            "createVat" => self.create(),
            "createMeter" => {
                let (remaining, threshold) = (self.request.number(0)?, self.request.number(1)?);
                self.new_meter(Some(remaining), threshold)
            }
            "createUnlimitedMeter" => self.new_meter(None, 0),
            other => Err(no_method("vatAdmin", other).into()),
        }
    }

    fn new_meter(&mut self, remaining: Option<u64>, threshold: u64) -> Result<AdminReply, Unanswered> {
        may_make(self.ledger.tables(), self.ledger.by())?;
        let creator = self.ledger.by();
        self.ledger.count_made(creator, 1)?;
        let id = self.ledger.tables().meters.iter().next_back().map_or(0, |(id, _)| id + 1);
        let meter = Meter { remaining, threshold, notified: false, creator, held: true, users: 0 };
        self.ledger.tables_mut().meters.insert(id, meter);
        let object = self.ledger.new_kernel_object(KernelObject::Meter(id));
        Ok(AdminReply::Now(CapData { body: "#\"$0.Alleged: meter\"".into(), slots: vec![object.into()] }))
    }

    fn create(&mut self) -> Result<AdminReply, Unanswered> {
        may_make(self.ledger.tables(), self.ledger.by())?;
        let bundle = self.named_bundle()?;
        let parameters = self.request.capdata(1)?;
        // Of nothing that a vat may use its children have more.
        let (own, usual) = (self.asker().unwrap_or_default(), Options::default());
        let options = Options {
            fuel_per_delivery: own.fuel_per_delivery.min(usual.fuel_per_delivery),
            memory_max: own.memory_max.min(usual.memory_max),
            store_max: own.store_max.min(usual.store_max),
            queued_max: own.queued_max.min(usual.queued_max),
            queued_bytes_max: own.queued_bytes_max.min(usual.queued_bytes_max),
            refs_max: own.refs_max.min(usual.refs_max),
            vats_max: own.vats_max.min(usual.vats_max),
            ..usual
        };
        let (name, options) = self.options(self.request.arg(2), options)?;
        let name = name.unwrap_or_else(|| self.request.text(0).unwrap_or_default().chars().take(32).collect());
        if let Some(result) = self.result {
            self.ledger.incref(result.into())?;
        }
        self.ledger.queue_new_vat(&name, bundle, options, parameters, self.result, true)?;
        Ok(AdminReply::Later)
    }

    /// The options of the vat that asks.
    fn asker(&self) -> Option<Options> {
        self.ledger.tables().vats.get(&self.ledger.by()?).map(|it| it.options.clone())
    }

    /// The bundle that the request names first: by its name in the scenario, or by its hash.
    fn named_bundle(&self) -> Result<BundleId, Refused> {
        let name = self.request.text(0)?;
        let bundles = &self.ledger.tables().bundles;
        let by_hash = || bundles.iter().map(|(_, id)| *id).find(|id| id.to_string() == name);
        let found = bundles.get(&Bytes::from(name)).copied().or_else(by_hash);
        found.ok_or_else(|| Refused(format!("there is no bundle `{name}`")))
    }

    /// Options as a guest names them, on top of others.
    fn options(&self, given: &Value, mut options: Options) -> Result<(Option<String>, Options), Refused> {
        let (mut name, own) = (None, self.asker().unwrap_or_default());
        let members = match given {
            Value::Null => return Ok((None, options)),
            Value::Object(members) => members,
            _ => return Err("options must be a record".into()),
        };
        for (key, value) in members {
            let whole = || number(value).ok_or_else(|| Refused(format!("option {key} must be a whole number")));
            let threshold = || Ok::<_, Refused>(Some(whole()?).filter(|it| *it > 0));
            let at_most = |own: u64| match whole()? {
                more if more > own => {
                    Err(Refused(format!("option {key} may be {own} at the most: the vat that asks has no more")))
                }
                fits => Ok(fits),
            };
            match &**key {
                "name" => name = Some(vat_name(value.as_str().ok_or("option name must be a text")?)?),
                "fuelPerDelivery" => options.fuel_per_delivery = at_most(own.fuel_per_delivery)?,
                "memoryMax" => options.memory_max = at_most(own.memory_max)?,
                "storeMax" => options.store_max = at_most(own.store_max)?,
                "reapInterval" => options.reap_interval = threshold()?,
                "reapGcKrefs" => options.reap_gc_krefs = threshold()?,
                "snapshotInterval" => options.snapshot_interval = threshold()?,
                "queuedMax" => options.queued_max = at_most(own.queued_max)?,
                "queuedBytesMax" => options.queued_bytes_max = at_most(own.queued_bytes_max)?,
                "refsMax" => options.refs_max = at_most(own.refs_max)?,
                "vatsMax" => options.vats_max = at_most(own.vats_max)?,
                "pipelining" => {
                    options.pipelining = value.as_bool().ok_or("option pipelining must be true or false")?
                }
                "onFault" => {
                    options.on_fault = match value.as_str() {
                        Some("terminate") => OnFault::Terminate,
                        Some("pause") => OnFault::Pause,
                        Some("reject") => OnFault::Reject,
                        _ => return Err("option onFault must be terminate, pause or reject".into()),
                    }
                }
                "meter" => {
                    let object = self.request.object(value).and_then(|id| self.ledger.tables().objects.get(&id)?.owner);
                    match object {
                        Some(Owner::Kernel(KernelObject::Meter(meter))) => options.meter = Some(meter),
                        _ => return Err("option meter must be a meter".into()),
                    }
                }
                other => return Err(Refused(format!("there is no option `{other}`"))),
            }
        }
        Ok((name, options))
    }

    fn admin_facet(&mut self, vat: VatId) -> Result<AdminReply, Unanswered> {
        let method = &*self.request.method;
        if method == "done" {
            return self.await_end(vat);
        }
        if !self.ledger.tables().is_alive(vat) {
            // Terminating twice is harmless.
            return if method == "terminate" { Ok(AdminReply::Now(undefined())) } else { refuse("vat terminated") };
        }
        match method {
            "terminate" => {
                let info = match self.request.arg(0) {
                    Value::Null => body::error("vat terminated"),
                    _ => self.request.capdata(0)?,
                };
                self.ledger.terminate(vat, &Ended { aborted: true, info, fault: None })?;
                pending::of_mut(self.ledger.block_mut()).doomed.push(vat);
            }
            "pause" => self.ledger.pause(vat, &self.request.reason(0))?,
            "resume" => self.ledger.resume(vat)?,
            "upgrade" => return self.upgrade(vat),
            "changeOptions" => self.change_options(vat)?,
            other => return Err(no_method("adminFacet", other).into()),
        }
        Ok(AdminReply::Now(undefined()))
    }

    fn change_options(&mut self, vat: VatId) -> Result<(), Unanswered> {
        let options = self.ledger.tables().vats.get(&vat).map(|it| it.options.clone()).unwrap_or_default();
        let (memory_max, meter) = (options.memory_max, options.meter);
        let (name, options) = self.options(self.request.arg(0), options)?;
        let data = self.request.capdata(0)?;
        if options.memory_max != memory_max {
            // What a guest saw of its memory must be the same in replay.
            return refuse("memoryMax cannot change while the vat runs");
        }
        self.ledger.use_meter(options.meter, 1)?;
        self.ledger.use_meter(meter, -1)?;
        self.ledger.tables_mut().vats.update(&vat, |it| {
            it.options = options;
            it.name = name.unwrap_or(std::mem::take(&mut it.name));
        });
        data.slots.iter().try_for_each(|it| self.ledger.incref(*it))?;
        self.ledger.post(Item::ChangeOptions { vat, options: data });
        Ok(())
    }

    fn upgrade(&mut self, vat: VatId) -> Result<AdminReply, Unanswered> {
        let bundle = self.named_bundle()?;
        let parameters = self.request.capdata(1)?;
        parameters.slots.iter().try_for_each(|it| self.ledger.incref(*it))?;
        if let Some(result) = self.result {
            self.ledger.incref(result.into())?;
        }
        self.ledger.post(Item::UpgradeVat { vat, bundle, parameters, result: self.result });
        Ok(AdminReply::Later)
    }

    /// `done()`: settled when the vat ends, or at once where it has.
    fn await_end(&mut self, vat: VatId) -> Result<AdminReply, Unanswered> {
        let row = self.ledger.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
        let Some(result) = self.result else { return Ok(AdminReply::Later) };
        if let Some(ending) = row.ending {
            self.ledger.settle_as(result, ending)?;
        } else {
            self.ledger.await_with(Awaited::End(vat), result)?;
        }
        Ok(AdminReply::Later)
    }

    fn meter(&mut self, id: u64) -> Result<AdminReply, Unanswered> {
        let Some(mut meter) = self.ledger.tables().meters.get(&id).cloned() else {
            return Err(KernelPanic::new("audit.queue", format_args!("meter {id}")).into());
        };
        match &*self.request.method {
            "get" => {
                let remaining = meter.remaining.map_or(json!("unlimited"), |it| json!(format!("+{it}")));
                let text = json!({ "remaining": remaining, "threshold": format!("+{}", meter.threshold) });
                return Ok(AdminReply::Now(CapData::plain(format!("#{text}"))));
            }
            "notify" => {
                if let Some(result) = self.result {
                    self.ledger.await_with(Awaited::Meter(id), result)?;
                }
                return Ok(AdminReply::Later);
            }
            "addRemaining" => {
                let more = self.request.number(0)?;
                meter.remaining = meter.remaining.map(|it| it.saturating_add(more));
            }
            "setThreshold" => meter.threshold = self.request.number(0)?,
            other => return Err(no_method("meter", other).into()),
        }
        meter.notified &= meter.remaining.is_some_and(|it| it < meter.threshold);
        self.ledger.tables_mut().meters.insert(id, meter);
        Ok(AdminReply::Now(undefined()))
    }
}

/// A name that a guest gives a vat.
fn vat_name(name: &str) -> Result<String, Refused> {
    let max = limits::NAME_BYTES_MAX;
    if name.len() > max {
        return Err(Refused(format!("option name has {} bytes, the limit is {max}", name.len())));
    }
    Ok(name.to_owned())
}

fn no_method(object: &str, method: &str) -> Refused {
    Refused(format!("target {object} has no method {method}"))
}
