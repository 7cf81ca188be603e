#!/usr/bin/env bash
# A candidate is a function of the model, the caption, the seed and its number; rerank sorts, groups and shows them.
. "$(dirname "$0")/lib.bash"
small_models
cat >captions.txt <<'C'
a drawing of a man, beard
a drawing of a child, dark skin tone
A DRAWING OF SOMETHING ELSE ALTOGETHER, WITH MORE WORDS THAN THE MODEL HAS ROOM FOR, AND THEN SOME, AND THEN A FEW MORE
C

# draw OPTION...: candidates as JSON lines, without the ids, which count all that was drawn
draw() {
    quiet atelier-sampler --model prior --in text:captions.txt --out jsonl:drawn.jsonl -n 3 "$@"
    sed 's/"id":[0-9]*,//; s/"key":"[^"]*",//' drawn.jsonl
}
codes() {
    sed 's/.*"caption":\("[^"]*"\).*"codes":\(\[[0-9,]*\]\).*"candidate":\([0-9]*\).*/\1 \3 \2/'
}
draw >plain
[ "$(wc -l <plain)" = 9 ] || fail "$(wc -l <plain) candidates of 3 captions"
[ "$(codes <plain | cut -d']' -f1 | sort -u | wc -l)" = 9 ] || fail 'candidates repeat'

draw --seed 0 | cmp - plain || fail 'the same seed draws other pictures'
draw --threads 1 | cmp - plain || fail 'the number of threads changes pictures'
draw --threads 2 | cmp - plain || fail 'the number of threads changes pictures'
! draw --seed 1 | cmp -s - plain || fail 'another seed draws the same pictures'
for n in 1 8; do
    draw -n $n >more
    cmp <(awk -v n=$n 'match($0, /"candidate":[0-9]+/) && substr($0, RSTART + 12, RLENGTH - 12) + 0 < n' plain) \
        <(grep -E '"candidate":[0-2][,}]' more) || fail "-n $n changes the first candidates"
done
# What --batch fixes is the shape of the sums: codes may differ where two are within rounding of each other.
for batch in 1 5; do
    draw --batch $batch | codes >other
    cmp <(codes <plain) other || fail "--batch $batch changes codes"
done
sed -n '3p;1p' captions.txt >some.txt && mv captions.txt all.txt && mv some.txt captions.txt
draw >some
mv all.txt captions.txt
cmp <(sort some) <(grep -v 'dark skin' plain | sort) || fail 'other captions change the pictures of one'

# The least probable draws are gone when there is one left to draw.
draw --temperature 0 >greedy
for options in '--top-k 1' '--top-p 1e-6' '--top-k 1 --temperature 0.5 --seed 7'; do
    draw $options | codes | cmp - <(codes <greedy) || fail "$options is not the most probable code"
done
[ "$(codes <greedy | sed 's/ [0-9] / /' | sort -u | wc -l)" = 3 ] || fail 'greedy candidates differ'
draw --top-k 100000 --top-p 1 --guidance 1 | cmp - plain || fail 'options that leave all in change pictures'

# A picture that is the decoder's own gives its first rows of codes; what follows is drawn.
mkdir m && tar -xf last.tar -C m
picture=$(ls m/*.png m/*.jpg 2>/dev/null | head -n 1)
mkdir prime && cp "$picture" prime/
quiet atelier-encode --dvae dvae --in dir:prime --out jsonl:prime.jsonl
grid=$(sed 's/.*"grid":\([0-9]*\).*/\1/' prime.jsonl)
rows() { # rows FILE N: the first N rows of codes
    sed 's/.*"codes":\[\([0-9,]*\)\].*/\1/' "$1" | cut -d, -f "1-$(($2 * grid))" | sort -u
}
for rows in 0 1 $((grid / 2)) "$grid"; do
    draw --prime "$picture" --prime-rows "$rows" >primed
    [ "$rows" = 0 ] || cmp <(rows primed "$rows") <(rows prime.jsonl "$rows") || fail "--prime-rows $rows"
done
[ "$(rows primed "$grid" | wc -l)" = 1 ] || fail 'all rows given, and yet they differ'
draw --prime "$picture" --prime-rows 0 | cmp - plain || fail '--prime-rows 0 changes pictures'
draw --prime "$picture" --prime-rows $((grid / 2)) >primed
draw --prime "$picture" | cmp - primed || fail 'half the rows is the default'
expect 2 "the grid has $grid rows" atelier-sampler --model prior --in text:captions.txt --prime "$picture" --prime-rows 99
expect 65 captions.txt atelier-sampler --model prior --in text:captions.txt --prime captions.txt

# Models that do not belong together are refused, both named.
quiet atelier-tokenize --train --vocab-size 280 --vocab wrong.json --in tar:kept.tar
expect 65 wrong.json atelier-sampler --model prior --vocab wrong.json --in text:captions.txt
grep -q 'prior/model.safetensors' err || fail "$(cat err)"
expect 65 wrong.json atelier-rerank --clip clip --vocab wrong.json --in text:captions.txt
grep -q 'clip/model.safetensors' err || fail "$(cat err)"
quiet atelier-trainer dvae --preset demo --steps 1 --batch 2 --kmeans 0 --codes 64 --pictures-every 0 --data tar:kept.tar --run small
expect 65 small/model.safetensors atelier-sampler --model prior --dvae small --in text:captions.txt
grep -q 'prior/model.safetensors' err || fail "$(cat err)"
expect 65 dvae atelier-sampler --model dvae --in text:captions.txt
expect 65 prior atelier-rerank --clip prior --in text:captions.txt

# rerank: groups of a caption, the best first, the same scores however many are kept.
quiet atelier-sampler --model prior --in text:captions.txt -n 20 --out jsonl:drawn.jsonl
scores() { # caption, score, candidate
    sed 's/.*"caption":\("[^"]*"\).*"candidate":\([0-9]*\).*"score":\(-*[0-9.e+-]*\).*/\1 \3 \2/'
}
rerank() {
    quiet atelier-rerank --clip clip --in jsonl:drawn.jsonl "$@"
}
rerank --top 20 --out jsonl:ranked.jsonl
[ "$(wc -l <ranked.jsonl)" = 60 ] || fail "$(wc -l <ranked.jsonl) of 60 candidates"
scores <ranked.jsonl >ranked
while read -r caption; do
    grep -F "\"$caption\"" ranked | sed 's/.*" //' >group
    [ "$(wc -l <group)" = 20 ] || fail "$(wc -l <group) of 20 candidates of $caption"
    sort -s -k1,1gr group | cmp - group || fail "$caption: scores are not sorted"
done <captions.txt
cmp <(sed 's/" .*/"/' ranked | uniq) <(sed 's/.*/"&"/' captions.txt) || fail 'captions are not in their order'
rerank --top 3 --out jsonl:best.jsonl
cmp <(scores <best.jsonl) <(awk -F'" ' '++seen[$1] <= 3' ranked) || fail '--top 3 is not the first 3'
rerank --top 20 --threads 1 --out jsonl:one.jsonl
cmp one.jsonl ranked.jsonl || fail 'the number of threads changes scores'
(cat drawn.jsonl && head -n 20 drawn.jsonl) >again.jsonl
quiet atelier-rerank --clip clip --in jsonl:again.jsonl --top 2 --out jsonl:again
[ "$(wc -l <again)" = 8 ] || fail 'a caption that comes again is a group of its own'

# The page, and rejects beside the candidates.
quiet atelier-sampler --model prior --in tar:last.tar -n 3 --out jsonl:drawn.jsonl
count=$(tar -tf last.tar | grep -c 'txt$')
echo '{"caption":"no picture & <b>"}' >>drawn.jsonl
rerank --top 2 --truth tar:last.tar --title 'A <title>' --out dir:page --stats stats.json
[ "$(ls page/*.txt | wc -l)" = $((2 * count)) ] || fail "$(ls page)"
[ "$(grep -c '<figure' page/index.html)" = $((3 * count)) ] || fail 'the page has not 1 + 2 pictures a caption'
grep -q 'A &lt;title' page/index.html || fail 'the title is not escaped'
grep -q '"rejected": 1,' stats.json || fail "$(cat stats.json)"
rerank --page elsewhere --out jsonl:/dev/null
[ -s elsewhere/index.html ] && [ -s elsewhere/sheet.png ] || fail '--page'
: >none.jsonl
quiet atelier-rerank --clip clip --in jsonl:none.jsonl --out dir:none
[ -s none/index.html ] || fail 'no page for no candidates'

# Into a store, rejects among the captions: all ids are there; and copies over links draw the same.
{ cat captions.txt; echo 'nur eine kleine Zeichnung von einem Mann mit Hut'; cat captions.txt; } >mixed.txt
atelier-filter --in text:mixed.txt 2>err | quiet atelier-sampler --model prior -n 5 --out lmdb:drawn
[ "$(atelier-store cursor drawn)" = 35 ] || fail "$(atelier-store cursor drawn) candidates of 7 captions"
[ "$(atelier-store cat drawn 2>/dev/null | grep -c '"reject":"language')" = 5 ] || fail 'not a reject for each candidate'
printf '%s\n' 'filter --in text:mixed.txt --batch 1' 'sampler --model prior -n 5 --threads 1 x2' 'store linked' >draw.pipe
timeout 100 atelier-run draw.pipe >table 2>log || fail "$(cat log)"
[ "$(atelier-store digest drawn)" = "$(atelier-store digest linked)" ] || fail 'copies draw other pictures'
