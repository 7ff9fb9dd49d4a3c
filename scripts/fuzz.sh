#!/bin/sh
# fuzz.sh [SECONDS]
#   Throws what a repository or a server might send at each parser (fuzz/fuzz_targets), for so many
#   seconds each; 10 unless said. It fails with the input that a parser did not bear.
#   This is what `cargo fuzz run` does, without having to install it.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-10}
target=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1 -Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$option"
done
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags"
CARGO_TARGET_DIR=fuzz/target cargo build --quiet --locked --manifest-path fuzz/Cargo.toml --release --target "$target" --bins
corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT
for file in fuzz/fuzz_targets/*.rs; do
    name=$(basename "$file" .rs)
    mkdir "$corpus/$name"
    printf 'fuzzing %s for %s s\n' "$name" "$seconds" >&2
    "fuzz/target/$target/release/$name" -max_total_time="$seconds" -verbosity=0 -print_final_stats=1 \
        -artifact_prefix=fuzz/target/ "$corpus/$name" "fuzz/seeds/$name" 2>"$corpus/said" || {
        cat "$corpus/said" >&2
        exit 1
    }
    grep -E 'number_of_executed_units' "$corpus/said" >&2 || :
done
