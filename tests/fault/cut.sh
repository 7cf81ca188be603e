#!/usr/bin/env bash
# Connections are cut, half-open, delayed, or pass a byte at a time, before and behind the workers.
#   cut.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
trials=${1:-1} seed=${2:-1}
command -v python3 >/dev/null || { echo "cut: no python3, nothing done"; exit 0; }
make_input 9000
digest=$(expected_digest)
for ((trial = seed; trial < seed + trials; trial++)); do
    begin_trial "$trial"
    port=$((20000 + $(below 12000)))
    python3 "$root/tests/fault/proxy.py" $((port + 1)) $port "$trial" &
    proxies=$!
    python3 "$root/tests/fault/proxy.py" $((port + 3)) $((port + 2)) "$trial" &
    proxies="$proxies $!"
    sleep 0.2
    "$trouble" --in text:input.txt --out bind+tcp://127.0.0.1:$port --metrics work.run/0-source.0.metrics \
        2>work.run/0-source.0.log &
    source=$!
    "$bin/atelier-store" import store --in bind+tcp://127.0.0.1:$((port + 2)) --metrics work.run/2-store.0.metrics \
        2>work.run/2-store.0.log &
    store=$!
    workers=()
    for i in 1 2 3; do
        "$trouble" --microseconds 500 --in tcp://127.0.0.1:$((port + 1)) --out tcp://127.0.0.1:$((port + 3)) \
            --metrics work.run/1-worker.$i.metrics 2>work.run/1-worker.$i.log &
        workers+=($!)
    done
    deadline=$((SECONDS + 120))
    while kill -0 $source 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || fail "trial $trial: no end after 120 s"
        sleep 0.2
    done
    wait $source || fail "trial $trial: the source ended with $?"
    # The end may have been lost with a connection when its source has gone: whoever waits for it is told to leave.
    for ((i = 0; i < 50; i++)); do
        kill -0 $store 2>/dev/null || break
        sleep 0.1
    done
    kill -TERM $store "${workers[@]}" 2>/dev/null
    wait $store || fail "trial $trial: the store ended with $?"
    for pid in "${workers[@]}"; do
        wait "$pid" || fail "trial $trial: a worker ended with $?"
    done
    kill $proxies
    wait $proxies 2>/dev/null
    check_store "$digest" "trial $trial"
    check_counters resent "trial $trial"
done
echo "cut: $trials trials"
