#!/usr/bin/env bash
# Strangers throw bytes at every port of a chain while it works (hostile.py): links that feed and that take, of a source, a queue and
# a store, without keys and, every second trial, with them; the metrics' servers; and a program that connects to a stranger. The work
# is done, nobody dies, nobody's memory grows, and what was refused is counted.
#   ports.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
trials=${1:-1} seed=${2:-1}
command -v python3 >/dev/null || { echo "ports: no python3, nothing done"; exit 0; }
make_input 6000
digest=$(expected_digest)
version=$(sed -n 's/^#define LINK_VERSION \([0-9]*\)$/\1/p' "$root/common/link_wire.h")
"$bin/atelier-keys" keys >/dev/null 2>keys.log || fail "keys: $(cat keys.log)"
refused=0 connections=0 most_memory=0

start() { # STEP-NAME COMMAND...
    local name=$1
    shift
    "$@" --run fault $keys --metrics 127.0.0.1:$((port + 10 + ${#pids[@]})) 2>work.run/$name.log &
    pids+=($!) targets+=(http:$((port + 10 + ${#pids[@]} - 1)))
}
metrics() { # port
    { exec 9<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /metrics HTTP/1.0\r\n\r\n' >&9 && timeout 1 cat <&9; } 2>/dev/null
    exec 9>&-
}
# Keeps what those who still answer count, and looks at their memory.
look() {
    local i
    for ((i = 0; i < ${#pids[@]}; i++)); do
        metrics $((port + 10 + i)) >metrics.$i.new
        ! grep -q '^atelier_' metrics.$i.new || mv metrics.$i.new metrics.$i
        memory=$(awk '/^RssAnon/ { print $2 }' /proc/${pids[$i]}/status 2>/dev/null)
        [ "${memory:-0}" -le "$most_memory" ] || most_memory=$memory
    done
}

for ((trial = seed; trial < seed + trials; trial++)); do
    RANDOM=$trial
    rm -rf store work.run metrics.*
    mkdir work.run
    port=$((20000 + $(below 12000))) pids=() targets=() keys=
    [ $((trial % 2)) = 1 ] || keys="--keys keys"
    address=tcp://127.0.0.1
    start 0-source "$trouble" --in text:input.txt --out bind+$address:$port
    start 1-worker "$trouble" --microseconds 400 --in $address:$port --out $address:$((port + 1))
    start 2-queue "$bin/atelier-queue" --in $address:$((port + 1)) --out $address:$((port + 2))
    start 3-worker "$trouble" --in $address:$((port + 2)) --out $address:$((port + 3))
    start 4-store "$bin/atelier-store" import store --in bind+$address:$((port + 3))
    chain=("${pids[@]}")
    start 5-misled "$trouble" --in $address:$((port + 4)) --out $address:$((port + 5))
    python3 "$root/tests/fault/hostile.py" "$trial" "$version" serve:$((port + 4)) serve:$((port + 5)) \
        link:$port link:$((port + 1)) link:$((port + 2)) link:$((port + 3)) "${targets[@]}" >hostile.txt 2>hostile.log &
    hostile=$!
    deadline=$((SECONDS + 100))
    while kill -0 "${chain[0]}" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || fail "trial $trial: no end after 100 s"
        look
        sleep 0.3
    done
    for pid in "${chain[@]}"; do
        wait "$pid" || fail "trial $trial: $(tr '\0' ' ' 2>/dev/null </proc/$pid/cmdline) one of the chain ended with $?"
    done
    kill -TERM "${pids[5]}"
    wait "${pids[5]}"
    code=$?
    [ $code = 0 ] || [ $code = 65 ] || fail "trial $trial: who was misled ended with $code"
    kill -TERM $hostile
    wait $hostile || fail "trial $trial: hostile.py: $(cat hostile.log)"
    check_store "$digest" "trial $trial"
    connections=$((connections + $(cut -d' ' -f1 hostile.txt)))
    refused=$((refused + $(cat metrics.? | awk '/refused_messages_total|stale_messages_total/ { n += $2 } END { print n + 0 }')))
    [ "$most_memory" -lt 150000 ] || fail "trial $trial: a process took $most_memory KB"
done
[ $refused -gt 0 ] || fail "nothing was counted as refused"
echo "ports: $trials trials, $connections connections, $refused messages refused, $((most_memory / 1024)) MB at most"
