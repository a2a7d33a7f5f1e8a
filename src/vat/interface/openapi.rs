//! An interface as a document of OpenAPI 3.1, for HTTP clients of a served host: `POST /cap/NAME` with `{"method", "args"}`.
//!
//! What JSON cannot express is written as the server writes it: `{"@cap": URL}` is an object, `{"@promise": URL}` a promise. A schema
//! for each kind of object describes the messages that it takes; `/cap/NAME` takes those of the vat's root.

use serde_json::{Map, Value, json};

use super::{Exo, Interface, Method, Type};

/// Writes the document of interfaces, each with the names of the vats that run it; no names for a module by itself.
pub fn document(title: &str, interfaces: &[(&[String], &Interface)]) -> Value {
    let (mut paths, mut schemas, mut kinds) = (Map::new(), common(), Vec::new());
    for (names, interface) in interfaces {
        // Kinds of one name may differ from vat to vat.
        let prefix = if interfaces.len() > 1 {
            names.first().map_or(String::new(), |it| format!("{it}."))
        } else {
            String::new()
        };
        for exo in &interface.exos {
            let name = component(&format!("{prefix}{}", exo.name));
            if !exo.methods.is_empty() {
                kinds.push(name.clone());
            }
            schemas.insert(name, messages(exo));
        }
        for name in *names {
            let root = interface.root().filter(|root| !root.methods.is_empty());
            let schema =
                root.map_or_else(|| "http-Message".to_owned(), |root| component(&format!("{prefix}{}", root.name)));
            let doc = if interface.doc.is_empty() { root.map_or("", |root| &root.doc) } else { &interface.doc };
            paths.insert(format!("/cap/{name}"), path(&format!("call {name}"), doc, &reference(&schema), &[]));
        }
    }
    let any = match kinds.len() {
        0 => reference("http-Message"),
        _ => json!({ "anyOf": kinds.iter().map(|kind| reference(kind)).collect::<Vec<_>>() }),
    };
    let token = json!([{
        "name": "token", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "The token of an object: whoever has it may use it.",
    }]);
    let doc = "The messages that an object takes which an answer named.";
    paths.insert(
        "/cap/{token}".to_owned(),
        path("call an object", doc, &any, token.as_array().map_or(&[], Vec::as_slice)),
    );
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// The name of a schema: OpenAPI takes letters, digits, dots, `-` and `_`.
fn component(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' }).collect()
}

/// The schemas that do not depend on the module. No kind of object has a name with a `-`.
fn common() -> Map<String, Value> {
    let schemas = json!({
        "http-Message": {
            "type": "object", "required": ["method"], "additionalProperties": false,
            "properties": { "method": { "type": "string" }, "args": { "type": "array" } },
        },
        "http-Cap": {
            "description": "A reference to an object.",
            "type": "object", "required": ["@cap"], "properties": { "@cap": { "type": "string" } },
        },
        "http-Promise": {
            "description": "A reference to a promise.",
            "type": "object", "required": ["@promise"], "properties": { "@promise": { "type": "string" } },
        },
        "http-Bigint": {
            "description": "An integer beyond 64 bits, in decimal.",
            "type": "object", "required": ["@bigint"],
            "properties": { "@bigint": { "type": "string", "pattern": "^-?[0-9]+$" } },
        },
        "http-Undefined": {
            "description": "No value.",
            "type": "object", "required": ["@undefined"], "properties": { "@undefined": { "const": true } },
        },
        "http-Fulfilled": {
            "type": "object", "required": ["status", "value"],
            "properties": { "status": { "const": "fulfilled" }, "value": true },
        },
        "http-Rejected": {
            "type": "object", "required": ["status", "reason"],
            "properties": { "status": { "const": "rejected" }, "reason": true },
        },
        "http-Pending": {
            "type": "object", "required": ["status", "promise"],
            "properties": { "status": { "const": "pending" }, "promise": { "type": "string" } },
        },
        "http-Problem": {
            "description": "A refusal of the host (RFC 9457); no vat answered.",
            "type": "object",
            "properties": {
                "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
                "detail": { "type": "string" },
            },
        },
    });
    if let Value::Object(schemas) = schemas { schemas } else { Map::new() }
}

fn path(summary: &str, doc: &str, schema: &Value, parameters: &[Value]) -> Value {
    let content = |kind: &str, schema: Value| json!({ kind: { "schema": schema } });
    let settled = json!({ "oneOf": [reference("http-Fulfilled"), reference("http-Rejected")] });
    let mut parameters = parameters.to_vec();
    parameters.push(json!({
        "name": "Idempotency-Key", "in": "header", "schema": { "type": "string" },
        "description": "The same key has the same answer, also after a crash; the call is made once.",
    }));
    json!({ "post": {
        "summary": summary,
        "description": doc,
        "parameters": parameters,
        "requestBody": { "required": true, "content": content("application/json", schema.clone()) },
        "responses": {
            "200": { "description": "The answer of the vat.", "content": content("application/json", settled) },
            "202": { "description": "No answer yet.", "content": content("application/json", reference("http-Pending")) },
            "default": {
                "description": "The host refuses.",
                "content": content("application/problem+json", reference("http-Problem")),
            },
        },
    } })
}

/// The schema of the messages that a kind of object takes.
fn messages(exo: &Exo) -> Value {
    let methods: Vec<Value> = exo.methods.iter().map(message).collect();
    let mut schema = match methods.len() {
        // A kind that takes no message.
        0 => json!({ "not": {} }),
        _ => json!({ "oneOf": methods }),
    };
    if !exo.doc.is_empty() {
        schema["description"] = exo.doc.clone().into();
    }
    schema
}

fn message(method: &Method) -> Value {
    let args: Vec<Value> = method.args.iter().map(|it| titled(&it.name, given(&it.kind))).collect();
    let optional = method.args.iter().rev().take_while(|it| it.kind.may_be_missing()).count();
    let least = args.len() - optional;
    let mut array = json!({ "type": "array", "minItems": least, "maxItems": args.len() });
    if !args.is_empty() {
        array["prefixItems"] = args.into();
    }
    let required = if least > 0 { json!(["method", "args"]) } else { json!(["method"]) };
    json!({
        "title": method.to_string(),
        "description": method.doc,
        "type": "object", "required": required, "additionalProperties": false,
        "properties": { "method": { "const": method.name }, "args": array },
        "x-answer": answer(&method.answer),
    })
}

fn titled(name: &str, mut schema: Value) -> Value {
    if let Value::Object(members) = &mut schema {
        members.insert("title".to_owned(), name.into());
        return schema;
    }
    json!({ "title": name })
}

/// Returns the schema of an argument.
fn given(kind: &Type) -> Value {
    match kind {
        Type::Option(inner) => json!({ "anyOf": [given(inner), { "type": "null" }, reference("http-Undefined")] }),
        Type::List(inner) => json!({ "type": "array", "items": given(inner) }),
        Type::I128 => json!({ "anyOf": [{ "type": "integer" }, reference("http-Bigint")] }),
        other => plain(other),
    }
}

/// Returns the schema of an answer.
fn answer(kind: &Type) -> Value {
    match kind {
        Type::Undefined => reference("http-Undefined"),
        Type::Option(inner) => json!({ "anyOf": [answer(inner), reference("http-Undefined")] }),
        Type::List(inner) => json!({ "type": "array", "items": answer(inner) }),
        other => given(other),
    }
}

fn plain(kind: &Type) -> Value {
    if let Some((least, most)) = kind.range() {
        // Bounds that fit into JSON numbers of 64 bits.
        let number = |it: i128| i64::try_from(it).map(Value::from).or_else(|_| u64::try_from(it).map(Value::from));
        return match (number(least), number(most)) {
            (Ok(least), Ok(most)) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            _ => json!({ "type": "integer" }),
        };
    }
    match kind {
        Type::F64 | Type::Decimal => json!({ "type": "number" }),
        Type::Boolean => json!({ "type": "boolean" }),
        Type::String => json!({ "type": "string" }),
        Type::Remote | Type::Device => reference("http-Cap"),
        Type::Object(name) => json!({ "allOf": [reference("http-Cap")], "description": format!("A {name}.") }),
        Type::Promise => reference("http-Promise"),
        Type::Named(name) => json!({ "description": format!("A {name}.") }),
        _ => json!({}),
    }
}
