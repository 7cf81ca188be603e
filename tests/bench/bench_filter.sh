#!/usr/bin/env bash
# tests/bench/bench_filter.sh [CAPTIONS [PHOTOS]]: captions a second of CPU with all text rules on, what the rules and CLD2 take, shards of pictures,
# and what finding duplicates adds; beside them CLD2 alone, where PYTHON (python3) has pycld2.
set -eu
cd "$(dirname "$0")/../.."
filter=${BUILD:-build}/bin/atelier-filter
captions=${1:-../shared/captions/english.txt.gz}
photos=${2:-../shared/golden/photos}
[ -r "$captions" ] || { echo "bench_filter: no captions in $captions, nothing measured"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
zcat -f "$captions" > "$tmp/captions.txt"
n=$(wc -l < "$tmp/captions.txt")
TIMEFORMAT='%U %S'

# cpu ARGUMENTS...: the least seconds of CPU in five runs
cpu() {
    for _ in 1 2 3 4 5; do { time "$filter" "$@" --dry-run > /dev/null 2>&1; } 2>&1; done | awk '{ t = $1 + $2; if (NR == 1 || t < best) best = t } END { print best }'
}
all=$(cpu --in "text:$tmp/captions.txt")
none=$(cpu --in "text:$tmp/captions.txt" --lang any)
asked=$(cpu --in "text:$tmp/captions.txt" --lang de)
"$filter" --in "text:$tmp/captions.txt" --dry-run --stats "$tmp/stats.json" 2> /dev/null
twice=$(cpu --in "text:$tmp/captions.txt" --dedup exact)
questions=$(sed -n 's/.*"asked_cld2": \([0-9]*\).*/\1/p' "$tmp/stats.json")
awk -v n="$n" -v all="$all" -v none="$none" -v asked="$asked" -v q="${questions:-0}" -v twice="$twice" 'BEGIN {
    printf "all text rules            %9.0f captions/s of CPU\n", n / all
    printf "with --dedup exact        %9.0f captions/s of CPU\n", n / twice
    printf "without the language rule %9.0f captions/s of CPU: that rule takes %.0f%%\n", n / none, 100 * (all - none) / all
    printf "CLD2 asked about %.2f%% of the captions; about all of them (--lang de): %.0f captions/s\n", 100 * q / n, n / asked
}'
"${PYTHON:-python3}" tests/bench/bench_filter_peers.py "$tmp/captions.txt" || true

[ -d "$photos" ] || exit 0
mkdir "$tmp/pictures"
for i in $(seq -w 0 999); do
    for photo in "$photos"/*.jpg; do
        name=$tmp/pictures/$i-$(basename "$photo" .jpg)
        cp "$photo" "$name.jpg"
        echo "a picture of a thing numbered $i" > "$name.txt"
    done
done
tar -C "$tmp/pictures" --sort=name -cf "$tmp/shard.tar" .
rm -r "$tmp/pictures"
bytes=$(stat -c %s "$tmp/shard.tar")
awk -v b="$bytes" -v t="$(cpu --in "tar:$tmp/shard.tar" --aspect 1/9:9)" 'BEGIN {
    printf "shard of pictures         %9.2f GB/s of CPU (%.0f MB, from the page cache)\n", b / t / 1e9, b / 1e6 }'
