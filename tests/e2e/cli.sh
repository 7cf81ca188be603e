#!/usr/bin/env bash
# The command line of all programs: help, versions, exit codes, messages that name what is wrong, signals, resuming.
. "$(dirname "$0")/lib.bash"

common='--in --out --from --threads --log --stats --rejects --max-rejects --keep-rejects --dry-run'
# check_program COMMAND OPTIONS NEEDED: its help names the options; without NEEDED it ends with 2 and names it
check_program() {
    local command=$1 options=$2 needed=$3
    $command --help >help || fail "$command --help"
    for option in $options; do
        grep -qE -- "(^|[ ,])$option([ =,[]|\$)" help || fail "$command --help does not tell of $option"
    done
    $command --version | grep -qE '^atelier-[a-z ]+ [0-9]+\.[0-9]+\.[0-9]+$' || fail "$command --version"
    expect 2 '--no-such-option' $command --no-such-option
    [ ! -s out ] || fail "$command --no-such-option writes to stdout"
    [ -z "$needed" ] || expect 2 "$needed" $command
}
check_program atelier-filter "$common --lang --min-words --aspect --rules --explain" ''
check_program atelier-tokenize "$common --vocab --train --vocab-size --length --decode" '--vocab'
check_program atelier-encode "$common --dvae --decoder --side --views --seed --reconstruct" '--dvae'
check_program atelier-sampler "$common --model --candidates -n --temperature --top-k --top-p --seed --prime" '--model'
check_program atelier-rerank "$common --clip --vocab --top --page --truth" '--clip'
check_program atelier-emoji '--out --heldout --set --noise --size --limit --seed' '--heldout'
check_program atelier-heldout '--samples --truth --reconstructed --set --json' '--samples'
check_program atelier-store 'verify stats cursor digest cat export import' 'a command and a store'
for task in dvae prior clip; do
    check_program "atelier-trainer $task" '--preset --data --run --steps --minutes --batch --lr --seed --threads' '--preset'
done
check_program 'atelier-store export codes' "$common" ''

# The front command.
atelier --version | grep -q '^atelier [0-9]' || fail 'atelier --version'
atelier trainer --version | grep -q '^atelier-trainer [0-9]' || fail 'atelier trainer --version'
atelier --help >help
for program in filter tokenize encode trainer sampler rerank store emoji heldout; do
    grep -qw $program help || fail "atelier --help does not tell of $program"
    cmp <(atelier $program --help) <("atelier-$program" --help)
done
expect 2 'Usage' atelier
expect 2 'Usage' atelier ../bin/atelier-filter
expect 127 "no program 'fliter'" atelier fliter
expect 2 "no command 'verfy'" atelier store verfy codes
expect 2 'Usage' atelier trainer vqgan

# Numbers: the option as it is written, and its range.
expect 2 ' --side: ' atelier-encode --side x
expect 2 ' --candidates: ' atelier-sampler -n 0
expect 2 ' --top-p: ' atelier-sampler --top-p 0
expect 2 ' --threads: ' atelier-filter --threads 0
expect 2 ' --max-rejects: ' atelier-filter --max-rejects 101%
expect 2 ' --limit: ' atelier-emoji --limit 0
expect 2 ' --steps: ' atelier-trainer prior --steps many
expect 2 'xml' atelier-filter --log xml
expect 2 'xml' atelier-trainer dvae --log xml
expect 2 'small.tar' atelier-filter small.tar

# Sources and sinks.
small_models
for uri in ftp:x train.tar tar: tar; do
    got=0
    atelier-filter --in "$uri" >out 2>err || got=$?
    [ $got = 2 ] || fail "--in $uri: exit $got"
    grep -qE 'known are -, jsonl:FILE, text:FILE, .*tar:PATTERN, dir:PATH, lmdb:PATH|is missing' err || fail "$(cat err)"
    got=0
    atelier-filter --in tar:train.tar --out "$uri" 2>err || got=$?
    [ $got = 2 ] || fail "--out $uri: exit $got"
done
for program in filter 'tokenize --vocab vocab.json' 'encode --dvae dvae' 'sampler --model prior' 'rerank --clip clip'; do
    for uri in tar:absent.tar jsonl:absent text:absent dir:absent lmdb:absent 'tar:train{00..01}.tar'; do
        got=0
        atelier-$program --in "$uri" >out 2>err || got=$?
        [ $got = 74 ] || [ $got = 65 ] || fail "$program --in $uri: exit $got: $(cat err)"
        grep -qE 'absent|train00' err || fail "$program --in $uri: $(cat err)"
    done
done
for model in 'tokenize --vocab' 'encode --dvae' 'sampler --model' 'rerank --clip'; do
    expect 74 absent atelier-$model absent
done
# A stage that cannot begin has made nothing.
for program in 'filter --lang xx-none' tokenize 'tokenize --vocab absent' 'encode --dvae absent' 'encode --dvae dvae --side 1' \
    'sampler --model prior --prime-rows 2' 'rerank --clip absent'; do
    for out in tar:new.tar jsonl:new.jsonl dir:new lmdb:new text:new ftp:new; do
        got=0
        atelier-$program --in tar:kept.tar --out $out --rejects new.rejects >out 2>err || got=$?
        [ $got = 2 ] || [ $got = 74 ] || [ $got = 65 ] || fail "$program --out $out: exit $got: $(cat err)"
        [ -z "$(find . -name 'new*')" ] || fail "$program --out $out leaves $(find . -name 'new*')"
    done
done
expect 0 '' atelier-rerank --clip clip --in tar:kept.tar --out dir:new --page new.page --dry-run
[ -z "$(find . -name 'new*')" ] || fail "rerank --dry-run writes $(find . -name 'new*')"
# Threads that wait do not spin for long, whoever starts a program.
mkfifo idle
for program in atelier-filter 'atelier filter'; do
    env -u OMP_WAIT_POLICY $program --in text:idle --out text:/dev/null 2>err &
    exec 3>idle # when the program has opened it, it is what it will be
    tr '\0' '\n' <"/proc/$!/environ" | grep -qx OMP_WAIT_POLICY=passive || fail "$program spins"
    exec 3>&-
    wait $!
done
expect 74 absent atelier-trainer clip --preset demo --data tar:absent.tar --vocab vocab.json --run nowhere
cp dvae/settings.json settings
expect 65 dvae/checkpoint atelier-trainer clip --preset demo --data tar:kept.tar --vocab vocab.json --run dvae
expect 65 dvae/checkpoint atelier-trainer dvae --preset demo --codes 64 --data tar:kept.tar --run dvae
[ ! -e dvae/vocab.json ] || fail 'a run that was refused has left a vocabulary'
cmp dvae/settings.json settings || fail 'a run that was refused has other settings now'
quiet atelier-encode --dvae dvae --in tar:kept.tar --out lmdb:bare
expect 65 'records without tokens' atelier-trainer prior --preset demo --bpe-dropout 0 --data lmdb:bare --vocab vocab.json --dvae dvae --run refused
expect 65 'none; encode drops pictures' atelier-trainer dvae --preset demo --data lmdb:bare --run refused
expect 2 'a place of its own' atelier-emoji --out tar:one.tar --heldout tar:one.tar
expect 2 '--prime-rows 2 needs --prime' atelier-sampler --model prior --prime-rows 2 --in text:/dev/null
expect 74 'nowhere' atelier-filter --in tar:train.tar --out tar:nowhere/x.tar
expect 74 'vocab.json' atelier-filter --in tar:train.tar --out lmdb:vocab.json
if [ -w /dev/full ]; then
    expect 75 'No space left' atelier-filter --in tar:train.tar --out jsonl:/dev/full
    expect 75 'No space left' bash -c 'atelier-filter --in tar:train.tar >/dev/full'
    expect 75 'No space left' bash -c 'atelier-store verify codes >/dev/full'
fi

# What is open already and what is no file is written where it is.
atelier-filter --in tar:train.tar --out jsonl:/dev/fd/3 --stats /dev/fd/4 3>kept.jsonl 4>stats.json 2>err || fail "$(cat err)"
[ -s kept.jsonl ] && valid_json stats.json
atelier-tokenize --train --in tar:kept.tar --vocab-size 300 --vocab /dev/fd/3 3>again.json 2>err || fail "$(cat err)"
cmp again.json vocab.json

# What is not complete does not look it.
expect 65 'rejected, more than --max-rejects 0' atelier-filter --in tar:train.tar --out jsonl:kept.jsonl --max-rejects 0
expect 65 '--max-rejects 1%' atelier-filter --in tar:train.tar --out jsonl:kept.jsonl --max-rejects 1%
expect 0 'rejected' atelier-filter --in tar:train.tar --out jsonl:kept.jsonl --max-rejects 90%
rm kept.jsonl
expect 0 '' atelier-filter --in tar:train.tar --out jsonl:kept.jsonl --dry-run --stats stats.json --rejects rejects.jsonl
[ ! -e kept.jsonl ] || fail '--dry-run writes'
[ "$(wc -l <rejects.jsonl)" = "$(sed -n 's/.*"rejected": \([0-9]*\).*/\1/p' stats.json)" ] || fail '--rejects is not all'
valid_json stats.json
while read -r line; do
    echo "$line" >line.json
    valid_json line.json
done < <(head -n 3 rejects.jsonl)
expect 2 '' atelier-filter --in tar:train.tar --out ftp:x --stats failed.json
valid_json failed.json
grep -q '"complete": false' failed.json
expect 0 '' atelier-filter --in tar:train.tar --out jsonl:/dev/null --log json
head -n 1 err >line.json
valid_json line.json

# A reader that goes away ends the programs before it, quietly.
for command in 'atelier-filter --in tar:train.tar' 'atelier-store cat codes' 'atelier-store export codes --out tar:/dev/stdout' \
    'atelier-sampler --model prior --in tar:last.tar -n 2'; do
    got=$(set +e; $command 2>err | head -c 10 >/dev/null; echo "${PIPESTATUS[0]}")
    [ "$got" = 141 ] || [ "$got" = 0 ] || fail "$command | head: exit $got: $(cat err)"
    ! grep -qi 'error\|pipe' err || fail "$command | head: $(cat err)"
done

# Stopped anywhere, and started again, a store ends with the digest of a run that nobody stopped.
encode() {
    exec atelier-encode --dvae dvae --views 40 --in tar:train.tar --out "lmdb:$1" 2>>log
}
(encode whole)
for signal in TERM TERM USR1 KILL; do
    encode cut &
    sleep 0.3
    kill -s $signal $! 2>/dev/null || true
    got=0
    wait $! 2>/dev/null || got=$?
    [ $got = 0 ] || [ $signal = KILL ] || fail "SIG$signal: exit $got: $(cat log)"
done
(encode cut)
[ "$(atelier-store digest cut)" = "$(atelier-store digest whole)" ] || fail "the store differs: $(cat log)"
grep -q 'stopped by a signal' log || fail "nothing was stopped: $(cat log)"
grep -q 'of these ids already' log || fail "nothing was resumed: $(cat log)"
quiet atelier-store verify cut >/dev/null

# Other outputs show that they were cut.
mkfifo slow
atelier-filter --in jsonl:slow --out jsonl:stopped.jsonl 2>log &
exec 3>slow
echo '{"caption": "a house by the sea"}' >&3
sleep 0.3
kill -TERM $!
got=0
wait $! || got=$?
exec 3>&-
[ $got = 143 ] || fail "SIGTERM while waiting for input: exit $got: $(cat log)"
[ ! -e stopped.jsonl ] || fail "what was cut has its final name"
[ -e stopped.jsonl.part ] || fail "what was written is gone"

# Who may read a store and not write to it reads it, unless it is being written; verify tells what cannot be read from damage.
other=
[ "$(id -u)" != 0 ] || other='setpriv --reuid=65534 --regid=65534 --clear-groups'
cp -r whole shared
chmod 755 . && chmod a=r shared/* && chmod a=rx shared
if $other atelier-store cat --version >/dev/null 2>&1; then
    [ "$($other atelier-store digest shared)" = "$(atelier-store digest whole)" ] || fail 'a store that may not be written cannot be read'
    quiet $other atelier-store verify shared >scan
    grep -q undamaged scan || fail "$(cat scan)"
    exec 3<shared
    flock 3
    expect 75 'a process writes to this store' $other atelier-store digest shared
    expect 75 'a process writes to this store' $other atelier-store verify shared
    exec 3<&-
    chmod a= shared/000000.mdb
    expect 74 'Permission denied' $other atelier-store verify shared
    chmod u+w shared
fi
