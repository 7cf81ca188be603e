#!/usr/bin/env bash
# tests/bench/language_table.sh: what the filter's language rule keeps of real captions and of CLDR's names of emoji in other languages.
# A row: how many captions come to the rule (the others are too short or boilerplate), how many it keeps in percent, the same without names that are
# letter by letter an English one (not translated, or the name of a place), and the first by words.
set -eu
cd "$(dirname "$0")/../.."
filter=${BUILD:-build}/bin/atelier-filter
captions=${1:-../shared/captions}
cldr=/usr/share/unicode/cldr/common
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# row NAME FILE
row() {
    "$filter" --in "text:$2" --lang any --out "text:$tmp/all" 2> /dev/null
    "$filter" --in "text:$2" --lang en --out "text:$tmp/kept" 2> /dev/null
    awk -v name="$1" -v kept="$tmp/kept" -v english="$tmp/english" '
        function bin(n) { return n <= 5 ? n : n < 10 ? 6 : 7 }
        function share(part, whole) { return whole ? sprintf("%8.2f", 100 * part / whole) : sprintf("%8s", "-") }
        FILENAME == english { same[$0]; next }
        FILENAME == kept { k[bin(NF)]++; some++; others_kept += !($0 in same); next }
        { a[bin(NF)]++; all++; others += !($0 in same) }
        END {
            if (!all) exit
            printf "%-14s %7d %s %s", name, all, share(some, all), share(others_kept, others)
            for (i = 3; i <= 7; i++) printf " %s", share(k[i], a[i])
            print ""
        }' "$tmp/english" "$tmp/all" "$tmp/kept"
}
# names LANGUAGE
names() {
    sed -n 's/.*type="tts"[^>]*>\([^<]*\)<.*/\1/p' "$cldr/annotations/$1.xml" "$cldr/annotationsDerived/$1.xml" 2> /dev/null | grep -v '↑' | sort -u || true
}
: > "$tmp/english"
printf '%-14s %7s %8s %8s %8s %8s %8s %8s %8s\n' '' captions kept% others% '3 words' 4 5 6-9 10+
for language in english prompts de fr cs; do
    file=$(ls "$captions/$language".txt* 2> /dev/null | head -n 1)
    [ -n "$file" ] || continue
    zcat -f "$file" > "$tmp/whole"
    row "$language" "$tmp/whole"
    [ "$language" != prompts ] || continue
    # Captions of three and four words are few: pieces of longer ones, which are harder.
    for first in 1 4; do
        awk -v at=$first 'NR <= 20000 && NF > at + 2 { print $at, $(at + 1), $(at + 2), (NR % 2 ? $(at + 3) : "") }' "$tmp/whole" > "$tmp/captions"
        row "$language from $first" "$tmp/captions"
    done
done
[ -d "$cldr/annotations" ] || { echo "no CLDR in $cldr: install unicode-cldr-core for its names"; exit 0; }
for file in "$cldr"/annotations/*.xml; do
    name=$(basename "$file" .xml)
    names "$name" > "$tmp/captions"
    case $name in
    en | en_*) : > "$tmp/english" ;;
    *) cat <(names en) <(names en_GB) > "$tmp/english" ;;
    esac
    row "cldr $name" "$tmp/captions" >> "$tmp/rows"
done
grep '^cldr en' "$tmp/rows"
grep -v '^cldr en' "$tmp/rows" | sort -k5 -n -r
grep -v '^cldr en' "$tmp/rows" | awk '{ all += $3; kept += $3 * $4 / 100; good += $4 <= 0.5; others += $5 <= 0.5 }
    END { printf "of %d other tables %d at most 0.5%%, %d without English names; together %.3f%% of %d names\n", NR, good, others, 100 * kept / all, all }'
