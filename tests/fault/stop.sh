#!/usr/bin/env bash
# A worker that is stopped (SIGSTOP) and goes on later: its batches went to others, what it says late is ignored.
#   stop.sh TRIALS [SEED] [SECONDS]
. "$(dirname "$0")/lib.sh"
trials=${1:-1} seed=${2:-1} seconds=${3:-10}
make_input 9000
digest=$(expected_digest)
cat >work.pipe <<END
$trouble --in text:input.txt
$trouble --microseconds 1000  x3
$trouble --microseconds 600   x2
store store
END
for ((trial = seed; trial < seed + trials; trial++)); do
    begin_trial "$trial"
    "$bin/atelier-run" work.pipe >run.log 2>&1 &
    run_pid=$!
    while [ "$(pgrep -c -P $run_pid)" -lt 8 ]; do nap 20; done # source, workers, queue and store
    nap "$(below 1500)"
    mapfile -t victims < <(pgrep -P $run_pid)
    [ ${#victims[@]} -gt 0 ] || fail "trial $trial: it was over too soon"
    victim=${victims[$(below ${#victims[@]})]}
    kill -STOP "$victim"
    sleep "$seconds"
    kill -CONT "$victim" 2>/dev/null
    wait $run_pid || fail "trial $trial: run ended with $?: $(tail -n 3 run.log)"
    run_pid=
    check_store "$digest" "trial $trial"
    check_counters resent "trial $trial"
done
echo "stop: $trials trials of $seconds s"
