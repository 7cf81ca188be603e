#!/usr/bin/env bash
# atelier-tokenize as users run it: train, encode, cut, decode, odd input, and what it says when it is used wrongly.
. "$(dirname "$0")/lib.bash"

for i in $(seq 300); do
    echo "A red house number $i stands by the sea, isn't it?"
    echo "Zwei große Hunde laufen über $i Wiesen."
done > captions.txt
printf 'bad \377 bytes\n\n  SPACES  \n' >> captions.txt

atelier-tokenize --train --in text:captions.txt --vocab-size 400 --vocab v.json --out text:must-not-exist 2> log
[ ! -e must-not-exist ] || fail "--train opened --out"
grep -q 'vocabulary 400' log || fail "$(cat log)"
atelier-tokenize --train --in text:captions.txt --vocab-size 400 --vocab again.json 2> log
cmp v.json again.json

# A round trip gives the lower-cased captions back, bad bytes as U+FFFD.
atelier-tokenize --in text:captions.txt --vocab v.json 2> log | atelier-tokenize --decode --vocab v.json --out text:back.txt 2>> log
sed 's/\xff/\xef\xbf\xbd/; s/.*/\L&/' captions.txt > lower.txt
cmp lower.txt back.txt

# What is cut is recorded and counted.
atelier-tokenize --length 3 --in text:captions.txt --vocab v.json --out jsonl:cut.jsonl --stats stats.json 2> log
[ "$(grep -c '"cut":' cut.jsonl)" = "$(sed -n 's/.*"cut": \([0-9]*\).*/\1/p' stats.json)" ] || fail "cut: $(cat stats.json)"
grep -q '"tokens":\[[0-9]*,[0-9]*,[0-9]*\]' cut.jsonl
! grep -q '"tokens":\[[0-9]*,[0-9]*,[0-9]*,' cut.jsonl || fail "more than 3 tokens"

# A record without a caption is a reject and goes on; one that was rejected before passes untouched.
printf '{"id":0,"width":4}\n{"id":1,"caption":"a sea"}\n{"id":2,"caption":"x","reject":"language: fr"}\n' > odd.jsonl
atelier-tokenize --in jsonl:odd.jsonl --vocab v.json --keep-rejects --out jsonl:odd.out 2> log
grep -q '"id":0.*"reject":"caption: none"' odd.out
grep -q '"id":1.*"tokens":\[' odd.out
grep -q '"id":2.*"reject":"language: fr"' odd.out
[ "$(wc -l < odd.out)" = 3 ] || fail "records: $(cat odd.out)"

expect 2 '--vocab FILE is missing' atelier-tokenize --in text:captions.txt
expect 2 'exclude each other' atelier-tokenize --train --decode --vocab v.json
expect 2 '--length' atelier-tokenize --length 0 --vocab v.json
expect 2 '--vocab-size' atelier-tokenize --train --vocab-size 255 --vocab v.json
expect 74 'absent.json' atelier-tokenize --in text:captions.txt --vocab absent.json
expect 65 'neither a tokenizer.json' atelier-tokenize --in text:captions.txt --vocab captions.txt
sed 's/"dropout": null/"dropout": 0.1/' v.json > dropout.json
expect 65 'model.dropout is 0.1' atelier-tokenize --in text:captions.txt --vocab dropout.json
: > empty.txt
expect 65 'no caption' atelier-tokenize --train --in text:empty.txt --vocab none.json
[ ! -e none.json ] || fail "a vocabulary from no captions"
quiet atelier-tokenize --train --dry-run --in text:captions.txt --vocab-size 300 --vocab dry.json
grep -q 'vocabulary 300' err || fail "$(cat err)"
[ ! -e dry.json ] || fail "--dry-run wrote a vocabulary"
expect 74 'nowhere' atelier-tokenize --train --in text:captions.txt --vocab nowhere/v.json

captions=$repository/../shared/captions
[ -r "$captions/english.txt.gz" ] || exit 0
zcat "$captions/english.txt.gz" > english.txt
quiet atelier-tokenize --train --in text:english.txt --vocab e.json
for file in "$captions"/*.txt*; do
    zcat -f "$file" > text.txt
    atelier-tokenize --in text:text.txt --vocab e.json 2> log | quiet atelier-tokenize --decode --vocab e.json --out text:back.txt
    LC_ALL=C.UTF-8 sed 's/.*/\L&/' text.txt | cmp - back.txt || fail "round trip: $file"
done
