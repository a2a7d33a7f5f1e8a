//! What people try first: states and vats named any way, messages to a state that exists, what vats say, scenarios that change.

use std::fs;

use serde_json::json;

use super::Place;

#[test]
fn every_verb_takes_a_state_as_a_word_and_as_an_option() {
    let place = Place::new();
    place.vathost("run vats/bank --state @st -q").ok();
    let pairs = [
        ("inspect @st", "inspect --state @st"),
        ("inspect @st vats", "inspect vats --state @st"),
        ("inspect @st vat north", "inspect --state @st vat --vat v2"),
        ("verify @st", "verify --state @st"),
        ("diff @st @st", "diff --state @st @st"),
        ("replay @st --vat north", "replay --state @st --vat v2"),
        ("fault remedy @st", "fault remedy --state @st"),
        ("fault points @st", "fault points --state @st"),
        ("run @st --json", "run --state @st --json"),
    ];
    for (word, option) in pairs {
        let [word, option] = [word, option].map(|it| place.vathost(it).ok().stdout);
        let timeless = |it: &str| it.lines().filter(|it| !it.contains(" s, ")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(timeless(&word), timeless(&option));
    }
    place.vathost("fork @st @a").ok();
    place.vathost("fork --state @st @b").ok();
    place.vathost("export @st @a.vathost").ok();
    place.vathost("export --state @st @b.vathost").ok();
    place.vathost("import @a.vathost @c").ok();
    place.vathost("import @b.vathost --state @d").ok();
    place.vathost("diff @c @d").ok().shows("equal");
    place.write("none.directives", "# none\n");
    place.vathost("directives plan @st --file @none.directives").ok();
    place.vathost("directives check @none.directives @st").ok();
    place.vathost("inspect @st --state @st").code(2).says("two states are given");
    place.vathost("verify @st --state @st").code(2);
    place.vathost("export @st").code(2).says("`vathost export --state DIR FILE`");
    place.vathost("replay @st --vat nort").code(2).says("there is no vat `nort`").says("v2 (north)");
    place.write("where", "where\n");
    place.vathost("debug @st --at north/delivery-3 --commands @where").ok().shows("v2");
    place.vathost("debug @st --at nort/delivery-3 --commands @where").code(2).says("there is no vat `nort`");
}

#[test]
fn a_message_can_be_sent_to_a_state_that_exists() {
    let place = Place::new();
    place.vathost("run vats/bank --state @st -q").ok();
    place.vathost("fork @st @other").ok();
    assert_eq!(place.vathost("call @st north makePurse 5").ok().stdout, "<Purse ko29>\n");
    place.vathost("call @st south robBank --unchecked").code(1).shows("rejected Error: target has no method robBank");
    let sent = place.vathost("send --state @st ko29 balance --json").ok().json();
    assert_eq!([&sent["status"], &sent["to"], &sent["method"]], [&json!("pending"), &json!("ko29"), &json!("balance")]);
    let ran = place.vathost("run @st --json").ok().json();
    let last = ran["results"].as_array().unwrap().last().unwrap();
    assert_eq!([&last["status"], &last["body"]], [&json!("fulfilled"), &json!("#\"+5\"")]);
    // Sent and run apart, or at once: the same hash.
    place.vathost("call @other north makePurse 5").ok();
    place.vathost("call @other south robBank --unchecked").code(1);
    place.vathost("send @other ko29 balance --run").ok().shows("ko29.balance fulfilled 5n");
    assert_eq!(place.vathost("run @other --json").ok().hash(), ran["stateHash"]);
    place.vathost("verify @st").ok();
}

#[test]
fn large_integers_arrive_as_bigints_or_are_refused() {
    let place = Place::new();
    place.vathost("run vats/bank --state @st -q").ok();
    place
        .vathost(
            "call @st north --unchecked whatever 9007199254740993 -9007199254740993 7 -7 \"@@x\" \"@market\" {\"a\":[\"@v3\"]}",
        )
        .code(1);
    let heard = place.vathost("inspect @st transcript north --json").ok().json().to_string();
    let body =
        json!(r##"#["whatever",["+9007199254740993","-9007199254740993",7,-7,"@x","$0",{"a":["$1"]}]]"##).to_string();
    assert!(heard.contains(&body), "{heard}");
    let hash = place.vathost("inspect @st --json").ok().hash();
    for (args, why) in [
        ("18446744073709551616", "of more than 64 bits"),
        ("[{\"a\":-9223372036854775809}]", "of more than 64 bits"),
        ("Ada", "argument 1, `Ada`: its JSON is wrong"),
        ("1e400", "number out of range"),
        ("\"@nobody\"", "there is no vat `nobody`"),
        ("\"@ko999\"", "there is no ko999"),
    ] {
        place.vathost(&format!("call @st north --unchecked whatever {args}")).code(2).says(why);
        place.vathost(&format!("send @st north --unchecked whatever {args}")).code(2).says(why);
    }
    place.vathost("send @st nobody hello").code(2).says("there is no vat `nobody`").says("v2 (north)");
    place.vathost("send @st west hello").code(2).says("v4 (`west`) is terminated");
    place.vathost("send @none north hello").code(2).says("there is no state in");
    place.vathost("send @st north").code(2).says("the state, the vat and the method are wanted");
    assert_eq!(place.vathost("inspect @st --json").ok().hash(), hash, "what is refused changes nothing");
}

#[test]
fn a_changed_scenario_says_what_changed_and_its_new_vats_can_be_added() {
    let place = Place::new();
    let vat = |name: &str, wasm: &str| {
        format!("[vats.{name}]\nbundle = \"{}/vats/{wasm}.wasm\"\n", env!("CARGO_MANIFEST_DIR"))
    };
    let old = vat("north", "bank");
    place.write("vat.toml", &old);
    place.vathost("run @vat.toml --state @st -q").ok();
    let send = "[[send]]\nto = \"south\"\nmethod = \"makePurse\"\nargs = [7]\n[[send]]\nto = \"north\"\nmethod = \"makePurse\"\nargs = [8]\n";
    place.write("vat.toml", &format!("{old}{}{send}", vat("south", "bank")));
    let told = place.vathost("run @vat.toml --state @st").code(2);
    let told = told.says("made from another scenario").says("`south` is not in the state").says("--add");
    told.says("vathost send");
    place.vathost("fork @st @other").ok();
    let added = place.vathost("run @vat.toml --state @st --add --json").ok().says("added south").json();
    assert_eq!(added["vats"]["south"]["id"], "v2");
    let results: Vec<_> = added["results"].as_array().unwrap().iter().map(|it| &it["to"]).collect();
    assert_eq!(results, [&json!("south")], "what was told to the others was told before");
    assert_eq!(place.vathost("run @vat.toml --state @other --add --json").ok().hash(), added["stateHash"]);
    assert_eq!(place.vathost("run @vat.toml --state @st --add --json").ok().hash(), added["stateHash"]);
    place.vathost("verify @st").ok();
    place.write("vat.toml", &format!("{}{}{}", vat("north", "ping"), vat("south", "bank"), vat("west", "bank")));
    for add in ["", " --add"] {
        let told = place.vathost(&format!("run @vat.toml --state @st{add}")).code(2);
        told.says("v1 (`north`) runs other code in the state").says("upgrade v1 bundle");
    }
    assert_eq!(place.vathost("run @st --json").ok().hash(), added["stateHash"]);
}

#[test]
fn the_last_words_of_a_guest_are_told_to_operators_and_to_nobody_else() {
    let place = Place::new();
    let vats = concat!(env!("CARGO_MANIFEST_DIR"), "/vats");
    let text = format!(
        "[vats.hog]\nbundle = \"{vats}/hog.wasm\"\n[vats.boom]\nbundle = \"boom.wat\"\n\
         [[send]]\nto = \"hog\"\nmethod = \"panic\"\n"
    );
    place.write("vat.toml", &text);
    place.write(
        "boom.wat",
        r#"(module (memory (export "memory") 1) (func $boom unreachable)
        (func (export "vat_deliver") (param i32) call $boom))"#,
    );
    let ran = place.vathost("run @vat.toml --state @st --slog @s.slog --json").code(0);
    let words = "panicked at guests/src/bin/hog.rs:";
    let ran = ran.says(&format!("hog error: {words}"));
    let report = ran.json();
    let reason = report["vats"]["hog"]["reason"].as_str().unwrap();
    assert!(reason.contains(words) && reason.ends_with("as requested") && !reason.contains('\n'), "{reason}");
    let reason = report["vats"]["boom"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("; in boom"), "{reason}");
    assert_eq!(report["results"][0]["body"], r##"#{"#error":"vat terminated","name":"Error"}"##);
    place.vathost("inspect @st vat hog").ok().shows(words);
    place.vathost("slog grep requested @s.slog").ok().shows("(hog) delivery 1: error: panicked");
    assert_eq!(place.vathost("slog grep REQUESTED @s.slog").ok().stdout, "");
    let found = place.vathost("slog grep -i REQUESTED @s.slog --vat hog --json").ok().json();
    assert_eq!(found["lines"][0]["level"], "error");
    place.vathost("slog show @s.slog --console --vat hog").ok().shows(words);
    place.vathost("slog show @s.slog --vat hog --delivery 1").ok().shows(words);
    place.vathost("slog show @s.slog --at hog/delivery-1").ok().shows(words);
    // The creator and the sender of a vat learn that it trapped, and no more.
    let slog = fs::read_to_string(place.path("s.slog")).unwrap();
    let told: Vec<_> = slog.lines().filter(|it| it.contains("\"type\":\"terminate\"")).collect();
    assert!(told.len() == 2 && told.iter().all(|it| it.contains("trap") && !it.contains("requested")), "{told:?}");
}

#[test]
fn what_vats_say_is_shown_by_how_loud_it_is() {
    let place = Place::new();
    let vats = concat!(env!("CARGO_MANIFEST_DIR"), "/vats");
    place.write(
        "vat.toml",
        &format!(
            "[vats.hog]\nbundle = \"{vats}/hog.wasm\"\noptions = {{ fuel_per_delivery = 2_000_000 }}\n[[send]]\nto = \"hog\"\nmethod = \"babble\"\n"
        ),
    );
    let plain = place.vathost("run @vat.toml").ok();
    assert!(!plain.stderr.contains("another thing"), "{}", plain.stderr);
    let told = place.vathost("run @vat.toml -v").ok().says("hog info: and another thing");
    assert!(told.stderr.matches("another thing").count() <= 1_000);
}

#[test]
fn a_vat_that_is_not_built_says_how() {
    let place = Place::new();
    place.vathost("new hello --lang rust --path @").ok();
    place.vathost("run @hello").code(2).says("it is not built yet: `cargo wasm`");
    place.vathost("new hullo --lang c --path @").ok();
    place.vathost("run @hullo").code(2).says("it is not built yet: `./build.sh`");
    let made = place.vathost("new third --lang c --path @ --json").ok().json();
    assert_eq!(made["next"][0], "./build.sh");
}
