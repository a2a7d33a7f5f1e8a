//! Structural limits of a guest module. They bound what compiling it can cost, and they are part of the verdict:
//! changing one makes a new engine version.

/// The whole file, in bytes. Bounds everything below; a Rust guest with its debug information fits.
pub const MODULE_BYTES_MAX: usize = 4 << 20;
/// One function body with its local declarations, in bytes. Compile time grows faster than the body.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Nanoseconds of CPU that compiling may take by the model of its cost (see `cost`), besides those for each byte of function bodies. The
/// committed guests take at most a fortieth of the sum.
pub const COMPILE_NANOS: u64 = 200_000_000;
/// Nanoseconds that compiling may take in addition for each byte of function bodies: 2 s for a MiB.
pub const COMPILE_NANOS_PER_BYTE: u64 = 2_000;
/// Declared locals of a function, parameters not counted. Each costs at every join of control flow.
pub const LOCALS_MAX: u32 = 1_000;
/// Declared locals of all functions together: a declaration of many locals takes only a few bytes.
pub const LOCALS_TOTAL_MAX: u32 = 20_000;
/// Functions, imported ones included. Each is a compile job.
pub const FUNCTIONS_MAX: u32 = 10_000;
/// Types, as many as functions. Each is interned by the engine.
pub const TYPES_MAX: u32 = 10_000;
/// Exports. Each is looked up by name and held per instance.
pub const EXPORTS_MAX: u32 = 10_000;
/// Blocks, loops and ifs inside one another. Loop nests are what makes compilers slow.
pub const NESTING_MAX: u32 = 256;
/// Loops of a function: the second factor in what nested loops cost.
pub const LOOPS_MAX: u32 = 256;
/// Targets of a `br_table`, the default not counted. Each is an edge.
pub const BR_TABLE_MAX: u32 = 1_024;
/// Parameters of a function type. Beyond the registers each is copied over the stack.
pub const PARAMS_MAX: usize = 32;
/// Results of a function type. Beyond the registers each is copied over the stack, and no real compiler returns more.
pub const RESULTS_MAX: usize = 16;
/// Globals. Each mutable one is in every snapshot.
pub const GLOBALS_MAX: u32 = 1_000;
/// Tables, as many as the validator allows; the host is asked for each at instantiation.
pub const TABLES_MAX: usize = 100;
/// Initial elements of all tables together, and elements of all segments together.
pub const TABLE_ELEMENTS_MAX: u64 = 10_000;
/// Data and element segments together. Each is copied at instantiation.
pub const SEGMENTS_MAX: u32 = 1_000;
/// Custom sections outside debug information, and as many of debug information (DWARF 5 has 13 kinds in wasm).
pub const CUSTOM_SECTIONS_MAX: usize = 16;
/// Bytes of custom sections outside debug information (`.debug_*`).
pub const CUSTOM_BYTES_MAX: usize = 1 << 20;

/// Initial value of the call-depth counter, in units of weight, which are bytes of native frame, estimated from above.
///
/// Measured 2026-11 with wasmtime 48.0.8 on x86-64, fuel and NaN canonicalization on, Cranelift at `speed` and `none`, on 228 mostly hostile
/// guests: at most 1.05 bytes of native stack per unit (32 parameters and 16 results; everything else is under 0.99), so that the budget
/// takes at most 0.55 of [`NATIVE_STACK_MIN`]. The rest is for an uncounted leaf, and for later compilers.
pub const STACK_BUDGET: u32 = 4 << 20;
/// The least native stack, in bytes, that makes the counter the first to trap: wasmtime's `max_wasm_stack` must not be smaller.
/// An engine with `guest_debug` keeps every local and operand in memory as well (measured: at most 2.0 bytes per unit): give it twice this.
pub const NATIVE_STACK_MIN: usize = 2 * STACK_BUDGET as usize;
/// Weight of any counted function before its parameters, locals and operands.
pub const FRAME_WEIGHT: u32 = 64;
/// A function that calls nothing is not counted unless it weighs more than this.
pub const LEAF_WEIGHT_MAX: u32 = 4 << 10;
