use serde_json::{Value, json};
use wasm_encoder::{CustomSection, Module};

use super::{BYTES_MAX, Interface, SECTION, openapi, text, typescript};

/// A module with nothing but these sections.
fn module(sections: &[&str]) -> Vec<u8> {
    let mut module = Module::new();
    for section in sections {
        module.section(&CustomSection { name: SECTION.into(), data: section.as_bytes().into() });
    }
    module.finish()
}

const PURSE: &str = r#"{"vathost-interface":1,"exo":"Purse","doc":"Money.","methods":[{"name":"deposit","doc":"Puts money in.\nNot */ out.","args":[{"name":"amount","type":"u64"},{"name":"in","type":{"option":"string"}}],"answer":"undefined"}]}"#;
const BANK: &str = r#"{"vathost-interface":1,"exo":"Bank","methods":[{"name":"makePurse","args":[{"name":"balance","type":"u8"},{"name":"friends","type":{"list":"remote"}}],"answer":{"object":"Purse"}},{"name":"total","args":[],"answer":"i64"}]}"#;
const ROOT: &str = r#"{"vathost-interface":1,"root":"Bank","parameters":"any"}"#;

fn bank() -> Interface {
    Interface::read(&module(&[PURSE, &format!("\n{BANK}\n{ROOT}\n")])).unwrap().unwrap()
}

fn is_reference(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with('@'))
}

#[test]
fn sections_and_lines_are_read_one_behind_the_other() {
    let bank = bank();
    assert_eq!(
        bank.root().unwrap().method("makePurse").unwrap().to_string(),
        "makePurse(balance: u8, friends: [remote]) -> Purse"
    );
    assert_eq!(bank.exo("Purse").unwrap().methods[0].to_string(), "deposit(amount: u64, in: string?)");
    assert_eq!(Interface::read(&module(&[])), Ok(None));
    assert_eq!(Interface::read(b"no module"), Ok(None));
}

#[test]
fn what_is_wrong_with_a_section_is_told_with_its_line() {
    for (lines, why) in [
        ("{", "line 1: EOF while parsing"),
        ("\n[]", "line 2: "),
        (r#"{"vathost-interface":2}"#, "line 1: it is of version 2, and this vathost reads version 1"),
        (r#"{"vathost-interface":1}"#, "neither of an object"),
        (r#"{"vathost-interface":1,"exo":"A","methods":[],"more":1}"#, "unknown field `more`"),
        (r#"{"vathost-interface":1,"exo":"A b","methods":[]}"#, "\"A b\" is no name"),
        (
            r#"{"vathost-interface":1,"exo":"A","methods":[{"name":"a","args":[],"answer":"u7"}]}"#,
            "unknown variant `u7`",
        ),
        (&format!("{PURSE}\n{PURSE}"), "line 2: `Purse` is there twice"),
        (&format!("{ROOT}\n{ROOT}"), "there are two roots"),
        (&"x".repeat(BYTES_MAX + 1), "larger than 262144 bytes"),
    ] {
        let told = Interface::read(&module(&[lines])).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
    let deep = format!(
        r#"{{"vathost-interface":1,"root":"A","parameters":{}"u8"{}}}"#,
        r#"{"list":"#.repeat(9),
        "}".repeat(9)
    );
    assert!(Interface::read(&module(&[&deep])).unwrap_err().contains("more than 8 deep"));
}

#[test]
fn messages_are_checked_before_they_are_sent() {
    let bank = bank();
    let (root, purse) = (bank.root().unwrap(), bank.exo("Purse").unwrap());
    let check = |exo: &super::Exo, method: &str, args: Value| {
        exo.check(method, args.as_array().unwrap(), &is_reference).map_err(|misfit| misfit.to_string())
    };
    assert_eq!(check(root, "makePurse", json!([5, ["@v1", "@ko3"]])), Ok(()));
    assert_eq!(check(purse, "deposit", json!([u64::MAX])), Ok(()));
    assert_eq!(check(purse, "deposit", json!([1, null])), Ok(()));
    for (exo, method, args, why) in [
        (root, "makePurs", json!([]), "Bank has no method `makePurs`; did you mean `makePurse`?"),
        (root, "rob", json!([]), "its methods are: makePurse, total"),
        (root, "total", json!([1]), "total: it takes no argument, and 1 is given"),
        (root, "makePurse", json!([256, []]), "argument 1 (balance) is 256, and an integer from 0 to 255 is wanted"),
        (root, "makePurse", json!([1.5, []]), "argument 1 (balance) is 1.5"),
        (root, "makePurse", json!([1, ["x"]]), "argument 2 (friends) is a list, and a list, each of it a reference"),
        (root, "makePurse", json!([1]), "makePurse: argument 2 (friends) is missing"),
        (purse, "deposit", json!(["@v1"]), "argument 1 (amount) is a reference, and an integer"),
        (purse, "deposit", json!(["5"]), "`deposit(amount: u64, in: string?)`: Puts money in. Not */ out."),
        (purse, "deposit", json!([1, 2]), "argument 2 (in) is 2, and a text or null is wanted"),
    ] {
        let told = check(exo, method, args).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn an_interface_is_printed_for_people() {
    expect_test::expect![[r#"
        parameters: any

        Bank, the root object

          makePurse(balance: u8, friends: [remote]) -> Purse

          total() -> i64

        Purse
          Money.

          deposit(amount: u64, in: string?)
              Puts money in.
              Not */ out.
    "#]]
    .assert_eq(&text::write(&bank()));
}

#[test]
fn an_interface_is_declared_in_typescript() {
    let (bank, names) = (bank(), ["north".to_owned(), "south-2".to_owned()]);
    expect_test::expect![[r#"
        // Made by `vathost check --interface=typescript`.

        /** Money. */
        export interface Purse {
          /**
           * Puts money in.
           * Not *\/ out.
           */
          deposit(amount: number | bigint, _in?: string | null | undefined): Promise<void>;
        }

        /** The root of north, south-2. */
        export interface Bank {
          makePurse(balance: number | bigint, friends: Array<object>): Promise<Purse>;
          total(): Promise<bigint>;
        }

        /** The type of the object that one begins with. */
        export type Root = Bank;
    "#]]
    .assert_eq(&typescript::write(&[(&names, &bank)]));
    let two = typescript::write(&[(&names[..1], &bank), (&names[1..], &bank)]);
    assert!(two.contains("export namespace north {") && two.contains("export namespace south_2 {"), "{two}");
}

#[test]
fn kinds_keep_their_names_beside_those_of_the_forms() {
    let line = |name: &str| {
        format!(r#"{{"vathost-interface":1,"exo":"{name}","methods":[{{"name":"a","args":[],"answer":"any"}}]}}"#)
    };
    let root = r#"{"vathost-interface":1,"root":"Root"}"#;
    let lines = [line("Root"), line("Promise"), line("Message"), root.to_owned()].join("\n");
    let interface = Interface::read(&module(&[&lines])).unwrap().unwrap();
    let declared = typescript::write(&[(&[], &interface)]);
    assert!(declared.contains("interface Root {") && !declared.contains("type Root"), "{declared}");
    assert!(declared.contains("interface _Promise {"), "{declared}");
    let schemas = &openapi::document("x", &[(&[], &interface)])["components"]["schemas"];
    assert_eq!(schemas["Message"]["oneOf"][0]["properties"]["method"]["const"], "a");
    assert!(schemas["http-Message"]["properties"].is_object());
}

/// All that `$ref` names in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|it| references(it, found));
        }
        Value::Array(items) => items.iter().for_each(|it| references(it, found)),
        _ => {}
    }
}

#[test]
fn an_openapi_document_names_what_is_there() {
    let (bank, names) = (bank(), ["north".to_owned(), "south".to_owned()]);
    for interfaces in
        [vec![(&names[..], &bank)], vec![(&names[..1], &bank), (&names[1..], &bank)], vec![(&[][..], &bank)]]
    {
        let document = openapi::document("bank", &interfaces);
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }
    let document = openapi::document("bank", &[(&names, &bank)]);
    assert_eq!(document["openapi"], "3.1.0");
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/cap/north", "/cap/south", "/cap/{token}"]);
    let message = &document["components"]["schemas"]["Bank"]["oneOf"][0];
    assert_eq!(message["properties"]["method"]["const"], "makePurse");
    assert_eq!(
        message["properties"]["args"]["prefixItems"][0],
        json!({ "type": "integer", "minimum": 0, "maximum": 255, "title": "balance" })
    );
}
