#!/usr/bin/env bash
# kill -9 of any process of a run at random moments, `run` itself among them: nothing is lost, nothing is there twice.
#   kill.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
trials=${1:-2} seed=${2:-1}
make_input 9000
cat >work.pipe <<END
$trouble --in text:input.txt
$trouble --microseconds 1000 x3
$trouble --microseconds 600  x2
store store
END
all=0
digest=$(expected_digest)
for ((trial = seed; trial < seed + trials; trial++)); do
    begin_trial "$trial"
    kills=0 want=$((2 + $(below 4)))
    "$bin/atelier-run" work.pipe >run.log 2>&1 &
    run_pid=$!
    deadline=$((SECONDS + 120))
    while :; do
        nap "$(below 1200)"
        if ! kill -0 $run_pid 2>/dev/null; then
            wait $run_pid
            code=$?
            [ $code = 0 ] && break
            [ $code = 137 ] || fail "trial $trial: run ended with $code: $(tail -n 3 run.log)"
            "$bin/atelier-run" work.pipe >>run.log 2>&1 &
            run_pid=$!
        fi
        [ $SECONDS -lt $deadline ] || fail "trial $trial: no end after 120 s"
        [ $kills -lt $want ] || continue
        mapfile -t victims < <(pgrep -P $run_pid)
        victims+=($run_pid)
        kill -9 "${victims[$(below ${#victims[@]})]}" 2>/dev/null && kills=$((kills + 1)) all=$((all + 1))
    done
    run_pid=
    [ $kills -gt 0 ] || fail "trial $trial: nobody was killed"
    check_store "$digest" "trial $trial"
    check_counters died "trial $trial"
done
echo "kill: $trials trials, $all processes killed"
