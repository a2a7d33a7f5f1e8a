//! What the SDK promises, against the mock kernel.

use std::cell::RefCell;

use vat::admin::Created;
use vat::test::World;
use vat::vref::{ROOT, VRef, own_object, own_promise, text};
use vat::{CapData, Device, Durable, DurableMap, Error, Promise, Rc, Remote, Resolver, Value};

/// An object that does whatever a test wants of it.
#[derive(Default)]
struct Probe {
    kept: RefCell<Vec<Value>>,
    resolver: RefCell<Option<Resolver>>,
}

struct Leaf;

#[vat::exo]
impl Leaf {
    pub fn touch(&self) {}
}

static NUMBER: Durable<u64> = Durable::at("number");
static FRIEND: Durable<Option<Remote>> = Durable::at("friend");
static FRIENDS: DurableMap<u64, Remote> = DurableMap::at("friends");

#[vat::exo]
impl Probe {
    pub fn keep(&self, value: Value) {
        self.kept.borrow_mut().push(value);
    }

    pub fn clear(&self) {
        let kept = self.kept.take();
        drop(kept);
    }

    pub fn kept(&self) -> Value {
        Value::List(self.kept.borrow().clone())
    }

    pub fn echo(&self, value: Value) -> Value {
        value
    }

    pub async fn wait(&self, promise: Promise) -> Result<Value, Error> {
        promise.await
    }

    pub async fn forward(&self, to: Remote, value: Value) -> Result<Value, Error> {
        to.send("take", (value,)).await
    }

    /// Starts other tasks in the middle of this one, and waits for them and for the promise.
    pub async fn juggle(&self, promise: Promise) -> Result<Vec<Value>, Error> {
        let branches: Vec<Promise> = (0..3)
            .map(|_| {
                let promise = promise.clone();
                Promise::spawn(promise)
            })
            .collect();
        let mut values = vec![promise.await?];
        for branch in branches {
            values.push(branch.await?);
        }
        Ok(values)
    }

    pub fn tell(&self, to: Remote) {
        to.send("ignored", ());
        to.send_only("unanswered", ());
    }

    pub fn pipeline(&self, to: Remote) -> Promise {
        to.send("first", ()).send("second", (1,))
    }

    pub fn send_to_kept(&self) -> Result<Promise, Error> {
        let kept: Promise = self.kept.borrow()[0].clone().to()?;
        Ok(kept.send("again", ()))
    }

    pub fn make(&self) -> Rc<Leaf> {
        Rc::new(Leaf)
    }

    pub fn make_promise(&self) -> Value {
        let (promise, resolver) = Promise::pair();
        self.resolver.replace(Some(resolver));
        vec![promise].into()
    }

    pub fn resolve_with(&self, value: Value) {
        if let Some(resolver) = self.resolver.take() {
            resolver.resolve(value);
        }
    }

    pub fn drop_resolver(&self) {
        drop(self.resolver.take());
    }

    pub fn befriend(&self, friend: Option<Remote>) {
        FRIEND.set(friend);
    }

    pub fn friend(&self) -> Option<Remote> {
        FRIEND.get().flatten()
    }

    pub fn befriend_as(&self, number: u64, friend: Remote) {
        FRIENDS.insert(&number, friend);
    }

    pub fn ask(&self, device: Device, question: String) -> Result<Value, Error> {
        device.call_now("ask", (question,))
    }

    pub fn leave(&self) {
        vat::log("leaving");
        vat::exit("done");
    }

    pub fn types(&self, _a: u8, _b: Option<bool>, _c: Vec<i32>, _d: f64, _e: Rc<Leaf>) {}

    fn hidden(&self) {}
}

fn world() -> World {
    let mut world = World::start(Probe::default);
    let probe = Probe::default();
    probe.hidden();
    world.syscalls();
    world
}

fn answer(world: &World, vpid: VRef) -> Value {
    world.outcome(vpid).expect("an answer").expect("no rejection")
}

fn refusal(world: &World, vpid: VRef) -> String {
    world.outcome(vpid).expect("an answer").expect_err("a rejection").message().to_string()
}

#[test]
fn a_promise_received_twice_is_one_and_subscribed_to_once() {
    let mut world = world();
    let coming = world.promise();
    let (one, two) = (world.send("wait", (coming,)), world.send("wait", (coming,)));
    assert_eq!(world.syscalls(), [format!("subscribe {}", text(coming.0))]);
    world.fulfill(coming.0, 7);
    assert_eq!((answer(&world, one), answer(&world, two)), (7.into(), 7.into()));
}

#[test]
fn a_task_may_start_others_and_wait_for_them() {
    let mut world = world();
    let coming = world.promise();
    let (one, two) = (world.send("juggle", (coming,)), world.send("juggle", (coming,)));
    world.fulfill(coming.0, 7);
    assert_eq!(answer(&world, one), vec![7, 7, 7, 7].into());
    assert_eq!(answer(&world, two), vec![7, 7, 7, 7].into());
}

#[test]
fn a_promise_that_nobody_awaits_is_subscribed_to_when_it_is_dropped() {
    let mut world = world();
    let (coming, friend) = (world.promise(), world.import());
    world.send("keep", (coming,));
    world.send("tell", (friend,));
    let [.., ignored, unanswered, answer, subscribe] = &world.syscalls()[..] else { panic!() };
    assert_eq!(ignored, "send o-50 #[\"ignored\",[]] p+1");
    assert_eq!(unanswered, "send o-50 #[\"unanswered\",[]]");
    assert!(answer.starts_with("resolve"), "{answer}");
    assert_eq!(subscribe, "subscribe p+1");
    world.syscalls();
    world.send("clear", ());
    assert_eq!(world.syscalls().last(), Some(&format!("subscribe {}", text(coming.0))));
    // The notify finds nobody, and is no trouble.
    world.fulfill(coming.0, 1);
    world.fulfill(own_promise(1), 1);
}

#[test]
fn a_settled_promise_travels_again_as_a_new_one() {
    let mut world = world();
    let (coming, friend) = (world.promise(), world.import());
    world.send("keep", (coming,));
    world.fulfill(coming.0, 7);
    world.syscalls();
    let kept = world.send("kept", ());
    let kept = text(kept);
    let calls = world.syscalls();
    assert_eq!(calls, [format!("resolve {kept} fulfilled #[\"&0\"] p+1"), "resolve p+1 fulfilled #7".into()]);
    // And again, in a send, which goes out before the promise in it is settled.
    world.send("forward", (friend, vec![Promise::settled(Ok(8.into()))]));
    let calls = world.syscalls();
    assert!(calls[0].starts_with("send o-50 #[\"take\",[[\"&0\"]]] p+"), "{calls:?}");
}

#[test]
fn settled_promises_in_a_circle_are_notified_and_sent_again() {
    let mut world = world();
    let (one, two) = (world.promise(), world.promise());
    world.send("keep", (one,));
    world.notify(&[(one.0, Ok(vec![two].into())), (two.0, Ok(vec![one].into()))]);
    world.syscalls();
    let kept = world.send("kept", ());
    let expected = [
        format!("resolve {} fulfilled #[\"&0\"] p+1", text(kept)),
        "resolve p+1 fulfilled #[\"&0\"] p+2".into(),
        "resolve p+2 fulfilled #[\"&0\"] p+1".into(),
    ];
    assert_eq!(world.syscalls(), expected);
}

#[test]
fn messages_to_a_settled_promise_go_to_what_it_is() {
    let mut world = world();
    let (coming, friend) = (world.promise(), world.import());
    world.send("keep", (coming,));
    world.send("sendToKept", ());
    world.fulfill(coming.0, friend);
    world.send("sendToKept", ());
    let targets: Vec<_> = world.sent().iter().map(|sent| text(sent.target)).collect();
    assert_eq!(targets, [text(coming.0), "o-50".into()]);
}

#[test]
fn messages_to_a_promise_that_is_data_are_refused_here() {
    let mut world = world();
    let coming = world.promise();
    world.send("keep", (coming,));
    world.fulfill(coming.0, 7);
    let told = world.send("sendToKept", ());
    assert_eq!(refusal(&world, told), "a number cannot be sent to");
    assert_eq!(world.sent(), []);
}

#[test]
fn a_pipelined_send_does_not_wait() {
    let mut world = world();
    let friend = world.import();
    let end = world.send("pipeline", (friend,));
    let [first, second] = &world.sent()[..] else { panic!("two messages") };
    assert_eq!((first.target, second.target), (friend.0, first.result));
    world.fulfill(second.result, "there");
    assert_eq!(answer(&world, end), "there".into());
}

#[test]
fn a_promise_of_this_vat_is_exported_and_resolved() {
    let mut world = world();
    world.send("makePromise", ());
    world.send("resolveWith", (5,));
    let calls = world.syscalls();
    assert!(calls[0].ends_with("fulfilled #[\"&0\"] p+1"), "{calls:?}");
    assert_eq!(calls[1], "resolve p+1 fulfilled #5");
}

#[test]
fn a_promise_resolved_with_a_promise_follows_it() {
    let mut world = world();
    let coming = world.promise();
    world.send("makePromise", ());
    world.send("resolveWith", (coming,));
    assert_eq!(world.outcome(own_promise(1)), None);
    world.reject(coming.0, "no");
    assert_eq!(refusal(&world, own_promise(1)), "no");
}

#[test]
fn a_dropped_resolver_rejects() {
    let mut world = world();
    world.send("makePromise", ());
    world.send("dropResolver", ());
    assert_eq!(refusal(&world, own_promise(1)), "the vat dropped the resolver of this promise");
}

#[test]
fn a_message_to_a_promise_that_this_vat_decides_waits_for_it() {
    let mut world = world();
    let (coming, friend) = (world.promise(), world.import());
    let first = world.send("wait", (coming,));
    let second = world.send_to(first, "hello", ());
    world.fulfill(coming.0, friend);
    let hello = world.sent().remove(0);
    assert_eq!((hello.target, &*hello.body), (friend.0, "#[\"hello\",[]]"));
    world.fulfill(hello.result, 1);
    assert_eq!(answer(&world, second), 1.into());
}

#[test]
fn an_import_is_dropped_once_when_nothing_holds_it() {
    let mut world = world();
    let friend = world.import();
    world.send("keep", (friend,));
    world.send("echo", (friend,));
    world.syscalls();
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), <[String; 0]>::default());
    world.send("clear", ());
    world.syscalls();
    world.bring_out_your_dead();
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), ["drop_imports o-50", "retire_imports o-50"]);
}

#[test]
fn an_import_that_returns_before_its_drop_was_reported_is_kept() {
    let mut world = world();
    let friend = world.import();
    world.send("echo", (friend,));
    world.send("keep", (friend,));
    world.syscalls();
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), <[String; 0]>::default());
}

#[test]
fn an_import_that_the_kernel_retired_is_not_dropped() {
    let mut world = world();
    let friend = world.import();
    world.send("echo", (friend,));
    world.retire_imports(&[friend.0]);
    world.syscalls();
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), <[String; 0]>::default());
}

#[test]
fn a_slot_that_the_body_does_not_name_is_dropped_too() {
    let mut world = world();
    let friend = world.import();
    world.message(ROOT, &CapData { body: "#[\"kept\",[]]".into(), slots: vec![friend.0] });
    world.syscalls();
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), ["drop_imports o-50", "retire_imports o-50"]);
}

#[test]
fn an_object_keeps_its_name_while_anybody_may_know_it() {
    let mut world = world();
    let leaf = world.send("make", ());
    let leaf = answer(&world, leaf);
    world.send("keep", (leaf,));
    // Unreachable from outside, but held by the probe: it comes back under the same name.
    world.drop_exports(&[own_object(1)]);
    world.bring_out_your_dead();
    world.syscalls();
    world.send("kept", ());
    assert!(world.syscalls()[0].ends_with("#[\"$0.Alleged: Leaf\"] o+1"));
    // Gone from both sides: it is retired.
    world.drop_exports(&[own_object(1)]);
    world.send("clear", ());
    world.syscalls();
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), ["retire_exports o+1"]);
}

#[test]
fn an_object_that_was_retired_outside_gets_a_new_name() {
    let mut world = world();
    let leaf = world.send("make", ());
    let leaf = answer(&world, leaf);
    world.send("keep", (leaf,));
    world.drop_exports(&[own_object(1)]);
    world.retire_exports(&[own_object(1)]);
    world.syscalls();
    world.send("kept", ());
    assert!(world.syscalls()[0].ends_with(" o+2"));
}

#[test]
fn the_root_outlives_all_who_know_it() {
    let mut world = world();
    world.drop_exports(&[ROOT]);
    world.retire_exports(&[ROOT]);
    world.bring_out_your_dead();
    let echo = world.send("echo", (1,));
    assert_eq!(answer(&world, echo), 1.into());
}

#[test]
fn a_stored_import_is_held_until_it_is_stored_no_more() {
    let mut world = world();
    let friend = world.import();
    world.send("befriend", (friend,));
    world.send("befriendAs", (7u64, friend));
    world.bring_out_your_dead();
    world.upgrade(Probe::default);
    let found = world.send("friend", ());
    assert!(world.syscalls().iter().all(|call| !call.starts_with("drop")));
    assert_eq!(answer(&world, found), friend.into());
    world.send("befriend", (Value::Null,));
    world.bring_out_your_dead();
    assert!(world.syscalls().iter().all(|call| !call.starts_with("drop")));
    FRIENDS.remove(&7);
    assert_eq!(FRIENDS.iter().count(), 0);
    world.bring_out_your_dead();
    assert_eq!(world.syscalls(), ["drop_imports o-50", "retire_imports o-50"]);
}

#[test]
fn a_later_incarnation_uses_other_names() {
    let mut world = world();
    world.send("make", ());
    world.upgrade(Probe::default);
    world.syscalls();
    world.send("make", ());
    assert!(world.syscalls()[0].ends_with(" o+4294967297"));
    assert_eq!(world.stored("vat.incarnation"), Some("2".into()));
}

#[test]
fn a_durable_map_walks_in_order_over_many_pages() {
    let _world = world();
    static MAP: DurableMap<u64, String> = DurableMap::at("map");
    static NEIGHBOUR: DurableMap<u64, String> = DurableMap::at("map2");
    let value = |n: u64| "v".repeat(if n == 50 { 100_000 } else { 1_000 });
    for n in [3, 1, 2].into_iter().chain(10..100) {
        MAP.insert(&n, value(n));
        NEIGHBOUR.insert(&n, "other".into());
    }
    let entries: Vec<(u64, String)> = MAP.iter().collect();
    let expected: Vec<_> = (1..=3).chain(10..100).map(|n| (n, value(n))).collect();
    assert!(entries == expected, "{} entries", entries.len());
    assert_eq!(NUMBER.get(), None);
}

#[test]
fn arguments_of_the_wrong_type_are_refused_by_number() {
    let mut world = world();
    let good = |world: &mut World| {
        let leaf = world.send("make", ());
        let leaf = answer(world, leaf);
        vec![255.into(), Value::Undefined, vec![1, 2].into(), 0.5.into(), leaf]
    };
    let fine = good(&mut world);
    let fine = world.send("types", fine);
    assert_eq!(answer(&world, fine), Value::Undefined);
    for (at, wrong, why) in [
        (0, Value::Int(256), "types: argument 1: out of range of u8"),
        (0, Value::BigInt(-1), "types: argument 1: out of range of u8"),
        (1, "yes".into(), "types: argument 2: expected a boolean, found a string"),
        (2, vec!["one"].into(), "types: argument 3: expected an integer, found a string"),
        (3, Value::Null, "types: argument 4: expected a number, found null"),
        (4, ().into(), "types: argument 5: expected an object of this vat, found nothing"),
    ] {
        let mut args = good(&mut world);
        args[at] = wrong;
        let told = world.send("types", args);
        assert_eq!(refusal(&world, told), why);
    }
}

/// A method that holds its own object.
struct Holder;

#[vat::exo]
impl Holder {
    pub fn with(self: Rc<Self>, one: u8, other: u8) -> Vec<Value> {
        vec![self.into(), (one + other).into()]
    }
}

#[test]
fn a_method_of_a_counted_object_takes_arguments() {
    let mut world = World::start(|| Holder);
    let told = world.send("with", (3, 4));
    let Value::List(answer) = answer(&world, told) else { panic!("a list") };
    assert_eq!(answer[1], Value::Int(7));
}

#[test]
fn messages_of_no_sense_are_refused() {
    let mut world = world();
    for (target, body, why) in [
        (ROOT, "not json", "the body is not smallcaps"),
        (ROOT, "#[\"echo\"]", "the message is not [method, arguments]"),
        (ROOT, "#[\"echo\",{}]", "the message is not [method, arguments]"),
        (ROOT, "#[\"echo\",[\"$0\"]]", "the body names a slot that is not there"),
        (ROOT, "#[\"hidden\",[]]", "target has no method hidden"),
        (ROOT, "#[\"ecko\",[]]", "target has no method ecko: did you mean `echo`?"),
        (ROOT, "#[\"make_promise\",[]]", "target has no method make_promise: did you mean `makePromise`?"),
        (ROOT, "#[\"sendtokpet\",[]]", "target has no method sendtokpet: did you mean `sendToKept`?"),
        (ROOT, "#[\"mk\",[]]", "target has no method mk"),
        (ROOT, "#[\"\",[]]", "target has no method "),
        (own_object(99), "#[\"echo\",[]]", "there is no such object in this vat"),
    ] {
        let told = world.message(target, &CapData { body: body.into(), slots: Vec::new() });
        assert_eq!(refusal(&world, told), why, "{body}");
    }
}

#[test]
fn a_device_answers_at_once_or_refuses() {
    let mut world = world();
    let device = world.device(|call| match call {
        "#[\"ask\",[\"time\"]]" => Ok("#12".into()),
        _ => Err("#{\"#error\":\"no answer\",\"name\":\"Error\"}".into()),
    });
    let ask = |world: &mut World, question: &str| {
        let body = ["#[\"ask\",[\"$0\",\"", question, "\"]]"].concat();
        world.message(ROOT, &CapData { body, slots: vec![device] })
    };
    let (time, sense) = (ask(&mut world, "time"), ask(&mut world, "sense"));
    assert_eq!(answer(&world, time), 12.into());
    assert_eq!(refusal(&world, sense), "no answer");
}

#[test]
fn a_vat_may_leave_with_a_word() {
    let mut world = world();
    world.send("leave", ());
    assert_eq!(world.syscalls()[0], "exit as planned #\"done\"");
    assert_eq!(world.console(), ["leaving"]);
}

#[test]
fn a_new_vat_comes_with_its_root_and_its_admin() {
    let mut world = world();
    let (root, admin) = (world.import(), world.import());
    let created = Value::record([("root", root.into()), ("admin", admin.into())]);
    let created: Created = created.to().expect("a new vat");
    assert_eq!(created.root.vref(), root.0);
    assert_eq!(Value::from(created.admin), admin.into());
}
