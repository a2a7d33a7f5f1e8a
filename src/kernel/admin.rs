//! The objects that the kernel answers for: the vat admin, the admin facet of each vat, and meters.
//!
//! They answer plain messages. Holding one is the authority: nothing here asks who sent it.

use serde_json::{Value, json};

use crate::{
    invariant,
    kernel::{
        Ended, Ledger,
        lifecycle::may_make,
        request::{Refused, Request, number, undefined},
    },
    model::{
        blame::{Fault, KernelPanic},
        body,
        id::{BundleId, KRef, ObjectId, PromiseId, VatId},
        limits, price,
        value::{Bytes, CapData, Message},
    },
    state::table::{Awaited, Item, KernelObject, Meter, Object, OnFault, Options, Owner},
};

/// The reply to a message to one of the kernel's objects.
enum AdminReply {
    /// An answer that is there at once.
    Now(CapData<KRef>),
    /// A later answer, by the holder of the promise.
    Later,
}

/// An answer, a refusal, or a broken kernel.
type AdminAnswer<T> = Result<Result<T, Refused>, Fault>;

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
        let answer = match Request::decode(data) {
            Err(refused) => Err(refused),
            Ok(request) => match object {
                KernelObject::VatAdmin => self.answer_admin(&request, result)?,
                KernelObject::AdminFacet(vat) => self.admin_facet(vat, &request, result)?,
                KernelObject::Meter(meter) => self.meter(meter, &request, result)?,
            },
        };
        if let Some(result) = result {
            match answer {
                Ok(AdminReply::Now(data)) => self.settle(result, false, data)?,
                Ok(AdminReply::Later) => (),
                Err(Refused(why)) => self.settle(result, true, body::error(&why))?,
            }
        }
        Ok(self.decref_message(target, &message)?)
    }

    fn answer_admin(&mut self, request: &Request, result: Option<PromiseId>) -> AdminAnswer<AdminReply> {
        match &*request.method {
            "createVat" => self.admin_create(request, result),
            "createMeter" => {
                let (remaining, threshold) = match (request.number(0), request.number(1)) {
                    (Ok(remaining), Ok(threshold)) => (remaining, threshold),
                    (Err(refused), _) | (_, Err(refused)) => return Ok(Err(refused)),
                };
                self.new_meter(Some(remaining), threshold)
            }
            "createUnlimitedMeter" => self.new_meter(None, 0),
            other => Ok(Err(no_method("vatAdmin", other))),
        }
    }

    fn new_meter(&mut self, remaining: Option<u64>, threshold: u64) -> AdminAnswer<AdminReply> {
        if let Err(refused) = may_make(self.tables(), self.by()) {
            return Ok(Err(refused));
        }
        let creator = self.by();
        self.count_made(creator, 1)?;
        let id = self.tables().meters.iter().next_back().map_or(0, |(id, _)| id + 1);
        let meter = Meter { remaining, threshold, notified: false, creator, held: true, users: 0 };
        self.tables_mut().meters.insert(id, meter);
        let object = self.new_kernel_object(KernelObject::Meter(id));
        Ok(Ok(AdminReply::Now(CapData { body: "#\"$0.Alleged: meter\"".into(), slots: vec![object.into()] })))
    }

    fn admin_create(&mut self, request: &Request, result: Option<PromiseId>) -> AdminAnswer<AdminReply> {
        let checked = (|| {
            may_make(self.tables(), self.by())?;
            let bundle = self.named_bundle(request.text(0)?)?;
            let parameters = request.capdata(1)?;
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
            let (name, options) = self.options(request, request.arg(2), options)?;
            Ok((bundle, parameters, name, options))
        })();
        let (bundle, parameters, name, options) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Ok(Err(refused)),
        };
        let name = name.unwrap_or_else(|| request.text(0).unwrap_or_default().chars().take(32).collect());
        if let Some(result) = result {
            self.incref(result.into())?;
        }
        self.queue_new_vat(&name, bundle, options, parameters, result, true)?;
        Ok(Ok(AdminReply::Later))
    }

    /// The options of the vat that asks.
    fn asker(&self) -> Option<Options> {
        self.tables().vats.get(&self.by()?).map(|it| it.options.clone())
    }

    /// A bundle by its name in the scenario, or by its hash.
    fn named_bundle(&self, name: &str) -> Result<BundleId, Refused> {
        let bundles = &self.tables().bundles;
        let by_hash = || bundles.iter().map(|(_, id)| *id).find(|id| id.to_string() == name);
        let found = bundles.get(&Bytes::from(name)).copied().or_else(by_hash);
        found.ok_or_else(|| Refused(format!("there is no bundle `{name}`")))
    }

    /// Options as a guest names them, on top of others.
    fn options(
        &self,
        request: &Request,
        given: &Value,
        mut options: Options,
    ) -> Result<(Option<String>, Options), Refused> {
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
                    let object = request.object(value).and_then(|id| self.tables().objects.get(&id)?.owner);
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

    fn admin_facet(&mut self, vat: VatId, request: &Request, result: Option<PromiseId>) -> AdminAnswer<AdminReply> {
        let method = &*request.method;
        if method == "done" {
            return self.await_end(vat, result);
        }
        if !self.tables().is_alive(vat) {
            // Terminating twice is harmless.
            return Ok(if method == "terminate" {
                Ok(AdminReply::Now(undefined()))
            } else {
                Err("vat terminated".into())
            });
        }
        match method {
            "terminate" => {
                let info = match request.arg(0) {
                    Value::Null => Ok(body::error("vat terminated")),
                    _ => request.capdata(0),
                };
                match info {
                    Ok(info) => self.terminate(vat, &Ended { aborted: true, info, fault: None })?,
                    Err(refused) => return Ok(Err(refused)),
                }
                self.block_mut().doom(vat);
            }
            "pause" => self.pause(vat, &request.reason(0))?,
            "resume" => self.resume(vat)?,
            "upgrade" => return self.admin_upgrade(vat, request, result),
            "changeOptions" => {
                let options = self.tables().vats.get(&vat).map(|it| it.options.clone()).unwrap_or_default();
                let (memory_max, meter) = (options.memory_max, options.meter);
                let changed =
                    self.options(request, request.arg(0), options).and_then(|it| Ok((it, request.capdata(0)?)));
                let ((name, options), data) = match changed {
                    Ok(changed) => changed,
                    Err(refused) => return Ok(Err(refused)),
                };
                if options.memory_max != memory_max {
                    // What a guest saw of its memory must be the same in replay.
                    return Ok(Err("memoryMax cannot change while the vat runs".into()));
                }
                self.use_meter(options.meter, 1)?;
                self.use_meter(meter, -1)?;
                self.tables_mut().vats.update(&vat, |it| {
                    it.options = options;
                    it.name = name.unwrap_or(std::mem::take(&mut it.name));
                });
                data.slots.iter().try_for_each(|it| self.incref(*it))?;
                self.post(Item::ChangeOptions { vat, options: data });
            }
            other => return Ok(Err(no_method("adminFacet", other))),
        }
        Ok(Ok(AdminReply::Now(undefined())))
    }

    fn admin_upgrade(&mut self, vat: VatId, request: &Request, result: Option<PromiseId>) -> AdminAnswer<AdminReply> {
        let checked = (|| Ok((self.named_bundle(request.text(0)?)?, request.capdata(1)?)))();
        let (bundle, parameters) = match checked {
            Ok(checked) => checked,
            Err(refused) => return Ok(Err(refused)),
        };
        parameters.slots.iter().try_for_each(|it| self.incref(*it))?;
        if let Some(result) = result {
            self.incref(result.into())?;
        }
        self.post(Item::UpgradeVat { vat, bundle, parameters, result });
        Ok(Ok(AdminReply::Later))
    }

    /// `done()`: settled when the vat ends, or at once where it has.
    fn await_end(&mut self, vat: VatId, result: Option<PromiseId>) -> AdminAnswer<AdminReply> {
        let row = self.tables().vats.get(&vat).ok_or_else(|| KernelPanic::new("vat.known", vat))?;
        let Some(result) = result else { return Ok(Ok(AdminReply::Later)) };
        if let Some(ending) = row.ending {
            self.settle_as(result, ending)?;
        } else {
            self.await_with(Awaited::End(vat), result)?;
        }
        Ok(Ok(AdminReply::Later))
    }

    fn meter(&mut self, id: u64, request: &Request, result: Option<PromiseId>) -> AdminAnswer<AdminReply> {
        let Some(mut meter) = self.tables().meters.get(&id).cloned() else {
            return Err(KernelPanic::new("audit.queue", format_args!("meter {id}")).into());
        };
        match &*request.method {
            "get" => {
                let remaining = meter.remaining.map_or(json!("unlimited"), |it| json!(format!("+{it}")));
                let text = json!({ "remaining": remaining, "threshold": format!("+{}", meter.threshold) });
                return Ok(Ok(AdminReply::Now(CapData::plain(format!("#{text}")))));
            }
            "notify" => {
                if let Some(result) = result {
                    self.await_with(Awaited::Meter(id), result)?;
                }
                return Ok(Ok(AdminReply::Later));
            }
            "addRemaining" => match request.number(0) {
                Ok(more) => meter.remaining = meter.remaining.map(|it| it.saturating_add(more)),
                Err(refused) => return Ok(Err(refused)),
            },
            "setThreshold" => match request.number(0) {
                Ok(threshold) => meter.threshold = threshold,
                Err(refused) => return Ok(Err(refused)),
            },
            other => return Ok(Err(no_method("meter", other))),
        }
        meter.notified &= meter.remaining.is_some_and(|it| it < meter.threshold);
        self.tables_mut().meters.insert(id, meter);
        Ok(Ok(AdminReply::Now(undefined())))
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
