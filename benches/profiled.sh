#!/bin/sh
# Builds vathost as fast as it gets: the compiler is told which code a delivery runs, and puts that together.
#
#   benches/profiled.sh                        builds it, and prints where it is: it takes twice as long as a release build, and a minute
#   LOADS="call store" benches/profiled.sh     the loads of `vathost bench` that tell the compiler, rather than those below
#   CARGO_TARGET_DIR=/big/disk …               where it is built, as for cargo
#
# A profile tells the compiler nothing that could change a result: hashes and fuel are those of any build.
set -eu

LOADS=${LOADS:-ping call store reads gc fanout slog latency replay}
case ${1-} in -*) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-$PWD/target}/profiled
host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-profdata" ] || rustup component add llvm-tools

# Builds vathost with these flags into this folder. A target is named so that build scripts and macros are not built with them, too.
build() {
    echo "building $2" >&2
    RUSTFLAGS=$1 VATHOST_PROFILED=${3-} cargo build --locked --release --bin vathost --target "$host" --target-dir "$out/$2" >&2
    vathost=$out/$2/$host/release/vathost
}

rm -rf "$out/counts"
build "-Cprofile-generate=$out/counts" counting
echo "running $LOADS" >&2
# shellcheck disable=SC2086  # a list
"$vathost" bench $LOADS --runs 1 --deliveries 40000 --quiet > /dev/null
"$tools/llvm-profdata" merge --output="$out/vathost.profdata" "$out/counts"
build "-Cprofile-use=$out/vathost.profdata" built yes
echo "$vathost"
