//! The executor of async methods: one thread, inside the delivery.
//!
//! A task that waits for a promise leaves the delivery, and is polled again in the delivery that brings the notify. No task
//! runs between deliveries, and a delivery ends when no task can continue.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Waker};

use crate::state::vat;

pub(crate) struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
}

struct WakeTask(usize);

impl Wake for WakeTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        vat().ready.borrow_mut().push_back(self.0);
    }
}

/// Runs a future as a task of its own, which starts before this delivery ends.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    start(Box::pin(future));
}

fn start(future: Pin<Box<dyn Future<Output = ()>>>) {
    let mut tasks = vat().tasks.borrow_mut();
    let id = vat().vacant.borrow_mut().pop().unwrap_or(tasks.len());
    let task = Some(Task { future, waker: Waker::from(Arc::new(WakeTask(id))) });
    if let Some(place) = tasks.get_mut(id) {
        *place = task;
    } else {
        tasks.push(task);
    }
    vat().ready.borrow_mut().push_back(id);
}

/// Polls the tasks that are ready, until none is. A task is taken out to be polled, but its place stays reserved until it ends.
pub(crate) fn run() {
    while let Some(id) = next() {
        let Some(mut task) = vat().tasks.borrow_mut().get_mut(id).and_then(Option::take) else {
            continue;
        };
        let waker = task.waker.clone();
        let mut context = Context::from_waker(&waker);
        if task.future.as_mut().poll(&mut context).is_pending() {
            vat().tasks.borrow_mut()[id] = Some(task);
        } else {
            vat().vacant.borrow_mut().push(id);
        }
    }
}

fn next() -> Option<usize> {
    vat().ready.borrow_mut().pop_front()
}
