#!/bin/sh
# Compares versions of wasmtime: builds this tree with each, lets all of them live the same lives, and prints what differs.
#
#   benches/engines.sh 48.0.8 48.0.5            the first is what the others are compared with
#   ENGINES_DIR=/big/disk benches/engines.sh …  where the trees are built; kept, so that a second run builds little
#   BUILD="nice cargo +nightly" …               how cargo is called: a later wasmtime may want a later compiler
#
# The lives: every scenario of vats/, under each engine version that there is; SwingSet's vectors; the corner modules and
# the hostile guests of the tests; a hundred random lives. Compared are hashes, fuel and the reasons of ends.
set -eu

SEEDS=${SEEDS:-100}
CARGO=${BUILD:-cargo}
here=$(cd "$(dirname "$0")/.." && pwd)
root=${ENGINES_DIR:-${TMPDIR:-/tmp}/vathost-engines}
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }

# Prints the copy of the tree that has this version.
copy() {
    tree=$root/$1
    mkdir -p "$tree"
    tar -C "$here" --exclude=./target --exclude=./.git -cf - . | tar -C "$tree" -xf -
    pinned=$(sed -n '/^\[dependencies.wasmtime\]/,/^$/s/^version = "=\(.*\)"/\1/p' "$here/Cargo.toml")
    sed -i "/^\[dependencies.wasmtime\]/,/^\$/s/\"=$pinned\"/\"=$1\"/" "$tree/Cargo.toml"
    sed -i "s/\"$pinned\"/\"$1\"/" "$tree/src/vat/runtime.rs"
    [ "$1" = "$pinned" ] || (cd "$tree" && $CARGO update --quiet -p "wasmtime@$pinned" --precise "$1" >&2)
    echo "$tree"
}

# Writes the lives of a built tree, a line each: what it is, and what it came to.
lives() {
    cd "$1"
    vathost=$2 tests=$3
    scratch=$(mktemp -d)
    export XDG_CACHE_HOME="$scratch/cache"
    for engine in $(seq 1 "$(grep -c '^    EngineVersion {' src/model/engine_version.rs)"); do
        rm -rf "vats-$engine"
        cp -r vats "vats-$engine"
        for toml in "vats-$engine"/*/vat.toml; do
            sed -i "1i engine = $engine" "$toml"
            came=$("$vathost" run "$(dirname "$toml")" --json 2>/dev/null | tr ',' '\n' |
                sed -n 's/.*"\(stateHash\|fuel\|reason\)": *"\{0,1\}\([^"]*\).*/\2/p' | tr '\n' ' ') || came="ended with $?"
            echo "scenario $(basename "$(dirname "$toml")"), engine $engine	$came"
        done
        rm -rf "vats-$engine"
    done
    echo "vectors	$("$vathost" conformance tests/vectors/*.json --json 2>&1 | grep -v -i second | cksum)"
    for seed in $(seq 1 "$SEEDS"); do
        echo "random life $seed	$("$vathost" bench soak --seed "$seed" --blocks 12 --audit 0 --json | tr ',' '\n' | sed -n 's/.*"stateHash": *"\([^"]*\).*/\1/p')"
    done
    VATHOST_LIVES=$scratch/lives RUST_MIN_STACK=33554432 CARGO_MANIFEST_DIR=$PWD "$tests" --quiet module::corners:: module::operand:: >/dev/null ||
        echo "tests	failed"
    sort -u "$scratch/lives"
    rm -rf "$scratch"
}

for version in "$@"; do
    tree=$(copy "$version")
    echo "building with wasmtime $version in $tree" >&2
    built=$(cd "$tree" && $CARGO test -p vathost --test it --no-run --message-format=json 2>"$root/$version.log" |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    tests=$(echo "$built" | grep '/it-' | head -1)
    vathost=$(echo "$built" | grep '/vathost$' | head -1)
    [ -n "$tests" ] && [ -n "$vathost" ] || { echo "wasmtime $version does not build: see $root/$version.log" >&2; exit 1; }
    echo "living with wasmtime $version" >&2
    (lives "$tree" "$vathost" "$tests") > "$root/$version.lives"
done

first=$1
shift
for version in "$@"; do
    printf '%s and %s: %s lives, ' "$first" "$version" "$(wc -l < "$root/$first.lives")"
    if cmp -s "$root/$first.lives" "$root/$version.lives"; then
        echo 'all the same'
    else
        diff "$root/$first.lives" "$root/$version.lives" > "$root/differ" || true
        echo "$(grep -c '^<' "$root/differ") differ"
        sed 's/	/\n      /' "$root/differ"
    fi
done
