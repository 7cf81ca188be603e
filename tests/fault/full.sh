#!/usr/bin/env bash
# The disk is full at some commit: the store ends with 75, keeps what it had, and goes on when there is room again.
#   full.sh TRIALS     needs the right to mount a small tmpfs; skipped without
. "$(dirname "$0")/lib.sh"
trials=${1:-1}
make_input 20000
digest=$(expected_digest)
mkdir small
mount -t tmpfs -o size=64k tmpfs small 2>/dev/null || { echo "full: no tmpfs can be mounted here, nothing done"; exit 0; }
trap 'umount -l "$work/small" 2>/dev/null; cleanup' EXIT
printf '%s\n' "$trouble --in text:input.txt" "$trouble x2" "store small/store" >work.pipe
for ((trial = 0; trial < trials; trial++)); do
    rm -rf small/store work.run
    full=0
    for ((size = 100 + 37 * trial; ; size += 1700)); do
        mount -o remount,size=${size}k small
        timeout -s KILL 100 "$bin/atelier-run" work.pipe >run.log 2>&1
        code=$?
        [ $code = 0 ] && break
        [ $code = 75 ] || fail "trial $trial: with $size KB run ended with $code: $(tail -n 2 run.log)"
        full=$((full + 1))
    done
    [ $full -gt 0 ] || fail "trial $trial: the disk was never full"
    rm -rf store && cp -r small/store store
    check_store "$digest" "trial $trial"
    echo "full: was full $full times"
done
