#!/usr/bin/env bash
# The demo at its smallest, from drawings to the page: what it leaves is whole and adds up.
. "$(dirname "$0")/lib.bash"

(cd "$repository" && BIN=${PATH%%:*} pipelines/demo.sh check "$dir/demo") >log 2>&1 || fail "$(tail -n 30 log)"
cd demo

# The page shows each held-out caption, its true drawing and its candidates; all files that it names exist.
[ -s page/index.html ] || fail 'no page'
captions=$(tar -tf shards/heldout.tar | grep -c 'txt$')
[ "$captions" -gt 0 ] || fail 'nothing was held out'
[ "$(grep -c '<section' page/index.html)" = "$captions" ] || fail "not $captions captions on the page"
[ "$(grep -c '>true<' page/index.html)" = "$captions" ] || fail "not $captions true drawings on the page"
grep -o '\(src\|href\)="[^"]*"' page/index.html | sed 's/.*="//; s/"$//' >named
[ "$(grep -c 'png$' named)" = $((captions * 5)) ] || fail "$(wc -l <named) pictures, not 1 + 4 for each of $captions captions"
while read -r file; do
    [ -s "page/$file" ] || fail "the page names $file, which does not exist"
done <named
for picture in page/sheet.png dvae/pictures/*.png prior/pictures/*.png $(sed 's,^,page/,' named | grep 'png$'); do
    [ "$(head -c 8 "$picture" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "$picture is no PNG"
done
grep -q "$dir/demo/page/index.html" "$dir/log" || fail 'the page is not named at the end'

# One scan of the store: records = kept + rejected, the rejects by their rules, as filter counted them.
number() {
    awk -v name="$1" '$1 == name { print $2; exit }' store.txt
}
counted() {
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" filter.json
}
records=$(for shard in shards/train-*.tar; do tar -tf "$shard"; done | sed 's/\..*//' | sort -u | wc -l)
[ "$(number records)" = "$records" ] || fail "$records records were made, $(number records) are in the store"
[ $(($(number kept) + $(number rejected))) = "$records" ] || fail "$(cat store.txt)"
[ "$(awk '/^  /{ sum += $2 } END { print sum }' store.txt)" = "$(number rejected)" ] || fail "rules: $(cat store.txt)"
for name in records kept rejected; do
    [ "$(counted $name)" = "$(number $name)" ] || fail "$name: filter $(counted $name), store $(number $name)"
done
[ "$(wc -l <rejects.jsonl)" = "$(number rejected)" ] || fail "$(wc -l <rejects.jsonl) lines in rejects.jsonl"
for rule in language boilerplate aspect image short; do
    [ "$(number $rule)" -gt 0 ] || fail "no reject by the rule $rule: $(cat store.txt)"
done
grep -q '^undamaged' store.txt || fail "$(cat store.txt)"

# What it measured.
valid_json heldout.json
valid_json filter.json
for name in drawings chance tone_chance samples reconstructions nearest right_tone rms; do
    grep -q "\"$name\": *[{0-9]" heldout.json || fail "heldout.json has no $name: $(cat heldout.json)"
done
grep -q "\"captions\": $captions," heldout.json || fail "heldout.json is not of $captions captions"
grep -q "\"drawings\": $(($(number kept) + captions))," heldout.json || fail "$(cat heldout.json)"
for model in dvae prior clip; do
    grep -q "^${model}.*loss: -*[0-9]" <(tr A-Z a-z <summary.txt) || fail "no loss of $model: $(cat summary.txt)"
    [ -s $model/model.safetensors ] && [ -s $model/curve.svg ] && [ -s $model/metrics.jsonl ] || fail "$model: $(ls $model)"
done

left=$(find . -name '*.part' -o -name '*.tmp' -o -name '.writing*')
[ -z "$left" ] || fail "left over: $left"
