#!/usr/bin/env bash
# No fault at all: each step of a run counts each record once, as its accounting table and its store do.
. "$(dirname "$0")/lib.sh"
make_input 9000
digest=$(expected_digest)
printf '%s\n' "$trouble --in text:input.txt" "$trouble --microseconds 300 x3" "$trouble x2" "store store" >work.pipe
watch_counters
timeout -s KILL 60 "$bin/atelier-run" work.pipe >run.log 2>&1 || fail "run ended with $?"
check_store "$digest" "calm"
check_counters calm "calm"
echo "calm: all counters fit"
