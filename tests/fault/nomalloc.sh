#!/usr/bin/env bash
# The n-th allocation of a process fails (nomalloc.c), for every STEP-th n of a short run: it ends with a message and an exit code
# that says "again", or it does without; never by a signal, never hanging, and what the store then holds is right. The same command
# without the fault goes on from there. The programs of a run fail once: `run` starts them again.
# What a stage asks for before it makes the store is tried in forks of one process (nomalloc.c): they must end with 75, a message and no
# trace, or with 0 and the very store that there is without faults. Where one does not, and for all that is asked for later, there is a
# process of its own.
#   nomalloc.sh STEP [CASE...]     cases: filter tokenize encode import cat verify source worker queue store run
. "$(dirname "$0")/lib.sh"
step=${1:-50}
shift
cases=${*:-filter tokenize encode import cat verify source worker queue store run}
shim=$bin/../tests/fault/nomalloc.so
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PATH=$bin:$PATH

must() { "$@" >setup.log 2>&1 || fail "$*: $(tail -n 3 setup.log)"; }
# spoiled N PROGRAM COMMAND...: runs it with the fault; NOMALLOC_LOG has the count, and who asked
spoiled() {
    local n=$1 program=$2
    shift 2
    LD_PRELOAD=$shim NOMALLOC_PROGRAM=$program NOMALLOC_AT=$n NOMALLOC_LOG=$work/asked timeout -s KILL $((n > 0 ? 120 : 1800)) "$@"
}

make_input 60
cp "$trouble" source
cp "$trouble" worker
must atelier-emoji --limit 6 --size 32 --out tar:in.tar --heldout tar:none.tar
"$trouble" --in text:input.txt >records 2>/dev/null
must atelier-tokenize --train --vocab-size 280 --vocab vocab.json --in tar:in.tar
[[ " $cases " != *" encode "* ]] || must atelier-trainer dvae --preset demo --hidden 8 --steps 1 --batch 2 --pictures-every 0 --data tar:in.tar --run dvae

program() { # of a case
    case $1 in
    import | cat | verify | store) echo atelier-store ;;
    source | worker) echo "$1" ;;
    *) echo atelier-$1 ;;
    esac
}

# Runs the case once; "$@" in front of the program that is spoiled.
once() {
    local case=$1
    shift
    case $case in
    filter) "$@" atelier-filter --in tar:$work/in.tar --stats stats.json --rejects rejects.txt --out lmdb:store ;;
    tokenize) "$@" atelier-tokenize --vocab $work/vocab.json --in tar:$work/in.tar --out lmdb:store ;;
    encode) "$@" atelier-encode --dvae $work/dvae --in tar:$work/in.tar --out lmdb:store ;;
    import) "$@" atelier-store import store --in - <records ;;
    cat) "$@" atelier-store cat store >cat.jsonl && cmp -s cat.jsonl expected.jsonl || return ;;
    verify) "$@" atelier-store verify store ;;
    run) "$@" atelier-run work.pipe ;;
    source | worker | queue | store)
        rm -f once
        NOMALLOC_ONCE=$work/once "$@" atelier-run work.pipe || return
        ! grep 'ended with' err.log | grep -qv 'code 75' || return 99
        ;;
    esac
}

clear_store() {
    case $1 in
    cat | verify) ;;
    *) [ ! -e store ] && [ ! -e work.run ] || rm -rf store work.run ;;
    esac
}

all=0
declare -A codes=()
for case in $cases; do
    printf '%s\n' "./source --in text:input.txt" "./worker x2" "./worker x2" "store store" >work.pipe
    rm -rf store work.run
    case $case in cat | verify) must atelier-store import store --in - <records; atelier-store cat store >expected.jsonl 2>/dev/null ;; esac
    # A program that begins by starting itself again (stage_settle) would count anew.
    case $case in
    filter | tokenize | encode) export OMP_WAIT_POLICY=passive NOMALLOC_FORKS=$work/numbers NOMALLOC_UNTIL=$work/store NOMALLOC_STEP=$step ;;
    *) unset OMP_WAIT_POLICY ;;
    esac
    once $case spoiled 0 "$(program $case)" >out.log 2>err.log || fail "$case without faults: $(tail -n 3 err.log)"
    unset NOMALLOC_FORKS
    read -r count _ <asked
    [ -e numbers ] || seq 1 "$step" "$count" >numbers
    digest=$("$bin/atelier-store" digest store)
    cp store/meta.json meta.json
    numbers=() well=0
    while read -r n code; do
        if [ "$code" = 0 ] && cmp -s fork.$n/store/000000.mdb store/000000.mdb && cmp -s fork.$n/store/meta.json meta.json; then
            well=$((well + 1))
        else
            numbers+=("$n")
        fi
    done <numbers
    tried=$(((count + step - 1) / step)) all=$((all + tried))
    codes[0]=$((${codes[0]:-0} + well)) codes[75]=$((${codes[75]:-0} + tried - well - ${#numbers[@]}))
    rm -rf numbers fork.*
    for n in "${numbers[@]}"; do
        clear_store $case
        once $case spoiled $n "$(program $case)" >out.log 2>err.log
        code=$?
        what="$case, allocation $n of $count"
        case $code in
        0) ;;
        1) grep -q 'Internal Error in libarchive' err.log || fail "$what: code 1: $(tail -n 3 err.log)" ;; # which ends by itself
        75) [ -s err.log ] || fail "$what: no message" ;;
        *) fail "$what, asked for by $(cut -d' ' -f2- asked): code $code: $(tail -n 3 err.log)" ;;
        esac
        codes[$code]=$((${codes[$code]:-0} + 1))
        [ -e store/000000.mdb ] || continue # it had not come so far
        [ $code = 0 ] || once $case >out.log 2>err.log || fail "$what: not resumed: $(tail -n 3 err.log)"
        check_store "$digest" "$what"
        cmp -s store/meta.json meta.json || fail "$what: the store is of another run: $(cat store/meta.json)"
    done
    counts="${counts:-} $case $count"
done
echo "nomalloc:$counts; $all trials, ${codes[75]:-0} ended with 75, ${codes[0]:-0} did without, ${codes[1]:-0} ended by libarchive"
