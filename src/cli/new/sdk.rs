//! The SDK that this vathost was built with: the sources of `guests/`, without the example vats. A test compares the list with the
//! folder.

use super::Template;

/// The crates `vat` and `vat-macros`, under `sdk/`.
pub(super) const SDK: &[Template] = &[
    Template("sdk/Cargo.toml", include_str!("rust/sdk.toml.in"), false),
    Template("sdk/macros/Cargo.toml", include_str!("rust/macros.toml.in"), false),
    Template("sdk/macros/src/lib.rs", include_str!("../../../guests/macros/src/lib.rs"), false),
    Template("sdk/src/admin.rs", include_str!("../../../guests/src/admin.rs"), false),
    Template("sdk/src/argument.rs", include_str!("../../../guests/src/argument.rs"), false),
    Template("sdk/src/console.rs", include_str!("../../../guests/src/console.rs"), false),
    Template("sdk/src/convert.rs", include_str!("../../../guests/src/convert.rs"), false),
    Template("sdk/src/delivery.rs", include_str!("../../../guests/src/delivery.rs"), false),
    Template("sdk/src/durable.rs", include_str!("../../../guests/src/durable.rs"), false),
    Template("sdk/src/error.rs", include_str!("../../../guests/src/error.rs"), false),
    Template("sdk/src/executor.rs", include_str!("../../../guests/src/executor.rs"), false),
    Template("sdk/src/exo.rs", include_str!("../../../guests/src/exo.rs"), false),
    Template("sdk/src/heap.rs", include_str!("../../../guests/src/heap.rs"), false),
    Template("sdk/src/kind.rs", include_str!("../../../guests/src/kind.rs"), false),
    Template("sdk/src/lib.rs", include_str!("../../../guests/src/lib.rs"), false),
    Template("sdk/src/mailbox.rs", include_str!("../../../guests/src/mailbox.rs"), false),
    Template("sdk/src/number.rs", include_str!("../../../guests/src/number.rs"), false),
    Template("sdk/src/promise.rs", include_str!("../../../guests/src/promise.rs"), false),
    Template("sdk/src/remote.rs", include_str!("../../../guests/src/remote.rs"), false),
    Template("sdk/src/rt.rs", include_str!("../../../guests/src/rt.rs"), false),
    Template("sdk/src/smallcaps.rs", include_str!("../../../guests/src/smallcaps.rs"), false),
    Template("sdk/src/smallcaps/decode.rs", include_str!("../../../guests/src/smallcaps/decode.rs"), false),
    Template("sdk/src/smallcaps/encode.rs", include_str!("../../../guests/src/smallcaps/encode.rs"), false),
    Template("sdk/src/smallcaps/tests.rs", include_str!("../../../guests/src/smallcaps/tests.rs"), false),
    Template("sdk/src/state.rs", include_str!("../../../guests/src/state.rs"), false),
    Template("sdk/src/sys.rs", include_str!("../../../guests/src/sys.rs"), false),
    Template("sdk/src/test.rs", include_str!("../../../guests/src/test.rs"), false),
    Template("sdk/src/test/kernel.rs", include_str!("../../../guests/src/test/kernel.rs"), false),
    Template("sdk/src/test/raw.rs", include_str!("../../../guests/src/test/raw.rs"), false),
    Template("sdk/src/timer.rs", include_str!("../../../guests/src/timer.rs"), false),
    Template("sdk/src/value.rs", include_str!("../../../guests/src/value.rs"), false),
    Template("sdk/src/vref.rs", include_str!("../../../guests/src/vref.rs"), false),
];
