//! What modules say of their objects: printed, and messages checked by it.

use expect_test::expect;
use serde_json::{Value, json};
use wasm_encoder::{CustomSection, Section};

use super::Place;

/// A vat that does nothing, with this text as its interface.
fn module(section: Option<&str>) -> Vec<u8> {
    let vat = r#"(module (memory (export "memory") 1) (func (export "vat_deliver") (param i32)))"#;
    let mut wasm = wat::parse_str(vat).unwrap();
    if let Some(text) = section {
        let section = CustomSection { name: "vathost.interface".into(), data: text.as_bytes().into() };
        section.append_to(&mut wasm);
    }
    wasm
}

#[test]
fn the_interface_of_a_module_is_printed() {
    let place = Place::new();
    let told = place.vathost("check vats/bank.wasm --interface").ok().stdout;
    expect![[r#"
        Bank, the root object
          Keeps purses, and pays from one to others.

          makePurse(balance: u64) -> Purse
              Opens a purse with that much in it.

          pay(from: Purse, to: remote, amount: u64) -> u64
              Pays from a purse of this bank to one of another, and answers with what is left. Where the other side refuses the money,
              or is no more, it comes back.

          closeDown()
              The bank goes out of business.

        Purse
          An amount of money, at the bank that opened it.

          balance() -> u64
              What is in the purse.

          deposit(amount: u64)
              Puts money in. A closed purse refuses it.

          withdraw(amount: u64)
              Takes money out, where there is as much.

          close()
              No more deposits.
    "#]].assert_eq(&told);
    let json = place.vathost("check vats/bank.wasm --interface --json").ok().json();
    assert_eq!(json["interface"]["root"], "Bank");
    assert_eq!(json["interface"]["exos"][0]["methods"][0]["name"], "makePurse");
    expect![[r#"
        // Made by `vathost check --interface=typescript`.

        /** Keeps purses, and pays from one to others. */
        export interface Bank {
          /** Opens a purse with that much in it. */
          makePurse(balance: number | bigint): Promise<Purse>;
          /**
           * Pays from a purse of this bank to one of another, and answers with what is left. Where the other side refuses the money,
           * or is no more, it comes back.
           */
          pay(from: Purse, to: object, amount: number | bigint): Promise<bigint>;
          /** The bank goes out of business. */
          closeDown(): Promise<void>;
        }

        /** An amount of money, at the bank that opened it. */
        export interface Purse {
          /** What is in the purse. */
          balance(): Promise<bigint>;
          /** Puts money in. A closed purse refuses it. */
          deposit(amount: number | bigint): Promise<void>;
          /** Takes money out, where there is as much. */
          withdraw(amount: number | bigint): Promise<void>;
          /** No more deposits. */
          close(): Promise<void>;
        }

        /** The type of the object that one begins with. */
        export type Root = Bank;
    "#]].assert_eq(&place.vathost("check vats/bank.wasm --interface=typescript").ok().stdout);
    // What C writes by hand is read as well.
    place.vathost("check vats/greeter.wasm --interface").ok().shows("greet(name: string) -> string");
}

#[test]
fn the_interfaces_of_a_scenario_are_told_by_its_vats() {
    let place = Place::new();
    place.vathost("check vats/bank --interface").ok().shows("market:\n").shows("north, south, west:\n");
    let vats = place.vathost("check vats/bank/vat.toml --interface --json").ok().json();
    assert_eq!([&vats["vats"]["market"]["root"], &vats["vats"]["west"]["root"]], [&json!("Market"), &json!("Bank")]);
    let page = place.vathost("check vats/bank --interface=openapi").ok().json();
    let paths: Vec<&String> = page["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/cap/market", "/cap/north", "/cap/south", "/cap/west", "/cap/{token}"]);
    let body = &page["paths"]["/cap/south"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let schema = page.pointer(body["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
    let methods: Vec<&Value> =
        schema["oneOf"].as_array().unwrap().iter().map(|it| &it["properties"]["method"]["const"]).collect();
    assert_eq!(methods, ["makePurse", "pay", "closeDown"]);
    let declared = place.vathost("check vats/bank --interface=typescript").ok();
    declared.shows("export namespace market {").shows("export namespace north {");
}

#[test]
fn a_message_that_the_root_would_refuse_is_not_sent() {
    let place = Place::new();
    place.vathost("run vats/bank --state @st -q").ok();
    let hash = place.vathost("inspect @st --json").ok().hash();
    for (message, whys) in [
        ("north makePurs 5", ["north: Bank has no method `makePurs`", "did you mean `makePurse`?"]),
        (
            "north makePurse -1",
            ["argument 1 (balance) is -1, and an integer from 0", "`makePurse(balance: u64) -> Purse`"],
        ),
        ("north makePurse", ["argument 1 (balance) is missing", "Opens a purse with that much in it"]),
        ("v2 closeDown 1", ["closeDown: it takes no argument, and 1 is given", "`--unchecked` sends it anyway"]),
    ] {
        for verb in ["call", "send"] {
            let told = place.vathost(&format!("{verb} @st {message}")).code(2);
            whys.iter().fold(told, |told, why| told.says(why));
        }
    }
    assert_eq!(place.vathost("inspect @st --json").ok().hash(), hash, "nothing was sent");
    place.vathost("call @st north makePurs 5 --unchecked").code(1).shows("did you mean `makePurse`?");
    place.vathost("call @st north makePurse 5").ok();
}

#[test]
fn a_module_whose_interface_is_missing_or_wrong_runs_as_any_other() {
    let place = Place::new();
    for (name, section) in [("none", None), ("wrong", Some("{")), ("later", Some("{\"vathost-interface\":9}"))] {
        std::fs::write(place.path(&format!("{name}.wasm")), module(section)).unwrap();
        place.write("vat.toml", &format!("[vats.a]\nbundle = \"{name}.wasm\"\n"));
        place.vathost(&format!("run @vat.toml --state @{name} -q")).ok();
        // Nobody answers, but the message is sent.
        place.vathost(&format!("send @{name} a whatever 5")).ok();
        let checked = place.vathost(&format!("check @{name}.wasm")).ok();
        let printed = place.vathost(&format!("check @{name}.wasm --interface")).code(1);
        match section {
            None => drop(printed.says("the module has no interface")),
            Some(_) => {
                checked.says("warning:").says("vathost.interface is malformed").says("line 1: ");
                printed.says("vathost.interface is malformed");
            }
        }
    }
}
