#!/usr/bin/env bash
# A pipeline file: what `atelier run` stores is what a shell pipe of the same stages stores, with copies, by the commands
# that --dry-run prints, killed and started again, with one more worker for a while; and what it refuses.
. "$(dirname "$0")/lib.bash"

quiet atelier-emoji --limit 200 --size 32 --noise --out 'tar:train-{0..1}.tar#records=120' --heldout tar:none.tar
quiet atelier-filter --in 'tar:train-{0..1}.tar' --out tar:kept.tar
quiet atelier-tokenize --train --vocab-size 300 --vocab vocab.json --in tar:kept.tar
train dvae --kmeans 32 --hidden 8 --data tar:kept.tar

# pipeline FILE INPUT VIEWS COPIES STORE
pipeline() {
    printf '%s\n' '# filter, tokenize, encode' "filter --in '$2' --stats filter.json --batch 2" \
        "tokenize --vocab vocab.json  x$4  # and a queue behind it" \
        "encode --dvae dvae --views $3 --threads 1 x$4" "store '$5'" >"$1"
}
# piped INPUT VIEWS STORE
piped() {
    atelier-filter --in "$1" 2>err | atelier-tokenize --vocab vocab.json 2>>err |
        quiet atelier-encode --dvae dvae --views "$2" --out "lmdb:$3"
}
# same STORE STORE: the same records, byte for byte, by their digest, printed, and copied out
same() {
    [ "$(atelier-store digest "$1")" = "$(atelier-store digest "$2")" ] || fail "$1 and $2 differ"
    cmp <(atelier-store cat "$1" 2>/dev/null) <(atelier-store cat "$2" 2>/dev/null) || fail "$1 and $2 differ"
    cmp <(atelier-store export "$1" --out tar:/dev/stdout 2>/dev/null) <(atelier-store export "$2" --out tar:/dev/stdout 2>/dev/null)
    quiet atelier-store verify "$2" >/dev/null
}
count() { # STORE
    [ -e "$1/meta.json" ] || { echo 0; return; }
    atelier-store cursor "$1"
}
# wait_for COMMAND...: until it succeeds, for ten seconds
wait_for() {
    for _ in {1..100}; do
        if "$@" 2>/dev/null; then return; fi
        sleep 0.1
    done
    fail "in vain: $*: $(cat log ./*.run/*.log)"
}
has_begun() { [ "$(count "$1")" -gt 0 ]; }

# One run, with copies, and its table.
shards='tar:train-{0..1}.tar'
piped "$shards" 2 piped
pipeline copies.pipe "$shards" 2 3 copies
timeout 60 atelier run copies.pipe >table 2>log || fail "exit $?: $(cat log)"
same piped copies
total=$(count piped)
table() { awk -v name="$1" '$1 == name { print $NF; exit }' table; }
[ "$(table inputs)" = "$total" ] && [ $(($(table kept) + $(table rejected))) = "$total" ] || fail "$(cat table)"
[ "$(awk '/^  /{ sum += $2 } END { print sum }' table)" = "$(table rejected)" ] || fail "rules: $(cat table)"
for stage in 'filter 1' 'tokenize 3' 'queue 1' 'encode 3' 'store 1'; do
    grep -qE "^${stage% *} +${stage#* } +0$" table || fail "no $stage in $(cat table)"
done
# Again: there is nothing to do, and another number of copies is the same run, as are other logs.
pipeline copies.pipe "$shards" 2 1 copies
timeout 60 atelier run copies.pipe >table 2>log || fail "exit $?: $(cat log)"
grep -q "going on behind the $total records" log || fail "$(cat log)"
same piped copies

# The printed commands, given to a shell.
pipeline typed.pipe "$shards" 2 2 "a store"
atelier run typed.pipe --dry-run >typed.sh
[ "$(grep -c '&$' typed.sh)" = 7 ] || fail "$(cat typed.sh)"
[ ! -e "a store" ] && [ ! -e typed.run ] || fail '--dry-run writes'
timeout 60 sh typed.sh 2>log || fail "exit $?: $(cat log)"
same piped "a store"

# Killed, interrupted and asked to end, the same command goes on.
views=8
piped "$shards" $views whole
pipeline cut.pipe "$shards" $views 2 cut
for signal in KILL INT TERM; do
    before=$(count cut)
    atelier run cut.pipe >table 2>log &
    moved() { [ "$(count cut)" -gt "$before" ]; }
    wait_for moved
    kill -s $signal $!
    got=0
    wait $! || got=$?
    [ "$signal $got" = 'KILL 137' ] || [ "$signal $got" = 'INT 130' ] || [ "$signal $got" = 'TERM 143' ] || [ $got = 0 ] ||
        fail "SIG$signal: exit $got: $(cat log)"
done
[ "$(count cut)" -lt "$(count whole)" ] || fail 'nothing was cut: the test is too slow or too small'
timeout 60 atelier run cut.pipe >table 2>log || fail "exit $?: $(cat log)"
same whole cut
[ -z "$(pgrep -f "$PWD" || true)" ] || fail "left at work: $(pgrep -af "$PWD")"

# One more worker joins while there is work, and is taken out again; status tells of all.
mkfifo captions
printf '%s\n' 'filter --in text:captions' 'tokenize --vocab vocab.json' 'tokenize --vocab vocab.json --length 20' 'store more' >more.pipe
atelier run more.pipe >table 2>log &
run=$!
exec 3>captions
write() {
    awk -v n="$(wc -l <written)" 'BEGIN { for (i = n; i < n + 5000; i++) print "a drawing of " i " houses by the sea" }' >more.txt
    cat more.txt >>written
    cat more.txt >&3
}
: >written
write
wait_for has_begun more
name=$(sed -n 's/.*"run": "\([0-9a-f]*\)".*/\1/p' more/meta.json)
atelier-tokenize --vocab vocab.json --length 20 --in ipc://more.run/2 --out ipc://more.run/3 --run "$name" \
    --metrics more.run/3-tokenize.9.metrics 2>worker.log &
worker=$!
has_worked() {
    write
    atelier status more.run >status
    grep -qE '^tokenize.9 +[1-9]' status
}
wait_for has_worked
for program in filter.0 tokenize.0 queue.0 store.0; do
    grep -q "^$program .*[0-9]" status || fail "no $program in $(cat status)"
done
grep -qE '^[0-9]+ stored, [0-9]+ a second' status || fail "$(cat status)"
kill -TERM $worker
wait $worker || fail "a worker's TERM: exit $?: $(cat worker.log)"
grep -q 'stopped by a signal: [1-9]' worker.log || fail "$(cat worker.log)"
exec 3>&-
wait $run || fail "exit $?: $(cat log)"
mv written captions # the name is part of the records' keys
atelier-filter --in text:captions 2>err | atelier-tokenize --vocab vocab.json 2>>err |
    quiet atelier-tokenize --vocab vocab.json --length 20 --out lmdb:alone
[ "$(atelier-store digest alone)" = "$(atelier-store digest more)" ] || fail 'more workers: another store'
atelier-store compact alone alone.compact && atelier-store compact more more.compact || fail 'compact'
cmp alone.compact/000000.mdb more.compact/000000.mdb && cmp alone.compact/000000.sum more.compact/000000.sum || fail 'other files'
cmp more.compact/meta.json more/meta.json || fail 'another run'
expect 2 'the path of another store' atelier-store compact more
expect 75 'no program of a run' atelier status more.run

# Another input folder, vocabulary or option is another run; a file that no stage reads is not.
mkdir -p photos/more && tar -xf kept.tar -C photos/more
pipeline folder.pipe dir:photos 1 1 folder
timeout 60 atelier run folder.pipe >table 2>log || fail "exit $?: $(cat log)"
echo 'seen' >photos/log.jsonl
timeout 60 atelier run folder.pipe >table 2>log || fail "exit $?: $(cat log)"
caption=$(ls photos/more/*.txt | head -n 1)
cp "$caption" caption
echo 'a drawing of another thing' >"$caption"
expect 65 'of another run' timeout 60 atelier run folder.pipe
expect 65 'of another run' timeout 60 atelier run folder.pipe --dry-run
cp caption "$caption"
sed -i 's/--views 1/--views 2/' folder.pipe
expect 65 'Name another store' timeout 60 atelier run folder.pipe

# What cannot work ends at once and says why: the pipeline file, a stage that refuses its options, a path of sockets.
echo 'filter --in text:x' >one.pipe
expect 2 'its last line is: store PATH' atelier run one.pipe
pipeline bad.pipe "$shards" 0 2 bad
expect 2 '--views' timeout 30 atelier run bad.pipe
expect 74 'absent.pipe' atelier run absent.pipe
expect 2 'shorter directory with --dir' atelier run copies.pipe --dir "$(printf 'd%.0s' {1..90})"
