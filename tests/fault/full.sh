#!/usr/bin/env bash
# The disk is full: a store on a small tmpfs, of each size from one page to all that it needs, so that it fills at every commit and
# at every page of one, the making of the store among them. It ends with 75 and says that there is no room; with room, the same
# command goes on. Then the same for a whole run, once for each commit.
#   full.sh STEP RUNS     STEP: pages between the sizes; RUNS: of these, how many as a run
. "$(dirname "$0")/lib.sh"
step=${1:-16} runs=${2:-1} page=4
mkdir small
if ! mount -t tmpfs -o size=${page}k tmpfs small 2>/dev/null; then
    [ -z "${IN_NAMESPACE:-}" ] && unshare -Urm true 2>/dev/null && IN_NAMESPACE=1 exec unshare -Urm "$root/tests/fault/full.sh" "$@"
    echo "full: no tmpfs can be mounted here, nothing done"
    exit 0
fi
trap 'umount -l "$work/small" 2>/dev/null; cleanup' EXIT
make_input 20000
digest=$(expected_digest)
"$trouble" --in text:input.txt >records 2>/dev/null
need=$(du -sk --apparent-size expected | cut -f 1)
room() { mount -o "remount,size=$1k" small || fail "remount"; }

# The directory of a store that has been made: what the plain readers say of it.
check_rest() {
    [ -e small/store/000000.mdb ] || return 0
    "$bin/atelier-store" verify small/store >verify.txt 2>&1 || fail "with $1 KB: $(cat verify.txt)"
}

full=0
for ((size = page; size < need * 2; size += page * step)); do
    umount small && mount -t tmpfs -o size=${size}k tmpfs small || fail "mount"
    "$bin/atelier-store" import small/store --in - <records 2>import.log
    code=$?
    [ $code = 0 ] && break
    [ $code = 75 ] || fail "with $size KB import ended with $code: $(cat import.log)"
    grep -q 'No space left on device' import.log || fail "with $size KB: it does not say why: $(cat import.log)"
    room $((need * 2))
    check_rest "$size"
    "$bin/atelier-store" import small/store --in - <records 2>import.log || fail "with room after $size KB: $(cat import.log)"
    rm -rf store && cp -r small/store store
    check_store "$digest" "after $size KB"
    full=$((full + 1))
done
[ $full -gt 0 ] && [ $code = 0 ] || fail "the disk was never full, or never large enough"

printf '%s\n' "$trouble --in text:input.txt" "$trouble x2" "store small/store" >work.pipe
for ((trial = 1; trial <= runs; trial++)); do
    umount small && mount -t tmpfs -o size=$((need * trial / (runs + 1)))k tmpfs small || fail "mount"
    rm -rf work.run
    timeout -s KILL 100 "$bin/atelier-run" work.pipe >run.log 2>&1
    code=$?
    [ $code = 75 ] || fail "run $trial of $runs ended with $code: $(tail -n 2 run.log)"
    room $((need * 2))
    timeout -s KILL 100 "$bin/atelier-run" work.pipe >run.log 2>&1 || fail "run $trial with room: $?: $(tail -n 2 run.log)"
    rm -rf store && cp -r small/store store
    check_store "$digest" "run $trial"
done
echo "full: the disk was full $full times in an import, $runs times in a run"
