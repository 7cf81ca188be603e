#!/usr/bin/env bash
# A run that is interrupted goes on with another number of workers.
#   resume.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
trials=${1:-1} seed=${2:-1}
make_input 9000
digest=$(expected_digest)
for ((trial = seed; trial < seed + trials; trial++)); do
    begin_trial "$trial"
    for signal in INT TERM none; do
        printf '%s\n' "$trouble --in text:input.txt" "$trouble --microseconds 1000 x$((1 + $(below 5)))" \
            "$trouble x$((1 + $(below 3)))" "store store" >work.pipe
        "$bin/atelier-run" work.pipe >run.log 2>&1 &
        run_pid=$!
        if [ $signal != none ]; then
            nap $((500 + $(below 700)))
            kill -$signal $run_pid
        fi
        wait $run_pid
        code=$?
        run_pid=
        case $signal:$code in
        INT:130 | TERM:143 | none:0) ;;
        *:0) break ;; # it was over before the signal
        *) fail "trial $trial: after $signal code $code: $(tail -n 3 run.log)" ;;
        esac
    done
    check_store "$digest" "trial $trial"
    check_counters died "trial $trial"
done
echo "resume: $trials trials"
