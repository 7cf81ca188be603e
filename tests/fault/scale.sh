#!/usr/bin/env bash
# Copies join and leave while a run goes on, 1 -> 8 -> 2, each piece started by hand; late ones learn of the end.
#   scale.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
trials=${1:-1} seed=${2:-1}
make_input 9000
digest=$(expected_digest)
worker() {
    "$trouble" --microseconds 1500 --in "ipc://$work/1" --out "ipc://$work/2" --metrics work.run/1-worker.${#workers[@]}.metrics \
        2>work.run/1-worker.${#workers[@]}.log &
    workers+=($!)
}
for ((trial = seed; trial < seed + trials; trial++)); do
    begin_trial "$trial"
    workers=()
    "$trouble" --in text:input.txt --out "bind+ipc://$work/1" --metrics work.run/0-source.0.metrics 2>work.run/0-source.0.log &
    source=$!
    "$bin/atelier-store" import store --in "bind+ipc://$work/2" --metrics work.run/2-store.0.metrics 2>work.run/2-store.0.log &
    store=$!
    worker
    nap "$(below 1000)"
    for i in 2 3 4 5 6 7 8; do worker; done
    nap "$(below 1000)"
    for i in 0 1 2 3 4 5; do
        while [ ! -S work.run/1-worker.$i.metrics ] && kill -0 "${workers[$i]}" 2>/dev/null; do nap 20; done # it has begun
        kill -TERM "${workers[$i]}"
        nap "$(below 100)"
    done
    wait $source || fail "trial $trial: the source ended with $?"
    wait $store || fail "trial $trial: the store ended with $?"
    for pid in "${workers[@]}"; do
        wait "$pid" || fail "trial $trial: a worker ended with $?"
    done
    check_store "$digest" "trial $trial"
    check_counters resent "trial $trial"
done
echo "scale: $trials trials"
