//! The thread that owns the driver, and with it the kernel. Everybody else asks it: a question is a function of the driver, and waits its
//! turn.

use std::{
    sync::{Arc, RwLock},
    thread::JoinHandle,
};

use tokio::sync::{mpsc, oneshot, watch};
use vathost::{host::staged::StagedHost, model::blame::HostFault};

use crate::{
    driver::{Driver, Halted},
    mortal::MortalStore,
    report::HaltReport,
    store::SqliteStore,
};

/// The driver of a real node.
pub type NodeDriver = Driver<StagedHost, MortalStore<SqliteStore>>;

/// The questions that wait for the thread: more would only wait longer.
const QUESTIONS_MAX: usize = 1_024;

/// The stack of the thread, large enough for guests.
const STACK_BYTES: usize = 64 << 20;

type Question = Box<dyn FnOnce(&mut NodeDriver) + Send>;

/// The way to the thread that owns the driver.
#[derive(Debug, Clone)]
pub struct KernelDesk {
    questions: mpsc::Sender<Question>,
    /// The height of the last committed block: whoever waits for a block waits for this to change.
    height: watch::Receiver<u64>,
    /// The reason why the node halted, once it has.
    halt: Arc<RwLock<Option<HaltReport>>>,
}

/// The error of a question that nobody answers any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Gone;

impl KernelDesk {
    /// Begins the thread of the kernel. `make` opens the driver on it.
    ///
    /// # Errors
    ///
    /// The thread cannot be started, or the driver cannot be opened.
    pub async fn begin(
        make: impl FnOnce() -> Result<NodeDriver, Halted> + Send + 'static,
    ) -> Result<(KernelDesk, JoinHandle<()>), Halted> {
        let (questions, incoming) = mpsc::channel(QUESTIONS_MAX);
        let (opened, was_opened) = oneshot::channel();
        let (tell_height, height) = watch::channel(0);
        let work = move || {
            let made = make();
            let opened_with = made.as_ref().map(|it| it.standing().height).map_err(|_| ());
            match made {
                Ok(driver) => {
                    tell_height.send_replace(opened_with.unwrap_or_default());
                    let _ = opened.send(Ok(()));
                    serve(driver, incoming, &tell_height);
                }
                Err(halted) => drop(opened.send(Err(halted))),
            }
        };
        let thread = std::thread::Builder::new().name("kernel".to_owned()).stack_size(STACK_BYTES).spawn(work);
        let thread = thread.map_err(|err| HostFault::new("start a thread", err))?;
        let gone = |_| Halted::Permanent("the kernel's thread ended before the state was open".to_owned());
        was_opened.await.map_err(gone)??;
        Ok((KernelDesk { questions, height, halt: Arc::default() }, thread))
    }

    /// Asks the driver, when it is this question's turn.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut NodeDriver) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        let ask: Question = Box::new(move |driver| drop(reply.send(question(driver))));
        self.questions.send(ask).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }

    /// Returns a watch on the height of the last committed block.
    pub fn height(&self) -> watch::Receiver<u64> {
        self.height.clone()
    }

    /// Notes why the node has halted.
    pub fn note_halt(&self, report: HaltReport) {
        if let Ok(mut halt) = self.halt.write() {
            halt.get_or_insert(report);
        }
    }

    /// Returns why the node has halted, if it has.
    pub fn halt(&self) -> Option<HaltReport> {
        self.halt.read().ok()?.clone()
    }
}

/// Answers one question after the other, until nobody can ask any more.
fn serve(mut driver: NodeDriver, mut incoming: mpsc::Receiver<Question>, height: &watch::Sender<u64>) {
    while let Some(question) = incoming.blocking_recv() {
        question(&mut driver);
        let now = driver.standing().height;
        height.send_if_modified(|told| std::mem::replace(told, now) != now);
    }
}
