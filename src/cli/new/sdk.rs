//! The SDK that this vathost was built with: the sources of `guests/`, without the example vats. A test compares the list with the
//! folder.
//!
//! `vat` and `macros` beside this file are links to `guests/src` and `guests/macros/src`; a package of this crate holds the files themselves.

use super::Template;

/// The crates `vat` and `vat-macros`, under `sdk/`.
pub(super) const SDK: &[Template] = &[
    Template("sdk/Cargo.toml", include_str!("rust/sdk.toml.in"), false),
    Template("sdk/macros/Cargo.toml", include_str!("rust/macros.toml.in"), false),
    Template("sdk/macros/src/interface.rs", include_str!("macros/interface.rs"), false),
    Template("sdk/macros/src/lib.rs", include_str!("macros/lib.rs"), false),
    Template("sdk/src/admin.rs", include_str!("vat/admin.rs"), false),
    Template("sdk/src/argument.rs", include_str!("vat/argument.rs"), false),
    Template("sdk/src/console.rs", include_str!("vat/console.rs"), false),
    Template("sdk/src/convert.rs", include_str!("vat/convert.rs"), false),
    Template("sdk/src/delivery.rs", include_str!("vat/delivery.rs"), false),
    Template("sdk/src/durable.rs", include_str!("vat/durable.rs"), false),
    Template("sdk/src/error.rs", include_str!("vat/error.rs"), false),
    Template("sdk/src/executor.rs", include_str!("vat/executor.rs"), false),
    Template("sdk/src/exo.rs", include_str!("vat/exo.rs"), false),
    Template("sdk/src/heap.rs", include_str!("vat/heap.rs"), false),
    Template("sdk/src/kind.rs", include_str!("vat/kind.rs"), false),
    Template("sdk/src/lib.rs", include_str!("vat/lib.rs"), false),
    Template("sdk/src/mailbox.rs", include_str!("vat/mailbox.rs"), false),
    Template("sdk/src/number.rs", include_str!("vat/number.rs"), false),
    Template("sdk/src/promise.rs", include_str!("vat/promise.rs"), false),
    Template("sdk/src/remote.rs", include_str!("vat/remote.rs"), false),
    Template("sdk/src/rt.rs", include_str!("vat/rt.rs"), false),
    Template("sdk/src/smallcaps.rs", include_str!("vat/smallcaps.rs"), false),
    Template("sdk/src/smallcaps/decode.rs", include_str!("vat/smallcaps/decode.rs"), false),
    Template("sdk/src/smallcaps/encode.rs", include_str!("vat/smallcaps/encode.rs"), false),
    Template("sdk/src/smallcaps/tests.rs", include_str!("vat/smallcaps/tests.rs"), false),
    Template("sdk/src/state.rs", include_str!("vat/state.rs"), false),
    Template("sdk/src/sys.rs", include_str!("vat/sys.rs"), false),
    Template("sdk/src/test.rs", include_str!("vat/test.rs"), false),
    Template("sdk/src/test/kernel.rs", include_str!("vat/test/kernel.rs"), false),
    Template("sdk/src/test/raw.rs", include_str!("vat/test/raw.rs"), false),
    Template("sdk/src/timer.rs", include_str!("vat/timer.rs"), false),
    Template("sdk/src/value.rs", include_str!("vat/value.rs"), false),
    Template("sdk/src/vref.rs", include_str!("vat/vref.rs"), false),
];
