//! A recording that is searched by its index tells what one that is read whole tells.

use std::io::Write;

use vathost::inspect::recording::{Range, Spoken, Subject, Which, last, show, trace, vats_named};

use super::*;
use crate::dice::Dice;

/// So small that a recording of a few hundred lines has many pieces and segments.
const SMALL: Indexing = Indexing { without_bytes: 0, piece_bytes: 700, postings: 120 };

/// A host that records nonsense of the right shape.
struct Scribbler {
    dice: Dice,
    /// Lines as SwingSet writes them, or as some other tool does.
    foreign: bool,
    lines: Vec<String>,
    crank: u64,
    height: u64,
    /// Promises that were made, and the vats that decide them.
    promises: u64,
    deliveries: [u64; 4],
    monotime: u64,
}

impl Scribbler {
    fn line(&mut self, kind: &str, fields: &str) {
        self.monotime += 1 + self.dice.below(1000);
        let time = format!("\"time\":{}.5,\"monotime\":0.{:06}", 1_700_000_000 + self.monotime, self.monotime);
        let comma = if fields.is_empty() { "" } else { "," };
        self.lines.push(match self.foreign && self.dice.below(2) == 0 {
            false => format!("{{\"type\":\"{kind}\"{comma}{fields},{time}}}"),
            true => format!("{{{time}{comma}{fields}, \"type\": \"{kind}\"}}"),
        });
    }

    fn reference(&mut self) -> String {
        match self.dice.below(3) {
            0 => format!("ko{}", 20 + self.dice.below(6)),
            _ => format!("kp{}", 40 + self.dice.below(self.promises + 1)),
        }
    }

    fn new_promise(&mut self) -> String {
        self.promises += 1;
        format!("kp{}", 40 + self.promises)
    }

    fn data(&mut self) -> String {
        let slots: Vec<String> = (0..self.dice.below(3)).map(|_| format!("\"{}\"", self.reference())).collect();
        let body = ["#[\\\"ask\\\",[]]", "#[\\\"tell\\\",[\\\"ko21\\\"]]", "#\\\"done\\\"", "ä\\n\\u0001"];
        let body = body[self.dice.place(body.len())];
        let body = if self.dice.below(9) == 0 { "{\"base64\":\"/w==\"}".to_owned() } else { format!("\"{body}\"") };
        format!("{{\"body\":{body},\"slots\":[{}]}}", slots.join(","))
    }

    fn message(&mut self, result: bool) -> String {
        let result = if result { format!("\"{}\"", self.new_promise()) } else { "null".to_owned() };
        format!("{{\"methargs\":{},\"result\":{result}}}", self.data())
    }

    fn start(&mut self) {
        let height = self.height;
        self.line("host-start", &format!("\"version\":\"1\",\"height\":{height}"));
    }

    fn create(&mut self, vat: u64) {
        let name = ["alice", "bob", "carol"][self.dice.place(3)];
        self.line("create-vat", &format!("\"vatID\":\"v{vat}\",\"name\":\"{name}\",\"dynamic\":false"));
    }

    fn block(&mut self, cranks: u64) {
        let height = self.height + 1;
        self.line("begin-block", &format!("\"blockHeight\":{height},\"blockTime\":7"));
        for _ in 0..cranks {
            self.one_crank();
        }
        self.line("end-block-finish", &format!("\"blockHeight\":{height},\"cranks\":{cranks},\"stateHash\":\"h\""));
        self.line("commit-finish", &format!("\"blockHeight\":{height},\"stateHash\":\"h\""));
        self.height = height;
    }

    fn one_crank(&mut self) {
        let (crank, vat) = (self.crank, 1 + self.dice.below(4));
        self.crank += 1;
        let target = self.reference();
        let with_result = self.dice.below(4) > 0;
        let (kind, item, kd) = match self.dice.below(8) {
            0 => ("gc-action", "null".to_owned(), format!("[\"dropExports\",[\"{target}\"]]")),
            1 => {
                let item = format!("{{\"type\":\"startVat\",\"vatID\":\"v{vat}\",\"vatParameters\":{}}}", self.data());
                ("startVat", item, format!("[\"startVat\",{}]", self.data()))
            }
            2 => {
                let item = format!("{{\"type\":\"cleanup-terminated-vat\",\"vatID\":\"v{vat}\"}}");
                ("cleanup-terminated-vat", item, String::new())
            }
            3 => {
                let promise = self.reference();
                let item = format!("{{\"type\":\"notify\",\"vatID\":\"v{vat}\",\"kpid\":\"{promise}\"}}");
                ("notify", item, format!("[\"notify\",[[\"{promise}\",false,{}]]]", self.data()))
            }
            _ => {
                // Often a message that some syscall sent before.
                let events = self.lines.iter().rev().take(60).filter_map(|it| serde_json::from_str::<Value>(it).ok());
                let sent: Vec<Value> = events.filter(|it| it["ksc"][0] == "send").collect();
                let message = match self.dice.one_of(&(0..sent.len()).collect::<Vec<_>>()) {
                    Some(at) if self.dice.below(4) > 0 => sent[at]["ksc"][2].to_string(),
                    _ => self.message(with_result),
                };
                let item = format!("{{\"type\":\"send\",\"target\":\"{target}\",\"msg\":{message}}}");
                ("send", item, format!("[\"message\",\"{target}\",{message}]"))
            }
        };
        let start =
            format!("\"crankType\":\"delivery\",\"crankNum\":{crank},\"messageType\":\"{kind}\",\"message\":{item}");
        self.line("crank-start", &start);
        if !kd.is_empty() {
            self.delivery(crank, vat, &kd);
        }
        if kind == "cleanup-terminated-vat" && self.dice.below(2) == 0 {
            self.line("vat-cleanup-complete", &format!("\"vatID\":\"v{vat}\""));
        }
        if self.dice.below(30) > 0 {
            self.line("crank-finish", &format!("\"crankNum\":{crank},\"crankhash\":\"a\",\"activityhash\":\"b\""));
        }
    }

    fn delivery(&mut self, crank: u64, vat: u64, kd: &str) {
        let number = self.deliveries[usize::try_from(vat).unwrap() - 1];
        self.deliveries[usize::try_from(vat).unwrap() - 1] += 1;
        let at = format!("\"crankNum\":{crank},\"vatID\":\"v{vat}\",\"deliveryNum\":{number}");
        if self.dice.below(12) == 0 {
            self.line("start-replay", &format!("\"vatID\":\"v{vat}\",\"deliveries\":2"));
            self.line("deliver", &format!("{at},\"replay\":true,\"dispatch\":\"message\",\"kd\":{kd},\"vd\":{kd}"));
            self.line("finish-replay", &format!("\"vatID\":\"v{vat}\",\"deliveries\":2"));
        }
        let (mode, kobj) = (["import", "export", "drop"][self.dice.place(3)], self.reference());
        self.line(
            "clist",
            &format!(
                "\"crankNum\":{crank},\"mode\":\"{mode}\",\"vatID\":\"v{vat}\",\"kobj\":\"{kobj}\",\"vobj\":\"o-1\""
            ),
        );
        self.line("deliver", &format!("{at},\"replay\":false,\"dispatch\":\"message\",\"kd\":{kd},\"vd\":{kd}"));
        for syscall in 0..self.dice.below(4) {
            let (name, with_result) = (self.reference(), self.dice.below(3) > 0);
            let (kind, ksc) = match self.dice.below(4) {
                0 => ("resolve", format!("[\"resolve\",[[\"{name}\",{},{}]]]", self.dice.below(2) == 0, self.data())),
                1 => ("subscribe", format!("[\"subscribe\",\"{name}\"]")),
                _ => ("send", format!("[\"send\",\"{name}\",{}]", self.message(with_result))),
            };
            let of = format!("{at},\"syscallNum\":{syscall},\"replay\":false");
            self.line("syscall", &format!("{of},\"syscall\":\"{kind}\",\"ksc\":{ksc},\"vsc\":{ksc}"));
            self.line("syscall-result", &format!("{of},\"ksr\":[\"ok\",null],\"vsr\":[\"ok\",null]"));
        }
        if self.dice.below(4) == 0 {
            self.line(
                "console",
                &format!("{at},\"level\":\"log\",\"args\":[\"line {}\"],\"source\":\"vat\"", self.monotime),
            );
        }
        match self.dice.below(12) {
            0 => {
                let info = self.data();
                self.line("terminate", &format!("\"vatID\":\"v{vat}\",\"shouldReject\":false,\"info\":{info}"));
            }
            1 => {
                let end =
                    format!("{at},\"replay\":false,\"dispatch\":\"message\",\"dr\":[\"error\",\"it trapped\",null]");
                return self.line("deliver-result", &end);
            }
            _ => (),
        }
        let end = format!("{at},\"replay\":false,\"dispatch\":\"message\",\"dr\":[\"ok\",null,{{\"compute\":5}}]");
        self.line("deliver-result", &end);
    }

    /// A whole recording, with hosts that are killed.
    fn recording(mut self) -> Vec<String> {
        let hosts = 1 + self.dice.below(4);
        for host in 0..hosts {
            self.start();
            for vat in 1..=4 {
                self.create(vat);
            }
            for _ in 0..1 + self.dice.below(6) {
                let cranks = self.dice.below(10);
                self.block(cranks);
            }
            let keeps = self.lines.len() - self.dice.place(self.lines.len().min(60));
            if host + 1 < hosts || self.dice.below(2) == 0 {
                // Killed: the next one runs the last cranks again.
                self.lines.truncate(keeps);
                if self.dice.below(2) == 0
                    && let Some(last) = self.lines.last_mut()
                {
                    last.truncate(last.len() / 2);
                    while !last.is_char_boundary(last.len()) {
                        last.pop();
                    }
                }
                self.crank = self.crank.saturating_sub(self.dice.below(25));
            } else if self.dice.below(3) == 0 {
                self.line("kernel-panic", "\"invariant\":\"Test\",\"detail\":\"broken\",\"vatID\":\"v2\"");
            }
        }
        self.lines
    }
}

fn recording(seed: u64) -> Vec<String> {
    let dice = Dice(seed);
    let foreign = seed.is_multiple_of(3);
    Scribbler { dice, foreign, lines: Vec::new(), crank: 3, height: 0, promises: 0, deliveries: [0; 4], monotime: 0 }
        .recording()
}

/// Writes it in one of its forms: as lines, in frames, or in parts.
fn write(dir: &Path, lines: &[String], seed: u64, dice: &mut Dice) -> PathBuf {
    let text = |lines: &[String], is_end: bool| {
        let text = lines.join("\n");
        // A torn end has no newline.
        let is_torn = is_end && !text.ends_with('}');
        if is_torn { text } else { text + "\n" }
    };
    let frames = |lines: &[String], is_end: bool, dice: &mut Dice| {
        let text = text(lines, is_end);
        let mut out = Vec::new();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // Not only between lines.
            let (frame, after) = rest.split_at(rest.len().min(1 + dice.place(6000)));
            out.extend(zstd::encode_all(frame, 1).unwrap());
            rest = after;
        }
        if is_end && dice.below(2) == 0 {
            out.truncate(out.len().saturating_sub(dice.place(40)));
        }
        out
    };
    let name = if seed.is_multiple_of(2) { "a.slog" } else { "a.slog.zst" };
    let mut rest = lines;
    let mut part = 0;
    while dice.below(3) == 0 && rest.len() > 10 {
        let (lines, after) = rest.split_at(dice.place(rest.len() - 1) + 1);
        if !lines[lines.len() - 1].ends_with('}') {
            break;
        }
        part += 1;
        let path = dir.join(name.replace(".slog", &format!(".{part:06}.slog")));
        let bytes = if seed.is_multiple_of(2) { text(lines, false).into_bytes() } else { frames(lines, false, dice) };
        fs::write(path, bytes).unwrap();
        rest = after;
    }
    let bytes = if seed.is_multiple_of(2) { text(rest, true).into_bytes() } else { frames(rest, true, dice) };
    fs::write(dir.join(name), bytes).unwrap();
    dir.join(name)
}

/// All that the verbs say, with one of the ways to read.
fn everything(path: &Path, lines: &[String], rules: Indexing, dice: &mut Dice) -> Vec<String> {
    let mut said = vec![format!(
        "{:?}",
        last(path, rules).map(|it| serde_json::to_string(&it).unwrap()).map_err(|it| it.to_string())
    )];
    let highest = lines.iter().filter_map(|it| serde_json::from_str::<Value>(it).ok()?["crankNum"].as_u64()).max();
    for _ in 0..12 {
        let which = match dice.below(2) {
            0 => Which::Crank(dice.below(highest.unwrap_or(0) + 4)),
            _ => Which::Delivery { vat: format!("v{}", 1 + dice.below(5)), delivery: dice.below(30) },
        };
        let shown = show(path, &which, rules).map(|it| it.map(|it| serde_json::to_string(&it).unwrap()));
        said.push(format!("{which:?} {:?}", shown.map_err(|it| it.to_string())));
        let subject = match dice.below(3) {
            0 => Subject::Crank(dice.below(highest.unwrap_or(0) + 4)),
            1 => Subject::Reference(format!("kp{}", 40 + dice.below(60))),
            _ => Subject::Reference(format!("ko{}", 20 + dice.below(8))),
        };
        let limit = 1 + dice.place(40);
        let traced = trace(path, &subject, limit, rules).map(|it| it.map(|it| serde_json::to_string(&it).unwrap()));
        said.push(format!("{subject:?} {limit} {:?}", traced.map_err(|it| it.to_string())));
    }
    for vat in [None, Some("v1"), Some("v4")] {
        let first = dice.below(40);
        for cranks in [None, Some(Range { first, last: first + dice.below(9) })] {
            let mut found = Vec::new();
            let spoken = Spoken { vat: vat.map(str::to_owned), cranks };
            let read = spoken.find(path, rules, &mut |it| {
                found.push(serde_json::to_string(&it).unwrap());
                found.len() < 50
            });
            said.push(format!("{spoken:?} {found:?} {:?}", read.map_err(|it| it.to_string())));
        }
    }
    for name in ["alice", "dave"] {
        said.push(format!("{:?}", vats_named(path, name, rules).map_err(|it| it.to_string())));
    }
    said
}

#[test]
fn what_the_index_leads_to_is_what_reading_all_of_it_finds() {
    let mut index_bytes = 0;
    for seed in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        let lines = recording(seed);
        let path = write(dir.path(), &lines, seed, &mut Dice(seed));
        let whole = everything(&path, &lines, Indexing::NONE, &mut Dice(seed));
        assert!(
            fs::read_dir(dir.path()).unwrap().all(|it| !it.unwrap().file_name().to_str().unwrap().ends_with("index"))
        );
        // Made, and then read.
        for round in 0..2 {
            let sought = everything(&path, &lines, SMALL, &mut Dice(seed));
            for (sought, whole) in sought.iter().zip(&whole) {
                assert_eq!(sought, whole, "seed {seed}, round {round}");
            }
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        index_bytes += fs::metadata(dir.path().join(format!("{name}.index"))).unwrap().len();
    }
    // Hundreds of pieces: it was not read whole.
    assert!(index_bytes > 200_000, "{index_bytes}");
}

#[test]
fn an_index_goes_on_when_its_file_has_grown_and_is_made_anew_when_it_is_another() {
    for seed in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.slog");
        let text = recording(2 * seed).join("\n") + "\n";
        let mut dice = Dice(seed);
        let mut file = fs::File::create(&path).unwrap();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (more, after) = rest.split_at(rest.len().min(1 + dice.place(9000)));
            file.write_all(more).unwrap();
            rest = after;
            let seen = format!(
                "{:?}",
                last(&path, SMALL).map(|it| serde_json::to_string(&it).unwrap()).map_err(|it| it.to_string())
            );
            let whole = format!(
                "{:?}",
                last(&path, Indexing::NONE).map(|it| serde_json::to_string(&it).unwrap()).map_err(|it| it.to_string())
            );
            assert_eq!(seen, whole, "seed {seed}, {} bytes are left", rest.len());
        }
        drop(file);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let compare = |what: &str| {
            let whole = everything(&path, &lines, Indexing::NONE, &mut Dice(seed));
            assert_eq!(everything(&path, &lines, SMALL, &mut Dice(seed)), whole, "seed {seed}: {what}");
        };
        compare("as it was written");
        // Another recording of the same bytes, and the same beginning and end.
        let other = text.replace("v3", "v2").replace("\"kp4", "\"kp5");
        fs::write(&path, &other).unwrap();
        compare("written anew");
        fs::write(&path, recording(2 * seed + 80).join("\n") + "\n").unwrap();
        compare("another one");
        // An index that was cut short, and one that is none.
        let index = dir.path().join("a.slog.index");
        let bytes = fs::read(&index).unwrap();
        fs::write(&index, &bytes[..bytes.len() * 2 / 3]).unwrap();
        compare("a part of the index");
        fs::write(&index, "no index").unwrap();
        compare("no index");
        fs::remove_file(&index).unwrap();
        fs::create_dir(&index).unwrap();
        compare("where none can be written");
    }
}
