//! The shape of a vat: what it may import, what it must export.

use wasmparser::{ExternalKind, FuncType, Import, TypeRef, ValType};

use super::imports::{IMPORT_MODULE, IMPORTS, Num};
use super::refusal::ModuleRefusal;

/// Returns the mistake in an import, of a function of type `ty`, if there is one.
pub(super) fn check_import(offset: usize, import: &Import<'_>, ty: Option<&FuncType>) -> Option<ModuleRefusal> {
    let name = format!("`{}` `{}`", import.module, import.name);
    if !matches!(import.ty, TypeRef::Func(_)) {
        let what = format!("import of {} {name}", kind_of(&import.ty));
        let hint = "a vat imports functions only: define it in the module and export it";
        return Some(ModuleRefusal::new("imports", offset, what, hint));
    }
    let known = IMPORTS.iter().find(|known| import.module == IMPORT_MODULE && known.name == import.name);
    match (known, ty) {
        (None, _) => {
            Some(ModuleRefusal::new("imports", offset, format!("unknown import {name}"), import_hint(import.module)))
        }
        (Some(known), Some(ty)) if !has_type(ty, known.params, known.results) => {
            let what = format!("import {name} has type {}", signature(ty.params(), ty.results()));
            let hint = format!("declare it as {}", signature(known.params, known.results));
            Some(ModuleRefusal::new("imports", offset, what, hint))
        }
        _ => None,
    }
}

/// Returns the mistake in an export that must be a function with these parameters and no results, if there is one.
pub(super) fn check_export(
    name: &str,
    params: &[Num],
    kind: ExternalKind,
    ty: Option<&FuncType>,
) -> Option<ModuleRefusal> {
    let what = match ty {
        Some(ty) if kind == ExternalKind::Func && has_type(ty, params, &[]) => return None,
        Some(ty) if kind == ExternalKind::Func => {
            format!("export `{name}` has type {}", signature(ty.params(), ty.results()))
        }
        _ => format!("export `{name}` is not a function"),
    };
    Some(ModuleRefusal::new("exports", None, what, format!("it must be a function {}", signature(params, &[]))))
}

fn has_type(ty: &FuncType, params: &[Num], results: &[Num]) -> bool {
    let same = |types: &[ValType], nums: &[Num]| {
        let nums = nums.iter().map(|num| match num {
            Num::I32 => ValType::I32,
            Num::I64 => ValType::I64,
        });
        types.iter().copied().eq(nums)
    };
    same(ty.params(), params) && same(ty.results(), results)
}

fn signature<T: std::fmt::Display>(params: &[T], results: &[T]) -> String {
    let list = |types: &[T]| types.iter().map(T::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(params), list(results))
}

fn kind_of(ty: &TypeRef) -> &'static str {
    match ty {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => "function",
        TypeRef::Table(_) => "table",
        TypeRef::Memory(_) => "memory",
        TypeRef::Global(_) => "global",
        TypeRef::Tag(_) => "tag",
    }
}

fn import_hint(module: &str) -> String {
    let hint = match module {
        _ if module.starts_with("wasi") => "compile without WASI: wasm32-unknown-unknown (C: -nostdlib -ffreestanding)",
        "env" => "a symbol was left undefined by the linker: define it, or remove --allow-undefined",
        m if m.contains("wbindgen") => "build without wasm-bindgen: a vat has no JavaScript around it",
        IMPORT_MODULE => {
            let names: Vec<_> = IMPORTS.iter().map(|import| import.name).collect();
            return format!("`vat1` has: {}", names.join(", "));
        }
        _ => "a vat imports from `vat1` only: remove what needs this",
    };
    hint.to_owned()
}
