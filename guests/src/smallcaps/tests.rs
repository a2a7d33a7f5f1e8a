//! The codec, against texts that Endo's encoder writes.

use super::*;
use crate::{Error, Value};

fn check(body: &str) {
    let value = decode(body.as_bytes(), &[]).unwrap_or_else(|e| panic!("{body}: {e}"));
    assert_eq!(encode(&value, &mut Vec::new()).body, body);
}

#[test]
fn data_survives_the_way_in_and_out() {
    for body in [
        "#null",
        "#true",
        "#false",
        "#\"#undefined\"",
        "#\"#NaN\"",
        "#\"#-Infinity\"",
        "#0",
        "#-7",
        "#9007199254740991",
        "#1.5e-7",
        "#12345678901234567890",
        "#\"+0\"",
        "#\"-340282366920938463463374607431768211\"",
        "#\"plain\"",
        "#\"!#not a constant\"",
        "#\"!!\"",
        "#\"%Symbol.asyncIterator\"",
        "#\"tab\\t, quote\\\", backslash\\\\, bell\\u0007, sharp s ß, clef 𝄞\"",
        "#[]",
        "#[1,[\"+2\",{}],{\"a\":[],\"!#b\":null}]",
        "#{\"#tag\":\"match:any\",\"payload\":\"#undefined\"}",
        "#{\"#error\":\"!-1 is too small\",\"name\":\"RangeError\"}",
    ] {
        check(body);
    }
}

#[test]
fn other_spellings_of_the_same_are_read() {
    for (body, value) in [
        ("# [ 1 ,\n2 ] ", Value::List(vec![Value::Int(1), Value::Int(2)])),
        (r#"#"\u0041\/\ud834\udd1e\ud834""#, Value::from("A/𝄞\u{fffd}")),
        (
            r##"#{"name":"TypeError","errorId":"error:1","#error":"no"}"##,
            Value::Error { name: "TypeError".into(), message: "no".into() },
        ),
        (r##"#{"#error":"no"}"##, Error::new("no").into_reason()),
    ] {
        assert_eq!(decode(body.as_bytes(), &[]), Ok(value), "{body}");
    }
}

#[test]
fn what_is_not_smallcaps_is_an_error() {
    for body in [
        "",
        "null",
        "#",
        "#[",
        "#[1",
        "#[1,]",
        "#{\"a\"}",
        "#{\"a\":1,}",
        "#{1:2}",
        "#tru",
        "#1x",
        "#-",
        "#.5",
        "#5.",
        "#\"open",
        "#\"\\x\"",
        "#\"\\u12\"",
        "#\"$0\"",
        "#\"$x\"",
        "#\"$\"",
        "#\"#bad\"",
        "#\"(x\"",
        "#\"+\"",
        "#\"+-1\"",
        "#\"-+1\"",
        "#{\"#x\":1}",
        "#{\"#tag\":1,\"payload\":2}",
        "#{\"#error\":1}",
        "#1 2",
    ] {
        assert!(decode(body.as_bytes(), &[]).is_err(), "{body}");
    }
    assert!(decode(b"#\"\xff\"", &[]).is_err());
}

#[test]
fn a_body_cannot_exhaust_the_stack_or_the_heap() {
    let nested = |depth: usize| format!("#{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode(nested(100).as_bytes(), &[]).is_ok());
    assert!(decode(nested(101).as_bytes(), &[]).is_err());
    let wide = |values: usize| format!("#[{}0]", "0,".repeat(values - 2));
    assert!(decode(wide(65_536).as_bytes(), &[]).is_ok());
    assert!(decode(wide(65_537).as_bytes(), &[]).is_err());
}

#[test]
fn a_slot_is_what_its_prefix_says() {
    let slots = [Value::Remote(crate::Remote::of(50)), Value::Promise(crate::Promise::pair().0)];
    assert_eq!(decode(b"#\"$0.Alleged: Purse\"", &slots), Ok(slots[0].clone()));
    assert_eq!(decode(b"#\"&1\"", &slots), Ok(slots[1].clone()));
    assert!(decode(b"#\"&0\"", &slots).is_err());
    assert!(decode(b"#\"$1\"", &slots).is_err());
    assert!(decode(b"#\"$2\"", &slots).is_err());
}
