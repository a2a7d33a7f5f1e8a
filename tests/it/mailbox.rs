//! The mailbox's files: each message exactly once, whatever is sent again, torn, or lost; and what is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use vathost::{
    controller::{Controller, Open, Policy},
    fault::HostFault,
    mailbox::{MESSAGES_PER_BLOCK, MailboxFiles},
    scenario::{MailboxPaths, Scenario},
};

const ANSWERS: &str = "{\"num\":1,\"body\":{\"balance\":50}}
{\"num\":2,\"body\":{\"balance\":30}}
{\"num\":3,\"body\":{\"refused\":\"expected a record, found a string\"}}
{\"ack\":3}
";

/// A clerk with a state on disk, and a pair of files.
struct Office {
    dir: TempDir,
}

impl Office {
    fn new(inbound: &str) -> Office {
        let office = Office { dir: tempfile::tempdir().unwrap() };
        office.write("in", inbound);
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn out(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap()
    }

    fn open(&self) -> (Controller, MailboxFiles) {
        let (controller, files) = self.try_open();
        (controller, files.unwrap())
    }

    fn try_open(&self) -> (Controller, Result<MailboxFiles, HostFault>) {
        let open = Open {
            state: Some(self.path("state")),
            code_cache: Some(self.path("code")),
            audit: Some(1),
            ..Open::default()
        };
        let mut controller = Controller::open(open).unwrap();
        if controller.is_new() {
            let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/clerk");
            controller.install(&Scenario::read(&scenario).unwrap()).unwrap();
        }
        let paths = MailboxPaths { inbound: Some(self.path("in")), outbound: Some(self.path("out")) };
        let files = MailboxFiles::open(&paths, &controller);
        (controller, files)
    }

    /// Runs until nothing is left to do, beginning anew after each block; the state hash.
    fn run(&self, cranks: u64) -> String {
        loop {
            let (mut controller, mut files) = self.open();
            files.read(&mut controller).unwrap();
            if controller.is_quiescent().unwrap() {
                return controller.report().unwrap().state_hash;
            }
            let policy = Policy { cranks, ..Policy::default() };
            controller.run_block(&policy, &mut |_| true).unwrap();
            files.release(&controller).unwrap();
        }
    }

    /// What the first message that cannot be used is refused with.
    fn refusal(&self) -> String {
        let (mut controller, mut files) = self.open();
        loop {
            if let Err(refused) = files.read(&mut controller) {
                return refused.to_string();
            }
            assert!(!controller.is_quiescent().unwrap(), "nothing was refused");
            controller.run_block(&Policy::default(), &mut |_| true).unwrap();
        }
    }
}

fn messages() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("vats/clerk/in.jsonl")).unwrap()
}

#[test]
fn each_message_comes_in_once_and_each_answer_goes_out_once_over_restarts() {
    let office = Office::new(&messages());
    let hash = office.run(1_000);
    assert_eq!(office.out(), ANSWERS);
    assert_eq!(office.run(1_000), hash);
    assert_eq!(office.out(), ANSWERS);
    let hurried = Office::new(&messages());
    hurried.run(1);
    let messages = |text: &str| text.lines().filter(|it| it.contains("num")).collect::<Vec<_>>().join("\n");
    assert_eq!(messages(&hurried.out()), messages(ANSWERS));
    assert!(hurried.out().ends_with("{\"ack\":3}\n"), "{}", hurried.out());
}

#[test]
fn what_is_sent_again_is_not_taken_again_and_a_line_that_is_not_finished_waits() {
    let office = Office::new(&messages());
    office.run(1_000);
    let again = format!("{}{}\n{{\"num\": 4, \"body\": {{\"amount\": 1}}}}", messages(), messages());
    office.write("in", &again);
    office.run(1_000);
    assert_eq!(office.out(), ANSWERS);
    office.write("in", &format!("{again}\n"));
    office.run(1_000);
    assert_eq!(office.out(), format!("{ANSWERS}{{\"num\":4,\"body\":{{\"balance\":31}}}}\n{{\"ack\":4}}\n"));
}

#[test]
fn a_crash_between_the_commit_and_the_writing_loses_and_repeats_nothing() {
    let office = Office::new(&messages());
    let hash = office.run(1_000);
    for cut in 0..=ANSWERS.len() {
        office.write("out", &ANSWERS[..cut]);
        let (controller, _) = office.open();
        assert_eq!(office.out(), ANSWERS, "after {cut} bytes");
        assert_eq!(controller.report().unwrap().state_hash, hash);
    }
}

#[test]
fn what_the_outside_acknowledged_is_kept_no_longer() {
    let office = Office::new(&messages());
    office.run(1_000);
    assert_eq!(office.open().0.outbox().count(), 3);
    office.write("in", &format!("{}{{\"ack\": 2}}\n{{\"ack\": 1}}\n", messages()));
    office.run(1_000);
    let (controller, _) = office.open();
    assert_eq!(controller.outbox().map(|(number, _)| number).collect::<Vec<_>>(), [3]);
    assert_eq!(controller.mailbox().unwrap().taken, 2);
    assert_eq!(office.out(), ANSWERS);
}

#[test]
fn a_state_that_begins_again_says_the_same_again_or_is_refused() {
    let office = Office::new(&messages());
    office.run(1_000);
    fs::remove_dir_all(office.path("state")).unwrap();
    office.run(1_000);
    assert_eq!(office.out(), ANSWERS);

    fs::remove_dir_all(office.path("state")).unwrap();
    office.write("in", "{\"num\": 1, \"body\": {\"amount\": 7}}\n");
    let (mut controller, mut files) = office.open();
    let refused = loop {
        files.read(&mut controller).unwrap();
        controller.run_block(&Policy::default(), &mut |_| true).unwrap();
        if let Err(refused) = files.release(&controller) {
            break refused.to_string();
        }
    };
    assert!(refused.contains("its message 1 was another one"), "{refused}");
    assert_eq!(office.out(), ANSWERS);
}

#[test]
fn a_file_that_is_not_this_states_is_refused_and_left_alone() {
    let office = Office::new(&messages());
    office.run(1_000);
    for foreign in ["hello\n", "{\"num\":2,\"body\":1}\n", "{\"num\":1,\"body\":{\"balance\":51}}\n"] {
        office.write("out", foreign);
        let refused = office.try_open().1.unwrap_err().to_string();
        assert!(refused.contains("a line that is not this state's"), "{refused}");
        assert_eq!(office.out(), foreign);
    }
    office.write("in", &format!("{}{{\"ack\": 3}}\n", messages()));
    office.write("out", ANSWERS);
    office.run(1_000);
    office.write("out", "");
    let (mut controller, files) = office.try_open();
    files.unwrap();
    assert!(!controller.receive_mail(3, true.into()));
    assert!(controller.receive_mail(4, true.into()));
    controller.run_block(&Policy::default(), &mut |_| true).unwrap();
    drop(controller);
    let refused = office.try_open().1.unwrap_err().to_string();
    assert!(refused.contains("its last message is 0, and the outside acknowledged those before 4"), "{refused}");
}

#[test]
fn wrong_lines_are_named() {
    for (line, why) in [
        ("{\"num\": 3, \"body\": 1}", "line 2: message 3 comes after message 1"),
        ("{\"num\": 0, \"bdy\": 1}", "line 2: neither"),
        ("{\"ack\": 9}", "line 2: message 9 is acknowledged, and 0 were sent"),
        ("[]", "line 2: neither"),
    ] {
        let office = Office::new(&format!("{{\"num\": 1, \"body\": null}}\n{line}\n"));
        let refused = office.refusal();
        assert!(refused.contains(why), "{line}: {refused}");
    }
}

#[test]
fn a_flood_of_messages_comes_in_over_several_blocks() {
    let lines = |count: usize| (1..=count).map(|it| format!("{{\"num\": {it}, \"body\": {{\"amount\": 1}}}}\n"));
    let count = MESSAGES_PER_BLOCK + 1;
    let office = Office::new(&lines(count).collect::<String>());
    let (mut controller, mut files) = office.open();
    controller.run_block(&Policy::default(), &mut |_| true).unwrap();
    files.read(&mut controller).unwrap();
    assert_eq!(controller.mailbox().unwrap().received, MESSAGES_PER_BLOCK as u64);
    controller.run_block(&Policy { cranks: 1, ..Policy::default() }, &mut |_| true).unwrap();
    files.read(&mut controller).unwrap();
    assert_eq!(controller.mailbox().unwrap().received, count as u64);
}
