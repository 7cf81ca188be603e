#!/usr/bin/env bash
# Runs every test program and script, prints a line each, what a failed one said, and last 'N passed, N failed, N skipped'.
# A test passes with exit 0, is skipped with 77 (its last line says why), and fails with anything else or after TIMEOUT seconds.
#   tests/run.sh [NAME...]     only tests whose path contains one of the names
set -u
cd "$(dirname "$0")/.."
timeout=${TIMEOUT:-600}
export OMP_WAIT_POLICY=passive UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

wanted() {
    [ $# -gt 1 ] || return 0
    local path=$1 name
    shift
    for name; do [[ $path == *$name* ]] && return 0; done
    return 1
}

run() {
    local start=$SECONDS code
    timeout -k 10 "$timeout" "$@" >"$log" 2>&1 </dev/null
    code=$?
    case $code in
    0) passed=$((passed + 1)); echo "ok    $* ($((SECONDS - start)) s)" ;;
    77) skipped=$((skipped + 1)); echo "skip  $*: $(tail -n 1 "$log")" ;;
    *) failed=$((failed + 1)); echo "FAIL  $* (exit $code)"; tail -n 40 "$log" | sed 's/^/      /' ;;
    esac
}

for test in build/tests/unit/*/test_* build/asan/tests/unit/*/test_*; do
    if [ -x "$test" ] && [[ $test != *.? ]] && wanted "$test" "$@"; then run "$test"; fi
done
for test in tests/golden/run.sh tests/interchange/run.sh tests/e2e/*.sh; do
    if [ -x "$test" ] && wanted "$test" "$@"; then run "$test"; fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
