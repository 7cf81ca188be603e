#!/usr/bin/env bash
# The fault tests: `run.sh short` for `make check`, `run.sh long` for `make fault`. The same seeds each time. They mostly wait, so
# LANES of them (3) run side by side. All are run; the exit code says whether one failed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
short='slow 3
kill 1 1
stop 1 1 4
end 1 1
poison
resume 1 1
scale 1 1
cut 1 1
full 32 0
ports 1 1
flips 20 1
nomalloc 500 filter
nomalloc 120 tokenize encode
nomalloc 40 import cat verify source worker queue store run
calm'
long='nomalloc 1 filter
kill 50 1000
kill 50 1050
kill 50 1100
kill 50 1150
nomalloc 1 run
nomalloc 1 store worker
stop 10 1000 10
stop 10 1010 10
end 40 1000
scale 10 1000
scale 10 1010
cut 25 1000
cut 25 1025
nomalloc 1 tokenize
nomalloc 1 encode
nomalloc 1 import cat verify source queue
resume 10 1000
full 1 5
flips 1000 1
ports 20 1000
disorder 1000
slow 10
poison long
calm'

# A word of the list and what it gave, when it is through.
one() {
    local start=$SECONDS output code name=$1
    shift
    output=$("$here/$name.sh" "$@" 2>&1)
    code=$?
    [ $code = 0 ] && echo "ok    $name $* ($((SECONDS - start)) s): $(tail -n 1 <<<"$output")" && return
    echo "FAIL  $name $* (exit $code, $((SECONDS - start)) s)"
    head -n 60 <<<"$output" | sed 's/^/      /'
    return 1
}
export -f one
export here

case ${1:-short} in
short) list=$short ;;
long) list=$long ;;
*)
    echo "usage: run.sh short|long" >&2
    exit 2
    ;;
esac
# shellcheck disable=SC2016
xargs -P "${LANES:-3}" -L 1 bash -c 'one "$@"' one <<<"$list" || exit 1
