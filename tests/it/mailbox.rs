//! The mailbox's files: each message exactly once, whatever is sent again, torn, or lost; and what is refused.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use vathost::{
    Audit,
    host::{
        controller::{BlockPolicy, Host, HostOptions},
        mailbox::{MESSAGES_PER_BLOCK, MailboxFiles},
        scenario::{MailboxPaths, Scenario},
    },
    model::blame::HostFault,
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

    fn open(&self) -> (Host, MailboxFiles) {
        let (controller, files) = self.try_open();
        (controller, files.unwrap())
    }

    fn try_open(&self) -> (Host, Result<MailboxFiles, HostFault>) {
        let open = HostOptions {
            state: Some(self.path("state")),
            code_cache: Some(self.path("code")),
            audit: Audit::EACH,
            ..HostOptions::default()
        };
        let mut controller = Host::open(open).unwrap();
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
            let policy = BlockPolicy { cranks, ..BlockPolicy::default() };
            controller.run_block(&policy, &mut |_| true).unwrap();
            files.release(&controller).unwrap();
        }
    }

    /// The same, in one start; what the operator is told.
    fn told(&self) -> Vec<String> {
        let (mut controller, mut files) = self.open();
        loop {
            files.read(&mut controller).unwrap();
            if controller.is_quiescent().unwrap() {
                break;
            }
            controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
            files.release(&controller).unwrap();
        }
        let left_behind = files.left_behind(&controller).unwrap();
        let place = format!("the mailbox's {}", self.path("in").display());
        files.warnings().into_iter().chain(left_behind).map(|it| it.replace(&place, "the file")).collect()
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
        controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
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
    assert!(!controller.receive_mail(3, true.into()).unwrap());
    assert!(controller.receive_mail(4, true.into()).unwrap());
    controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    drop(controller);
    let refused = office.try_open().1.unwrap_err().to_string();
    assert!(refused.contains("its last message is 0, and the outside acknowledged those before 4"), "{refused}");
}

#[test]
fn a_wrong_line_is_named_and_costs_nobody_but_itself() {
    for (line, why) in [
        ("{\"num\": 3, \"body\": 1}", "the file, line 2: message 3 comes after message 1: it is passed over"),
        ("{\"num\": 0, \"bdy\": 1}", "the file, line 2: it is passed over: it is neither"),
        ("{\"ack\": 9}", "the file, line 2: it is passed over: message 9 is acknowledged, and 0 were sent"),
        ("[]", "the file, line 2: it is passed over: it is neither"),
        ("{\"num\": 2, \"bdy\": 1}", "the file, line 2: message 2 is refused: it is neither"),
    ] {
        let office = Office::new(&format!("{{\"num\": 1, \"body\": null}}\n{line}\n"));
        office.run(1_000);
        let told = Office::new(&format!("{{\"num\": 1, \"body\": null}}\n{line}\n")).told();
        assert!(told.len() == 1 && told[0].starts_with(why), "{line}: {told:?}");
    }
}

#[test]
fn what_no_vat_can_be_given_is_refused_by_its_number_and_the_rest_goes_on_over_restarts() {
    let poison: [&[u8]; 6] = [
        b"{\"num\":2,\"body\":\"\\ud800\"}",
        b"{\"num\":2,\"body\":1e400}",
        b"{\"num\":2,\"body\":18446744073709551616}",
        b"{\"body\":\"\xff\",\"num\":2}",
        b"\xff",
        b"{\"num\":2,\"bo",
    ];
    for poison in poison {
        let text = |poison: &[u8]| {
            let lines: [&[u8]; 3] =
                [b"{\"num\":1,\"body\":{\"amount\":50}}\n", poison, b"\n{\"num\":3,\"body\":{\"amount\":1}}\n"];
            lines.concat()
        };
        let office = Office::new("");
        fs::write(office.path("in"), text(poison)).unwrap();
        let told = office.told();
        assert!(told.len() == 1 && told[0].contains("line 2: "), "{told:?}");
        let said = office.out();
        let lines: Vec<serde_json::Value> = said.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let refused: Vec<_> = lines.iter().filter(|it| it["refused"] == 2).collect();
        assert!(refused.len() == 1 && refused[0]["why"].is_string() && refused[0]["num"].is_u64(), "{said}");
        assert!(said.contains("{\"balance\":51}") && said.ends_with("{\"ack\":3}\n"), "{said}");
        // A crash while the answers are written, and the same said again.
        let hash = office.run(1_000);
        for cut in (0..=said.len()).step_by(23) {
            office.write("out", &said[..cut]);
            assert_eq!(office.open().0.report().unwrap().state_hash, hash);
            assert_eq!(office.out(), said, "after {cut} bytes");
        }
        let again = [text(poison), b"{\"num\":2,\"body\":{\"amount\":7}}\n".to_vec()].concat();
        fs::write(office.path("in"), again).unwrap();
        assert_eq!((office.run(1_000), office.out()), (hash, said), "its number is spent");
    }
}

#[test]
fn a_line_of_any_length_is_told_from_its_end_on_and_takes_no_memory() {
    let long = format!("{{\"num\":1,\"body\":\"{}\"}}", "x".repeat(20 << 20));
    let office = Office::new(&long);
    assert!(office.told().is_empty(), "it is not finished");
    office.write("in", &format!("{long}\n{{\"num\":2,\"body\":{{\"amount\":5}}}}\n"));
    let told = office.told();
    assert_eq!(told, ["the file, line 1: it is passed over: it is longer than 8388608 bytes"]);
    assert!(office.out().contains("\"refused\":1,\"why\":\"it is longer"), "{}", office.out());
    let office = Office::new(&format!("{{\"num\":1,\"body\":\"{}\"}}\n", "x".repeat(2 << 20)));
    assert!(office.told()[0].contains("line 1: message 1 is refused: it is 2097181 bytes long for a vat"));
}

#[test]
fn a_flood_of_wrong_lines_does_not_flood_the_operator() {
    let told = Office::new(&"nonsense\n".repeat(1_000)).told();
    assert_eq!(told.len(), 20);
    assert!(told[19].ends_with("of further lines nothing is said until the next start"), "{}", told[19]);
}

#[test]
fn what_comes_when_the_handler_is_gone_stays_in_the_file_and_is_told() {
    let office = Office::new("{\"num\":1,\"body\":{\"amount\":50}}\n");
    office.run(1_000);
    let order = |what: &str| {
        let (mut controller, mut files) = office.open();
        let mut set = vathost::directive::DirectiveSet::default();
        let next = controller.block().unwrap().tables().globals().next_crank;
        set.read("test", format!("{next}: {what}").as_bytes()).unwrap();
        controller.set_directives(set, false).unwrap();
        while !controller.is_quiescent().unwrap() {
            controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
        }
        assert!(files.warnings().is_empty());
    };
    order("terminate v1");
    office.write("in", "{\"num\":1,\"body\":1}\n{\"num\":2,\"body\":1}\n{\"num\":3,\"body\":1}\n");
    for _ in 0..2 {
        let told = office.told();
        assert_eq!(
            told,
            [
                "2 messages wait in the file: the vat that handled the mailbox's messages ended, or was upgraded and did not ask for them again"
            ]
        );
    }
    assert_eq!(office.open().0.mailbox().unwrap().received, 1);
}

#[test]
fn only_files_are_mailboxes() {
    let office = Office::new("");
    fs::remove_file(office.path("in")).unwrap();
    fs::create_dir(office.path("in")).unwrap();
    let (mut controller, mut files) = office.open();
    controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    let refused = files.read(&mut controller).unwrap_err().to_string();
    assert!(refused.contains("directory"), "{refused}");
    drop(controller);
    fs::remove_file(office.path("out")).unwrap();
    fs::create_dir(office.path("out")).unwrap();
    let refused = office.try_open().1.unwrap_err().to_string();
    assert!(refused.contains("directory"), "{refused}");
}

#[test]
fn a_flood_of_messages_comes_in_over_several_blocks() {
    let lines = |count: usize| (1..=count).map(|it| format!("{{\"num\": {it}, \"body\": {{\"amount\": 1}}}}\n"));
    let count = MESSAGES_PER_BLOCK + 1;
    let office = Office::new(&lines(count).collect::<String>());
    let (mut controller, mut files) = office.open();
    controller.run_block(&BlockPolicy::default(), &mut |_| true).unwrap();
    files.read(&mut controller).unwrap();
    assert_eq!(controller.mailbox().unwrap().received, MESSAGES_PER_BLOCK as u64);
    controller.run_block(&BlockPolicy { cranks: 1, ..BlockPolicy::default() }, &mut |_| true).unwrap();
    files.read(&mut controller).unwrap();
    assert_eq!(controller.mailbox().unwrap().received, count as u64);
}
