//! A juggler and his balls, one vat each: whatever can happen in the life of a vat happens to them, at the word of whoever runs
//! the soak. What he is told to do may be impossible by then; that is a rejection like any other.

#![cfg_attr(target_arch = "wasm32", no_std, no_main)]

use vat::admin::{Created, VatAdmin};
use vat::{Bootstrap, prelude::*};

/// The most balls that are in the air at once.
const BALLS_MAX: usize = 12;

struct Juggler {
    admin: RefCell<Option<VatAdmin>>,
    balls: RefCell<Vec<Created>>,
}

/// Creates vats, and does to them what it is told.
#[vat::exo]
impl Juggler {
    /// Takes the vat admin.
    pub fn bootstrap(&self, given: Bootstrap) {
        *self.admin.borrow_mut() = given.vat_admin.map(VatAdmin::from);
    }

    /// Takes up another ball, if there are not too many; how many there are.
    pub async fn create(&self, options: Value) -> Result<u64, Error> {
        if self.balls.borrow().len() >= BALLS_MAX {
            return Err("there are too many balls".into());
        }
        let admin = self.admin.borrow().clone().ok_or("there is no vat admin")?;
        let ball = admin.create_vat("juggler", Value::record([("ball", true.into())]), options).await?;
        self.balls.borrow_mut().push(ball);
        Ok(self.balls.borrow().len() as u64)
    }

    /// One ball is given others to hold, and touches them.
    pub async fn toss(&self, ball: u32, others: Vec<u32>) -> Result<Value, Error> {
        let others: Vec<Value> = others.into_iter().filter_map(|it| Some(self.ball(it).ok()?.root.into())).collect();
        self.ball(ball)?.root.send("hold", (Value::List(others),)).await
    }

    /// A ball lets go of what it holds, and of what it stored.
    pub async fn clear(&self, ball: u32) -> Result<Value, Error> {
        self.ball(ball)?.root.send("clear", ()).await
    }

    /// A ball traps.
    pub async fn trip(&self, ball: u32) -> Result<Value, Error> {
        self.ball(ball)?.root.send("trip", ()).await
    }

    /// Upgrades a ball, to a module that starts or to one that does not.
    pub async fn upgrade(&self, ball: u32, well: bool) -> Result<Value, Error> {
        let parameters = Value::record([("ball", well.into()), ("stillborn", (!well).into())]);
        self.ball(ball)?.admin.upgrade("juggler", parameters).await
    }

    /// Pauses a ball.
    pub async fn pause(&self, ball: u32) -> Result<Value, Error> {
        self.ball(ball)?.admin.pause("in the air").await
    }

    /// Lets a paused ball go on.
    pub async fn resume(&self, ball: u32) -> Result<Value, Error> {
        self.ball(ball)?.admin.resume().await
    }

    /// Ends a ball, and lets it go.
    pub async fn terminate(&self, ball: u32) -> Result<Value, Error> {
        let ball = self.let_go(ball)?;
        ball.admin.terminate("caught").await
    }

    /// Lets a ball go, which ends itself.
    pub async fn drop_ball(&self, ball: u32) -> Result<bool, Error> {
        let ball = self.let_go(ball)?;
        // A ball that is paused, also because it tripped, would never get the message.
        let tame = Value::record([("ball", true.into()), ("tame", true.into())]);
        ball.admin.upgrade("juggler", tame).await?;
        ball.admin.resume();
        ball.root.send("leave", ());
        Ok(true)
    }
}

impl Juggler {
    fn ball(&self, at: u32) -> Result<Created, Error> {
        let balls = self.balls.borrow();
        balls.get(at as usize).cloned().ok_or_else(|| "there is no such ball".into())
    }

    fn let_go(&self, at: u32) -> Result<Created, Error> {
        self.ball(at)?;
        Ok(self.balls.borrow_mut().swap_remove(at as usize))
    }
}

static TOUCHES: Durable<i64> = Durable::at("touches");
static MARKS: DurableMap<u64, i64> = DurableMap::at("marks");

/// How many marks a ball keeps.
const MARKS_MAX: i64 = 50;

#[derive(Default)]
struct Ball {
    /// Does not trip.
    tame: bool,
    held: RefCell<Vec<Remote>>,
}

/// One of the vats in the air.
#[vat::exo]
impl Ball {
    /// Holds other balls, and touches them; answers with the sum of their answers.
    pub async fn hold(&self, others: Vec<Remote>) -> Result<i64, Error> {
        *self.held.borrow_mut() = others.clone();
        let mut sum = self.touch();
        for other in others {
            sum += other.send("touch", ()).to::<i64>().await.unwrap_or(0);
        }
        Ok(sum)
    }

    /// Leaves a mark; answers with how many there are.
    pub fn touch(&self) -> i64 {
        let touches = TOUCHES.get().unwrap_or(0) + 1;
        TOUCHES.set(touches);
        MARKS.insert(&((touches % MARKS_MAX) as u64), touches);
        touches
    }

    /// Lets go of all that it holds.
    pub fn clear(&self) {
        self.held.borrow_mut().clear();
        (0..MARKS_MAX as u64).for_each(|it| MARKS.remove(&it));
    }

    /// Ends itself, well.
    pub fn leave(&self) {
        vat::exit("left");
    }

    /// Traps, unless it was upgraded not to.
    pub fn trip(&self) {
        self.touch();
        assert!(self.tame, "tripped");
    }
}

enum Root {
    Juggler(Rc<Juggler>),
    Ball(Rc<Ball>),
}

impl vat::IntoRoot for Root {
    fn into_root(self) -> Rc<dyn vat::Exo> {
        match self {
            Root::Juggler(it) => it,
            Root::Ball(it) => it,
        }
    }
}

#[vat::root]
fn build(parameters: Value) -> Root {
    let is = |name| parameters.get::<Option<bool>>(name).is_ok_and(|it| it == Some(true));
    assert!(!is("stillborn"), "stillborn");
    if is("ball") {
        Root::Ball(Rc::new(Ball { tame: is("tame"), ..Ball::default() }))
    } else {
        Root::Juggler(Rc::new(Juggler { admin: RefCell::new(None), balls: RefCell::new(Vec::new()) }))
    }
}
