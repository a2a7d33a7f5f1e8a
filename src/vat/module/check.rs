//! The check of a whole module: validity under one fixed feature set, the limits, and the shape of a vat.

use wasmparser::{
    ConstExpr, CustomSectionReader, DataKind, DataSectionReader, ElementItems, ElementKind, ElementSectionReader,
    ExportSectionReader, ExternalKind, FuncValidatorAllocations, GlobalSectionReader, ImportSectionReader,
    MemorySectionReader, Parser, Payload, SectionLimited, TableSectionReader, TypeRef, TypeSectionReader, ValType,
    ValidPayload, Validator, WasmFeatures,
};

use super::body::check_body;
use super::imports::Num;
use super::interface::{check_export, check_import};
use super::plan::{Plan, Section};
use super::read::{constant, with_offsets, within};
use super::refusal::{self, ModuleRefusal, Refusals};
use super::{MemoryPages, Rules, limits};

/// The only WebAssembly features a vat may use.
///
/// Left out on purpose: relaxed SIMD and threads (not deterministic); tail calls (they would leave a function past the exit that gives its
/// stack weight back); exceptions (the same, and they need more state in snapshots); memory64, multi-memory, GC, function references
/// (more state than a memory and numbers); `externref` (nothing to refer to). Extended constants are left out because only position-independent code
/// (dynamic linking) uses them, although LLVM's `lime1` baseline names them.
fn features(rules: &Rules) -> WasmFeatures {
    let mut features = WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD;
    features.set(WasmFeatures::FLOATS, rules.floats);
    features
}

/// The bytes behind the magic number of a component; a module has its version there.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// Checks a whole module, and returns the plan of its rewrite.
///
/// # Errors
///
/// All the refusals that could be collected.
pub(super) fn check(wasm: &[u8], rules: &Rules) -> Result<Plan, Refusals> {
    let mut checker = Checker::default();
    if let Err(last) = checker.module(wasm, rules) {
        checker.refusals.push(last);
    }
    if checker.refusals.0.is_empty() { Ok(checker.plan) } else { Err(checker.refusals) }
}

#[derive(Default)]
struct Checker {
    plan: Plan,
    refusals: Refusals,
    /// Type index of every function, imported ones first.
    functions: Vec<u32>,
    /// Initial size of every table.
    tables: Vec<u64>,
    memories: u32,
    locals: u32,
    segments: u32,
    elements: u64,
    custom: usize,
    custom_debug: usize,
    custom_bytes: usize,
    code_bytes: u64,
    exports: Vec<(String, ExternalKind, u32)>,
}

type Checked = Result<(), ModuleRefusal>;

impl Checker {
    fn module(&mut self, wasm: &[u8], rules: &Rules) -> Checked {
        if wasm.len() > limits::MODULE_BYTES_MAX {
            return Err(ModuleRefusal::new(
                "module-bytes",
                None,
                format!("the module is {} bytes", wasm.len()),
                format!(
                    "at most {} are allowed: strip debug information, or optimize for size",
                    limits::MODULE_BYTES_MAX
                ),
            ));
        }
        if !wasm.starts_with(b"\0asm") {
            let hint = "give a .wasm file (a text module has to be assembled first)";
            return Err(ModuleRefusal::new("malformed", 0, "this is not a WebAssembly module", hint));
        }
        if wasm.get(4..8) == Some(&COMPONENT) {
            let (what, hint) = refusal::A_COMPONENT;
            return Err(ModuleRefusal::new("features", 4, what, hint));
        }
        let mut parser = Parser::new(0);
        parser.set_features(features(rules));
        let mut validator = Validator::new_with_features(features(rules));
        let mut allocations = FuncValidatorAllocations::default();
        for payload in parser.parse_all(wasm) {
            let payload = payload?;
            let before = self.refusals.0.len();
            self.section(&payload)?;
            match validator.payload(&payload) {
                Ok(ValidPayload::Func(function, body)) => {
                    let plan = check_body(function, &body, &mut allocations, &mut self.locals, &mut self.refusals)?;
                    self.plan.cost.add(plan.cost, plan.index, plan.body.start);
                    self.code_bytes += plan.body.len() as u64;
                    self.plan.bodies.push(plan);
                }
                Ok(_) => {}
                // The validator stops at what this check has just said better.
                Err(_) if self.refusals.0.len() > before => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if self.refusals.enough() {
                return Ok(());
            }
        }
        self.interface();
        self.plan.cost.check(self.code_bytes)
    }

    /// The checks of one section, apart from validity.
    fn section(&mut self, payload: &Payload<'_>) -> Checked {
        let (items, count) = match payload {
            Payload::TypeSection(s) => (s.original_position(), s.count()),
            Payload::FunctionSection(s) => (s.original_position(), s.count()),
            Payload::GlobalSection(s) => (s.original_position(), s.count()),
            Payload::ExportSection(s) => (s.original_position(), s.count()),
            _ => (0, 0),
        };
        if let Some((id, range)) = payload.as_section()
            && !is_code_metadata(payload)
        {
            self.plan.sections.push(Section { id, range, items, count });
        }
        match payload {
            Payload::TypeSection(section) => self.types(section.clone()),
            Payload::ImportSection(section) => self.imports(section.clone()),
            Payload::FunctionSection(section) => self.functions(section.clone()),
            Payload::TableSection(section) => self.tables(section.clone()),
            Payload::MemorySection(section) => self.memory(section.clone()),
            Payload::GlobalSection(section) => self.globals(section.clone()),
            Payload::ExportSection(section) => self.exports(section.clone()),
            Payload::ElementSection(section) => self.elements(section.clone()),
            Payload::DataSection(section) => self.data(section.clone()),
            Payload::CustomSection(section) => {
                self.custom(section);
                Ok(())
            }
            Payload::StartSection { range, .. } => {
                let hint = "export the function as `_initialize` instead (wasm-ld does; AssemblyScript: --exportStart _initialize)";
                self.refuse("start", range.start, "the module has a start section", hint);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn refuse(
        &mut self,
        rule: &'static str,
        offset: impl Into<Option<usize>>,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.refusals.push(ModuleRefusal::new(rule, offset, what, hint));
    }

    fn types(&mut self, section: TypeSectionReader<'_>) -> Checked {
        within("types", &section, limits::TYPES_MAX, "merge equal types")?;
        for (offset, group) in with_offsets(section) {
            for ty in group?.into_types() {
                let wasmparser::CompositeInnerType::Func(ty) = ty.composite_type.inner else { continue };
                if ty.params().len() > limits::PARAMS_MAX || ty.results().len() > limits::RESULTS_MAX {
                    let what = format!(
                        "type {} has {} parameters and {} results",
                        self.plan.types.len(),
                        ty.params().len(),
                        ty.results().len()
                    );
                    let hint = format!(
                        "at most {} and {} are allowed: pass a pointer to memory",
                        limits::PARAMS_MAX,
                        limits::RESULTS_MAX
                    );
                    self.refuse("signature", offset, what, hint);
                }
                self.plan.types.push(ty);
            }
        }
        Ok(())
    }

    fn imports(&mut self, section: ImportSectionReader<'_>) -> Checked {
        within("functions", &section, limits::FUNCTIONS_MAX, "split the vat")?;
        for item in section.into_imports_with_offsets() {
            let (offset, import) = item?;
            let ty = match import.ty {
                TypeRef::Func(index) => {
                    self.functions.push(index);
                    self.plan.types.get(index as usize)
                }
                _ => None,
            };
            let refusal = check_import(offset, &import, ty);
            refusal.into_iter().for_each(|refusal| self.refusals.push(refusal));
        }
        Ok(())
    }

    fn functions(&mut self, section: SectionLimited<'_, u32>) -> Checked {
        let imported = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
        let limit = limits::FUNCTIONS_MAX.saturating_sub(imported);
        within("functions", &section, limit, "optimize for size, or split the vat")?;
        for ty in section {
            self.functions.push(ty?);
        }
        Ok(())
    }

    fn tables(&mut self, section: TableSectionReader<'_>) -> Checked {
        let at = section.original_position();
        let max = u32::try_from(limits::TABLES_MAX).unwrap_or(u32::MAX);
        within("tables", &section, max, "merge them")?;
        for table in section {
            self.tables.push(table?.ty.initial);
        }
        let total = self.tables.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
        if total > limits::TABLE_ELEMENTS_MAX {
            let hint = format!("at most {} are allowed: take fewer function addresses", limits::TABLE_ELEMENTS_MAX);
            self.refuse("table", at, format!("the tables have {total} elements"), hint);
        }
        Ok(())
    }

    fn memory(&mut self, section: MemorySectionReader<'_>) -> Checked {
        for (offset, memory) in with_offsets(section) {
            let memory = memory?;
            self.memories += 1;
            if self.memories > 1 {
                self.refuse("memory", offset, "more than one memory", "a vat has one memory: merge them");
                return Ok(());
            }
            if memory.shared {
                self.refuse("memory", offset, "the memory is shared", "compile without threads");
            }
            let pages = |pages: u64| u32::try_from(pages).ok().filter(|pages| *pages <= 65_536);
            match (pages(memory.initial), memory.maximum.map(pages)) {
                _ if memory.memory64 || memory.page_size_log2.is_some() => {
                    self.refuse(
                        "memory",
                        offset,
                        "a 64-bit memory, or one with a page size",
                        "compile for plain wasm32",
                    );
                }
                (Some(min), None) => self.plan.memory = MemoryPages { min, max: None },
                (Some(min), Some(Some(max))) => self.plan.memory = MemoryPages { min, max: Some(max) },
                _ => {
                    let hint = "at most 65536 pages of 64 KiB: lower the initial or maximum memory size";
                    self.refuse("memory", offset, "the memory is larger than 4 GiB", hint);
                }
            }
        }
        Ok(())
    }

    fn globals(&mut self, section: GlobalSectionReader<'_>) -> Checked {
        within("globals", &section, limits::GLOBALS_MAX, "keep state in memory")?;
        self.plan.globals = section.count();
        for (index, (offset, global)) in (0..).zip(with_offsets(section)) {
            let ty = global?.ty;
            if !ty.mutable {
                continue;
            }
            if matches!(ty.content_type, ValType::Ref(_)) {
                let hint = "snapshots hold numbers only: keep a table index in an i32 global";
                self.refuse("globals", offset, format!("global {index} is a mutable reference"), hint);
            }
            self.plan.mutable_globals.push(index);
        }
        Ok(())
    }

    fn exports(&mut self, section: ExportSectionReader<'_>) -> Checked {
        within("exports", &section, limits::EXPORTS_MAX, "export less")?;
        for (offset, export) in with_offsets(section) {
            let export = export?;
            if export.name.starts_with("vathost:") {
                let what = format!("export `{}`", export.name);
                self.refuse("exports", offset, what, "names beginning with `vathost:` are the host's: rename it");
            }
            self.exports.push((export.name.to_owned(), export.kind, export.index));
        }
        Ok(())
    }

    fn elements(&mut self, section: ElementSectionReader<'_>) -> Checked {
        self.segments(&section)?;
        for (offset, element) in with_offsets(section) {
            let element = element?;
            let count = match &element.items {
                ElementItems::Functions(items) => items.count(),
                ElementItems::Expressions(_, items) => items.count(),
            };
            self.elements = self.elements.saturating_add(u64::from(count));
            if self.elements > limits::TABLE_ELEMENTS_MAX {
                let what = format!("element segments have more than {} elements", limits::TABLE_ELEMENTS_MAX);
                return Err(ModuleRefusal::new("table", offset, what, "take fewer function addresses"));
            }
            if let ElementKind::Active { table_index, offset_expr } = element.kind {
                let size = self.tables.get(table_index.unwrap_or(0) as usize).copied().unwrap_or(0);
                self.fits(offset, "an element segment", &offset_expr, u64::from(count), size);
            }
        }
        Ok(())
    }

    fn data(&mut self, section: DataSectionReader<'_>) -> Checked {
        self.segments(&section)?;
        for (offset, data) in with_offsets(section) {
            let data = data?;
            if let DataKind::Active { offset_expr, .. } = data.kind {
                let size = u64::from(self.plan.memory.min) << 16;
                self.fits(offset, "a data segment", &offset_expr, data.data.len() as u64, size);
            }
        }
        Ok(())
    }

    fn segments<T>(&mut self, section: &SectionLimited<'_, T>) -> Checked {
        self.segments = self.segments.saturating_add(section.count());
        if self.segments > limits::SEGMENTS_MAX {
            let what = format!("{} data and element segments", self.segments);
            let hint =
                format!("at most {} are allowed: merge them (wasm-opt --memory-packing off)", limits::SEGMENTS_MAX);
            return Err(ModuleRefusal::new("segments", section.original_position(), what, hint));
        }
        Ok(())
    }

    /// Checks that a segment fits: otherwise it would trap at instantiation, too late to blame clearly.
    fn fits(&mut self, offset: usize, what: &str, place: &ConstExpr<'_>, len: u64, size: u64) {
        let start = constant(place);
        if start.and_then(|start| start.checked_add(len)).is_none_or(|end| end > size) {
            let what = format!("{what} does not fit: it begins at {} with length {len}, of {size}", start.unwrap_or(0));
            self.refuse("segments", offset, what, "make the memory or table large enough, and the start an i32.const");
        }
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) {
        let range = section.range();
        if section.name().starts_with(".debug_") {
            self.custom_debug += 1;
        } else {
            self.custom += 1;
            self.custom_bytes += range.len();
        }
        let max = limits::CUSTOM_SECTIONS_MAX;
        if self.custom > max || self.custom_debug > max {
            let what = format!("more than {max} custom sections");
            self.refuse("custom", range.start, what, "strip those that are not needed");
            (self.custom, self.custom_debug) = (0, 0);
        }
        if self.custom_bytes > limits::CUSTOM_BYTES_MAX {
            let what =
                format!("custom sections take more than {} bytes, debug information apart", limits::CUSTOM_BYTES_MAX);
            self.refuse("custom", range.start, what, "strip those that are not needed, such as long names");
            self.custom_bytes = 0;
        }
    }

    /// Checks the interface that the host relies on: the memory and the two functions.
    fn interface(&mut self) {
        if self.memories == 0 {
            self.refuse("exports", None, "the module has no memory", "define one memory and export it as `memory`");
        } else if self.export("memory") != Some((ExternalKind::Memory, 0)) {
            self.refuse("exports", None, "there is no memory exported as `memory`", "export the memory as `memory`");
        }
        let deliver = self.exported_function("vat_deliver", &[Num::I32]);
        if deliver.is_none() {
            let hint = "export `vat_deliver(len: u32)`, which handles one delivery (Rust: the `vat` crate does it for the type that is \
                        marked #[vat::root]; C: __attribute__((export_name(\"vat_deliver\"))); Zig: `export fn`, built with -rdynamic; \
                        AssemblyScript: `export function` in the entry file)";
            self.refuse("exports", None, "there is no export `vat_deliver`", hint);
        }
        self.plan.functions = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
        self.plan.initialize = self.exported_function("_initialize", &[]).is_some();
    }

    fn export(&self, name: &str) -> Option<(ExternalKind, u32)> {
        self.exports.iter().find(|export| export.0 == name).map(|export| (export.1, export.2))
    }

    /// Checks the export with this name, and refuses one that is no function of this type; `None` if there is no such export.
    fn exported_function(&mut self, name: &str, params: &[Num]) -> Option<()> {
        let (kind, index) = self.export(name)?;
        let ty = self.functions.get(index as usize).and_then(|ty| self.plan.types.get(*ty as usize));
        let refusal = check_export(name, params, kind, ty);
        refusal.into_iter().for_each(|refusal| self.refusals.push(refusal));
        Some(())
    }
}

/// Returns whether a section is left out of the rewrite: branch hints, whose offsets would be wrong and which only advise the compiler.
fn is_code_metadata(payload: &Payload<'_>) -> bool {
    matches!(payload, Payload::CustomSection(section) if section.name().starts_with("metadata.code."))
}
