# What the fault tests share. A test makes a work directory, a pipeline over records of text, and the digest that the store
# has without faults; then it disturbs runs, and the store must come out the same, and the counters must fit it.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${BIN:-$root/build/bin}
trouble=${TROUBLE:-$bin/../tests/fault/trouble}
work=$(mktemp -d /tmp/atelier-fault-XXXXXX)
run_pid= watcher=
cleanup() {
    kill -9 $(jobs -p) 2>/dev/null
    wait 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
cd "$work" || exit 1

exec 3>&1
fail() {
    { echo "FAIL: $*" && tail -n 20 ./*.log ./*.run/*.log 2>/dev/null | cut -c 1-300; } >&3
    exit 1
}

# A random number below $1, from the seed in RANDOM.
below() { echo $(((RANDOM * 32768 + RANDOM) % $1)); }
nap() { sleep "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))"; } # milliseconds

make_input() { # records
    inputs=$1 rejects=$((($1 + 13) / 17))
    awk -v n="$1" 'BEGIN { for (i = 0; i < n; i++) print i % 17 == 3 ? "reject " i : "caption number " i }' >input.txt
}

# The digest of the store without faults, through a plain shell pipe, and its bytes.
expected_digest() {
    rm -rf expected bytes
    "$trouble" --in text:input.txt 2>/dev/null | "$bin/atelier-store" import expected --in - 2>/dev/null || fail "the plain pipe"
    "$bin/atelier-store" compact expected bytes 2>/dev/null || fail "compact"
    "$bin/atelier-store" digest expected
}

# verify: each id once. The digest: the same bytes under each. Compacted: the same file.
check_store() { # digest, what was done
    [ -d store ] || fail "$2: no store"
    local got
    got=$("$bin/atelier-store" digest store) || fail "$2: the store cannot be read"
    "$bin/atelier-store" verify store >verify.txt 2>&1 || fail "$2: $(cat verify.txt)"
    [ "$got" = "$1" ] || fail "$2: the store's digest is $got, not $1"
    [ -d bytes ] || return 0
    rm -rf compact
    "$bin/atelier-store" compact store compact 2>compact.log || fail "$2: it cannot be compacted"
    cmp compact/000000.mdb bytes/000000.mdb || fail "$2: other bytes"
}

# The counters of the programs whose logs and sockets are in work.run (counters.py), where there is a Python.
watch_counters() {
    mkdir -p work.run
    if command -v python3 >/dev/null; then
        python3 "$root/tests/fault/counters.py" watch work.run &
        watcher=$!
        while [ ! -e work.run/watching ] && kill -0 $watcher 2>/dev/null; do nap 20; done
    fi
}
begin_trial() { # seed
    RANDOM=$1
    rm -rf store work.run
    watch_counters
}
check_counters() { # calm|resent|died, what was done
    [ -n "$watcher" ] || return 0
    local log=
    kill -TERM "$watcher"
    wait "$watcher" || fail "$2: the watcher of the counters ended with $?"
    watcher=
    [ ! -e run.log ] || log=run.log
    python3 "$root/tests/fault/counters.py" check work.run $inputs $rejects "$1" $log || fail "$2"
}
