#!/usr/bin/env bash
# tests/bench/flat_memory.sh [GB]: streams so much text (10 GB: captions, each made unique by a number) through filter and through tokenize and
# samples their memory: what each holds after the first tenth must be what it holds at the end.
set -eu
cd "$(dirname "$0")/../.."
bin=${BUILD:-build}/bin
captions=../shared/captions/english.txt.gz
[ -r "$captions" ] || { echo "flat_memory: no captions in $captions, nothing measured"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
zcat "$captions" > "$tmp/captions"
"$bin/atelier-tokenize" --train --in "text:$tmp/captions" --vocab "$tmp/vocab.json" 2> /dev/null
mkfifo "$tmp/pipe"

# hold NAME COMMAND...
hold() {
    local name=$1
    shift
    awk -v left="$gb" '{ line[NR] = $0 } END { for (left *= 1e9; left > 0; n++) { s = line[n % NR + 1] " " n; print s; left -= length(s) + 1 } }' \
        "$tmp/captions" > "$tmp/pipe" &
    "$@" --stats "$tmp/stats" < "$tmp/pipe" > /dev/null 2> "$tmp/log" &
    local pid=$!
    while sed -n 's/VmRSS:[[:space:]]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2> /dev/null | grep . ; do sleep 0.5; done > "$tmp/held"
    wait "$pid" || { cat "$tmp/log"; exit 1; }
    awk -v name="$name" -v gb="$gb" '{ held[NR] = $1 } END {
        early = held[int(NR / 10) + 1]
        printf "%-10s %s GB: %d KB after a tenth, %d KB at the end, %d samples\n", name, gb, early, held[NR], NR
        exit held[NR] > 1.02 * early + 256 }' "$tmp/held"
}
gb=${1:-10}
hold filter "$bin/atelier-filter" --in text:- --out -
hold tokenize "$bin/atelier-tokenize" --vocab "$tmp/vocab.json" --in text:- --out -
