//! What others wrote never steers the terminal of whoever looks at it.

use std::ffi::OsString;

use vathost::lab::campaign::preset::PRESETS;

use super::Place;

/// Escapes as they stand in TOML and JSON, and as an argument has them.
const IN_A_FILE: &str = "\\u001b[31m\\u0007\\u007f\\u009b1m\\r";
const NASTY: &str = "\x1b[31m\x07\x7f\u{9b}1m\r\u{202e}";

/// What a command with these arguments says, on both streams; every character of it may be looked at.
#[track_caller]
fn harmless(place: &Place, args: impl IntoIterator<Item = impl Into<OsString>>) -> String {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let output = place.command("").args(&args).current_dir(place.path("")).output().unwrap();
    assert!(output.status.code().is_some(), "{args:?} was killed: {}", output.status);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let steers = |it: &char| it.is_control() && *it != '\n' || ('\u{202a}'..='\u{202e}').contains(it);
    let found: Vec<char> = text.chars().filter(steers).collect();
    assert!(found.is_empty(), "{args:?} lets through {found:?}:\n{text:?}");
    text
}

#[track_caller]
fn words(place: &Place, line: &str) -> String {
    harmless(place, line.split(' ').map(str::to_owned))
}

/// A place with a scenario of a vat whose name, words, keys and values steer a terminal.
fn nasty_scenario() -> Place {
    let place = Place::new();
    place.write("terminal.wat", include_str!("terminal.wat"));
    place.write(
        "vat.toml",
        &format!(
            "[vats.\"a{IN_A_FILE}\"]\nbundle = \"terminal.wat\"\nparameters = {{ x = \"{IN_A_FILE}\" }}\n\
             [[send]]\nto = \"a{IN_A_FILE}\"\nmethod = \"hello{IN_A_FILE}\"\n\
             [[send]]\nto = \"a{IN_A_FILE}\"\nmethod = \"exit\"\n"
        ),
    );
    place
}

#[test]
fn nothing_that_a_vat_says_or_is_called_steers_the_terminal() {
    let place = nasty_scenario();
    let said = words(&place, "run . --state st --slog s.slog --color always --verbose");
    assert!(said.contains("a\\u{1b}[31m\\u{7}") && said.contains("\\u{9b}31m"), "{said}");
    words(&place, "run . --json");
    let verbs = "|vats|vat v1|queue|promises|objects|clist v1|transcript v1|kv v1";
    for verb in verbs.split('|') {
        words(&place, format!("inspect --state st {verb}").trim_end());
        words(&place, format!("inspect --state st --json {verb}").trim_end());
    }
    words(&place, "run . --state other --cranks-per-block 1");
    for line in [
        "diff st other",
        "diff st other --json",
        "verify st",
        "replay --state st --vat v1 --delivery 1",
        "replay --state st --vat v2",
        "export st a.vathost",
        "import a.vathost again",
        "fork st forked",
        "fault points .",
        "fault init .",
        "fault one . crank-1:skip",
        "directives plan --state st --add crank-99:halt",
    ] {
        words(&place, line);
    }
    place.write("script", "vats\ndelivery\nkv v1\nclist v1\ntranscript v1\npromises\nvat v1\nnonsense");
    words(&place, "debug --state st --commands script");
    words(&place, "debug --state st --commands script --json");
}

#[test]
fn a_panic_of_the_kernel_names_the_vat_without_its_escapes() {
    let place = nasty_scenario();
    let said = words(&place, "run . --state st --experimental --plant kernel.no-panic@crank-1");
    assert!(said.contains("kernel panic in crank 1") && said.contains("(a\\u{1b}[31m"), "{said}");
    words(&place, "debug --state st --at panic --commands /dev/null");
    words(&place, "fault remedy st --plant kernel.no-panic@crank-1");
}

#[test]
fn a_recording_by_others_steers_nothing() {
    let place = nasty_scenario();
    words(&place, "run . --slog mine.slog");
    let nasty = IN_A_FILE;
    place.write(
        "foreign.slog",
        &format!(
            "{{\"type\":\"{nasty}\"}}\n\
             {{\"type\":\"create-vat\",\"vatID\":\"v1{nasty}\",\"name\":\"{nasty}\"}}\n\
             {{\"type\":\"crank-start\",\"crankNum\":1,\"messageType\":\"{nasty}\",\"message\":{{\"{nasty}\":1}}}}\n\
             {{\"type\":\"deliver\",\"vatID\":\"v1{nasty}\",\"crankNum\":1,\"deliveryNum\":0,\"replay\":false,\
             \"dispatch\":\"{nasty}\",\"kd\":[\"{nasty}\"],\"vd\":[\"{nasty}\"]}}\n\
             {{\"type\":\"syscall\",\"vatID\":\"v1{nasty}\",\"crankNum\":1,\"deliveryNum\":0,\"syscallNum\":0,\
             \"ksc\":[\"{nasty}\"],\"vsc\":[\"{nasty}\"]}}\n\
             {{\"type\":\"clist\",\"crankNum\":1,\"vatID\":\"v1{nasty}\",\"mode\":\"{nasty}\",\"kobj\":\"{nasty}\",\"vobj\":\"{nasty}\"}}\n\
             {{\"type\":\"terminate\",\"crankNum\":1,\"vatID\":\"v1{nasty}\",\"info\":\"{nasty}\"}}\n"
        ),
    );
    for file in ["foreign.slog", "mine.slog"] {
        for verb in [
            "summary",
            "last",
            "show --crank 1",
            "trace --crank 1",
            "export --format dot",
            "export --format chrome-trace",
        ] {
            let said = words(&place, &format!("slog {verb} {file}"));
            // No line of it was made by what stands in the recording.
            assert!(!said.lines().any(|it| it.starts_with("state hash")), "{verb}: {said}");
            if !verb.starts_with("export") {
                words(&place, &format!("slog {verb} {file} --json"));
            }
        }
    }
    words(&place, "slog diff foreign.slog mine.slog");
    words(&place, "slog trace kp41 mine.slog");
    place.write("torn.slog", &format!("{{\"type\":1}}\n{NASTY}\n"));
    words(&place, "slog summary torn.slog");
}

#[test]
fn what_stands_in_a_file_or_an_argument_is_told_without_its_escapes() {
    let place = nasty_scenario();
    place.write("evil.wat", "(module (import \"\\1b[2K\" \"\\07\\c2\\9b\" (func)) (func (export \"\\1b[1G\")))");
    let said = words(&place, "check evil.wat");
    assert!(said.contains("unknown import `\\u{1b}[2K`"), "{said}");
    words(&place, "check evil.wat --json");
    place.write("evil.toml", "[vats.a]\nbundle = \"evil.wat\"\n");
    words(&place, "run evil.toml");
    for (name, text) in [
        ("scenario.toml", format!("\"{IN_A_FILE}\" = 1\n")),
        ("raw.toml", format!("{NASTY}\n")),
        ("module.wat", format!("(module {NASTY})")),
        ("x.directives", format!("crank-1: skip \"{NASTY}\"\n{NASTY}")),
        ("x.json", format!("{{\"{IN_A_FILE}\": }}")),
        (
            "campaign.toml",
            format!("schema = 1\nname = \"{IN_A_FILE}\"\n\"{IN_A_FILE}\" = 2\n[base]\nscenario = \"{IN_A_FILE}\"\n"),
        ),
    ] {
        place.write(name, &text);
    }
    for line in [
        "run scenario.toml",
        "run raw.toml",
        "check module.wat",
        "directives check x.directives",
        "directives check x.directives --json",
        "conformance x.json",
        "bench --compare x.json",
        "fault plan campaign.toml",
        "fault run campaign.toml",
    ] {
        words(&place, line);
    }
    let argument = [
        vec!["run", NASTY],
        vec![NASTY],
        vec!["run", "--blocks", NASTY],
        vec!["run", ".", "--plant", NASTY],
        vec!["inspect", "--state", "st", "vat", NASTY],
        vec!["fault", "one", ".", NASTY],
        vec!["fault", "repro", NASTY],
        vec!["fault", "show", NASTY],
        vec!["slog", "trace", NASTY, "x.json"],
        vec!["debug", "--state", NASTY],
        vec!["debug", "--state", "st", "--at", NASTY],
        vec!["directives", "plan", "--state", "st", "--add", NASTY],
        vec!["new", NASTY, "--lang", "c"],
        vec!["verify", NASTY],
    ];
    words(&place, "run . --state st");
    argument.into_iter().for_each(|it| drop(harmless(&place, it)));
}

#[test]
fn a_campaign_and_what_came_of_it_steer_nothing() {
    let place = nasty_scenario();
    place.write(
        "c.toml",
        &format!(
            "schema = 1\nname = \"n{IN_A_FILE}\"\n[base]\nscenario = \"vat.toml\"\n\
             [[fault]]\nid = \"{IN_A_FILE}\"\nat = \"v1/delivery-{{n}}\"\ndo = [\"skip\", \"terminate reason '{IN_A_FILE}'\"]\nn = \"0..=2\"\n\
             [[invariant]]\nname = \"i{IN_A_FILE}\"\ncheck = \"any(.kernel.results[]; .status == \\\"rejected\\\")\"\n\
             [[sometimes]]\nname = \"s{IN_A_FILE}\"\ncheck = \"true\"\n"
        ),
    );
    for line in [
        "fault plan c.toml",
        "fault plan c.toml --json",
        "fault run c.toml",
        "fault run c.toml --fresh --json --progress json",
        "fault report c.results",
        "fault report c.results --json",
        "fault report c.results --md",
        "fault report c.results --html",
        "fault report c.results --junit",
        "fault report c.results --compare c.results",
    ] {
        words(&place, line);
    }
    // What each preset writes for such names.
    PRESETS
        .iter()
        .filter(|(name, _)| *name != "power-loss")
        .for_each(|(name, _)| drop(words(&place, &format!("fault init . --preset {name}"))));
}
