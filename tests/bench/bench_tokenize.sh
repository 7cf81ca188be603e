#!/usr/bin/env bash
# tests/bench/bench_tokenize.sh [CAPTIONS.gz]: ours, and the peers that PYTHON (python3) has, on the same captions, alternating.
set -eu
cd "$(dirname "$0")/../.."
captions=${1:-../shared/captions/english.txt.gz}
build=${BUILD:-build}
[ -r "$captions" ] || { echo "bench_tokenize: no captions in $captions, nothing measured"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
zcat -f "$captions" > "$tmp/captions.txt"
"$build/bin/atelier-tokenize" --train --in text:"$tmp/captions.txt" --vocab-size 16384 --vocab "$tmp/vocab.json"
for round in 1 2; do
    "$build/bin/bench-tokenize" "$tmp/captions.txt"
    "${PYTHON:-python3}" tests/bench/bench_tokenize_peers.py "$tmp/captions.txt" "$tmp/vocab.json"
done
TIMEFORMAT='%U %S'
cpu=$({ time "$build/bin/atelier-tokenize" --in text:"$tmp/captions.txt" --vocab "$tmp/vocab.json" --out - > /dev/null 2>&1; } 2>&1)
echo "$cpu $(stat -c %s "$tmp/captions.txt")" | awk '{ printf "%-34s %8.1f MB/s of CPU, text to record stream\n", "atelier-tokenize, the whole program", $3 / ($1 + $2) / 1e6 }'
