#!/usr/bin/env bash
# A store that is slow: nobody before it fills memory with what waits.
#
# The bound: what is on its way at once is the source's window (WINDOW_BYTES in common/link_endpoint.c; a batch more may begin), and each
# process on the way holds any of it once at most: handed out and not acknowledged, waiting in the store's window, or in its
# transaction. On top of what the same process takes in a run of small records come the batches that it is just reading, making,
# sending and storing, in buffers that grow by doubling; and what malloc keeps of freed memory (KEPT_BYTES in common/link.c).
#   slow.sh [SECONDS]     how long the store runs for a tenth of the time alone
. "$(dirname "$0")/lib.sh"
seconds=${1:-8}
bytes() { # of a constant in a file of common/
    local value
    value=$(sed -nE "s/^#define $2 \(?(\([a-z0-9_]*\))?\(?([0-9]+ << [0-9]+)\)?.*/\2/p" "$root/common/$1")
    [ -n "$value" ] || fail "no $2 in common/$1"
    echo $((value))
}
window=$(bytes link_endpoint.c WINDOW_BYTES) || exit 1
batch=$(bytes link_endpoint.c BATCH_BYTES) || exit 1
kept=$(bytes link.c KEPT_BYTES) || exit 1
count=$((4 * window / 100000)) # records of 100 KB: far more than may be on their way

# Runs work.pipe with the store stopped for nine tenths of $1 seconds; the most that each program had: lines of NAME BYTES.
watch_run() {
    local pid names deadline=$((SECONDS + $1)) stopped=
    rm -rf store work.run
    "$bin/atelier-run" work.pipe >run.log 2>&1 &
    run_pid=$!
    while kill -0 $run_pid 2>/dev/null; do
        sleep 0.09
        for pid in $(pgrep -P $run_pid) $run_pid; do
            names=$(tr '\0' ' ' 2>/dev/null </proc/$pid/cmdline) || continue
            case $names in *" import "*) stopped=$pid ;; esac
            awk -v name="$names" '/^RssAnon/ { print $2 * 1024, name }' /proc/$pid/status 2>/dev/null
        done
        if [ -n "$stopped" ] && [ $SECONDS -lt $deadline ]; then
            kill -CONT $stopped && sleep 0.05 && kill -STOP $stopped
            sleep 0.4
        elif [ -n "$stopped" ]; then
            kill -CONT $stopped 2>/dev/null
        fi
    done >samples.txt
    wait $run_pid || fail "run ended with $?: $(tail -n 3 run.log)"
    run_pid=
}
peak() { # of the programs whose command has $1 in it
    awk -v what="$1" 'index($0, what) && $1 > most { most = $1 } END { print most + 0 }' samples.txt
}

make_input 3000
printf '%s\n' "$trouble --in text:input.txt" "$trouble --microseconds 1 x2" "$trouble --microseconds 2 x2" "store store" >work.pipe
watch_run 0
programs=("--in text:" "--in tar:" "--microseconds 1" "--microseconds 2" "atelier-queue" "atelier-store" "atelier-run")
declare -A base
for p in "${programs[@]}"; do base[$p]=$(peak "$p"); done
base[--in tar:]=${base[--in text:]}

mkdir pictures
head -c 100000 /dev/urandom >pictures/one
for ((i = 0; i < count; i++)); do ln pictures/one "pictures/$(printf %06d $i).jpg"; done
rm pictures/one
tar --hard-dereference --sort=name -C pictures -cf in.tar . || fail "tar"
"$trouble" --in tar:in.tar 2>/dev/null | "$bin/atelier-store" import expected --in - 2>/dev/null || fail "the plain pipe"
digest=$("$bin/atelier-store" digest expected)
"$bin/atelier-store" compact expected bytes 2>/dev/null || fail "compact"
rm -rf pictures expected
printf '%s\n' "$trouble --in tar:in.tar" "$trouble --microseconds 1 x2" "$trouble --microseconds 2 x2" "store store" >work.pipe
watch_run "$seconds"
for p in "${programs[@]:1}"; do
    most=$(peak "$p") bound=$((base[$p] + window + 2 * 4 * batch + kept))
    printf 'slow: %-18s %4d MB, bound %d MB\n' "$p" $((most >> 20)) $((bound >> 20))
    [ "$most" -gt 0 ] || fail "$p was not seen"
    [ "$most" -le $bound ] || fail "$p had $most bytes, over $bound"
done
grep -q 'started again' run.log && fail "something died: $(cat run.log)"
check_store "$digest" "slow"
