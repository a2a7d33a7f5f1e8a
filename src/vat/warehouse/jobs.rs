//! Jobs that wait on a list, each of which is done once, by whichever thread comes first.
//!
//! ```text
//!               work, or while another is awaited           done
//!   waiting ──────────────────────────────────────▶ begun ────────▶ done ──┐
//!      │                                                                   │ finish, recall
//!      ├─ finish: done by the thread that wants it back ───────────────────┤
//!      └─ recall: not done at all ─────────────────────────────────────────┴─▶ (whoever has its number)
//! ```
//!
//! Invariants: whoever wants a job back waits for no thread that has not begun it, and does the jobs that wait before it waits itself.
//! Each job comes back, one that panicked as well: it is spoiled. After [`Jobs::close`] no job is under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// Something to be done, by any thread.
pub(super) trait Job {
    /// Does the job, which is never done twice.
    fn run(&mut self);

    /// Notes that the job panicked, so that all it holds may be in any state.
    fn spoil(&mut self);
}

/// A list of jobs, for many threads. The numbers of the jobs are their order.
pub(super) struct Jobs<T> {
    board: Mutex<Board<T>>,
    /// Told when a job is done that somebody waits for.
    news: Condvar,
}

struct Board<T> {
    /// The number of the next job.
    next: u64,
    waiting: BTreeMap<u64, Box<T>>,
    begun: BTreeSet<u64>,
    done: BTreeMap<u64, Box<T>>,
    /// Whether somebody waits for a job that another thread has begun.
    is_awaited: bool,
}

impl<T> Default for Jobs<T> {
    fn default() -> Jobs<T> {
        let (waiting, done) = (BTreeMap::new(), BTreeMap::new());
        let board = Board { next: 0, waiting, begun: BTreeSet::new(), done, is_awaited: false };
        Jobs { board: Mutex::new(board), news: Condvar::new() }
    }
}

impl<T: Job> Jobs<T> {
    /// Puts a job at the end of the list. Returns its number.
    pub(super) fn add(&self, job: T) -> u64 {
        let mut board = self.board();
        let number = board.next;
        board.next += 1;
        board.waiting.insert(number, Box::new(job));
        number
    }

    /// Does jobs as long as any wait.
    pub(super) fn work(&self) {
        let mut board = self.board();
        while let Some((number, job)) = board.begin() {
            board = self.go_through(board, number, job);
        }
    }

    /// Takes a job back, done: by this thread, if no other has begun it.
    pub(super) fn finish(&self, number: u64) -> Option<Box<T>> {
        let mut board = self.board();
        match board.waiting.remove(&number) {
            Some(job) => {
                drop(board);
                Some(run(job))
            }
            None => self.wait(board, number),
        }
    }

    /// Takes a job back: as it was, if no thread has begun it, and otherwise done.
    pub(super) fn recall(&self, number: u64) -> Option<Box<T>> {
        let mut board = self.board();
        match board.waiting.remove(&number) {
            Some(job) => Some(job),
            None => self.wait(board, number),
        }
    }

    /// Drops the jobs that nobody has begun, and waits for the others.
    pub(super) fn close(&self) {
        let mut board = self.board();
        let waiting = std::mem::take(&mut board.waiting);
        while !board.begun.is_empty() {
            board = self.sleep(board);
        }
        drop(board);
        drop(waiting);
    }

    /// Waits until a job that another thread has begun is done. Does other jobs meanwhile.
    fn wait<'b>(&'b self, mut board: MutexGuard<'b, Board<T>>, number: u64) -> Option<Box<T>> {
        while board.begun.contains(&number) {
            board = match board.begin() {
                Some((other, job)) => self.go_through(board, other, job),
                None => self.sleep(board),
            };
        }
        board.done.remove(&number)
    }

    /// Does a job that was begun, while the list is free for others.
    fn go_through<'b>(&'b self, board: MutexGuard<'b, Board<T>>, number: u64, job: Box<T>) -> MutexGuard<'b, Board<T>> {
        drop(board);
        let job = run(job);
        let mut board = self.board();
        board.begun.remove(&number);
        board.done.insert(number, job);
        if std::mem::take(&mut board.is_awaited) {
            self.news.notify_all();
        }
        board
    }

    fn sleep<'b>(&'b self, mut board: MutexGuard<'b, Board<T>>) -> MutexGuard<'b, Board<T>> {
        board.is_awaited = true;
        self.news.wait(board).unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board<T>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Board<T> {
    /// Takes the first job that waits.
    fn begin(&mut self) -> Option<(u64, Box<T>)> {
        let (number, job) = self.waiting.pop_first()?;
        self.begun.insert(number);
        Some((number, job))
    }
}

fn run<T: Job>(mut job: Box<T>) -> Box<T> {
    if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
        job.spoil();
    }
    job
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        thread,
    };

    use super::*;

    /// A job that says that it was begun, and then waits until it is let go.
    struct Gate {
        begun: mpsc::Sender<u64>,
        gate: Option<mpsc::Receiver<()>>,
        number: u64,
        panics: bool,
        runs: u32,
        spoiled: bool,
    }

    impl Job for Gate {
        fn run(&mut self) {
            self.runs += 1;
            self.begun.send(self.number).unwrap();
            if let Some(gate) = self.gate.take() {
                gate.recv().unwrap();
            }
            assert!(!self.panics, "for a test");
        }
        fn spoil(&mut self) {
            self.spoiled = true;
        }
    }

    struct Lab {
        jobs: Arc<Jobs<Gate>>,
        begun: mpsc::Receiver<u64>,
        sender: mpsc::Sender<u64>,
    }

    impl Lab {
        fn new() -> Lab {
            let (sender, begun) = mpsc::channel();
            Lab { jobs: Arc::default(), begun, sender }
        }

        fn job(&self, number: u64, gate: Option<mpsc::Receiver<()>>, panics: bool) {
            let job = Gate { begun: self.sender.clone(), gate, number, panics, runs: 0, spoiled: false };
            assert_eq!(self.jobs.add(job), number);
        }

        /// Adds a job that another thread has begun, and that ends when the sender says so.
        fn begun(&self, panics: bool) -> (mpsc::Sender<()>, thread::JoinHandle<()>) {
            let (go, gate) = mpsc::channel();
            self.job(0, Some(gate), panics);
            let jobs = Arc::clone(&self.jobs);
            let thread = thread::spawn(move || jobs.work());
            assert_eq!(self.begun.recv().unwrap(), 0);
            (go, thread)
        }

        fn done(&self) -> Vec<u64> {
            self.begun.try_iter().collect()
        }
    }

    #[test]
    fn a_job_that_nobody_has_begun_is_done_by_whoever_wants_it_back() {
        let lab = Lab::new();
        (0..3).for_each(|it| lab.job(it, None, false));
        assert_eq!(lab.jobs.finish(1).unwrap().runs, 1);
        assert_eq!(lab.done(), [1]);
        assert_eq!(lab.jobs.recall(2).unwrap().runs, 0);
        assert!(lab.jobs.finish(2).is_none(), "it is back already");
        lab.jobs.work();
        assert_eq!(lab.done(), [0]);
        assert_eq!(lab.jobs.recall(0).unwrap().runs, 1, "it was done");
    }

    #[test]
    fn whoever_waits_for_a_job_does_the_others_meanwhile_in_order() {
        let lab = Lab::new();
        let (go, thread) = lab.begun(false);
        (1..4).for_each(|it| lab.job(it, None, false));
        // The last of them lets the first go.
        let (last, gate) = mpsc::channel();
        last.send(()).unwrap();
        lab.job(4, Some(gate), false);
        let helper = thread::spawn({
            let jobs = Arc::clone(&lab.jobs);
            move || jobs.finish(0).unwrap().runs
        });
        let order: Vec<u64> = lab.begun.iter().take(4).collect();
        assert_eq!(order, [1, 2, 3, 4]);
        go.send(()).unwrap();
        assert_eq!(helper.join().unwrap(), 1);
        thread.join().unwrap();
        for number in 1..5 {
            assert_eq!(lab.jobs.finish(number).unwrap().runs, 1);
        }
    }

    #[test]
    fn a_job_that_panics_comes_back_spoiled_whoever_does_it() {
        let lab = Lab::new();
        let (go, thread) = lab.begun(true);
        lab.job(1, None, true);
        assert!(lab.jobs.finish(1).unwrap().spoiled);
        go.send(()).unwrap();
        assert!(lab.jobs.finish(0).unwrap().spoiled);
        thread.join().unwrap();
    }

    #[test]
    fn a_list_that_is_closed_has_no_job_under_way_and_begins_none() {
        let lab = Lab::new();
        let (go, thread) = lab.begun(false);
        (1..3).for_each(|it| lab.job(it, None, false));
        let closing = thread::spawn({
            let jobs = Arc::clone(&lab.jobs);
            move || {
                jobs.close();
                jobs.board().begun.len()
            }
        });
        // The jobs that wait leave at once, so that the thread finds none when it is let go.
        while !lab.jobs.board().waiting.is_empty() {
            thread::yield_now();
        }
        assert!(!closing.is_finished());
        go.send(()).unwrap();
        assert_eq!(closing.join().unwrap(), 0);
        thread.join().unwrap();
        assert_eq!(lab.done(), [0; 0]);
    }
}
