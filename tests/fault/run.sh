#!/usr/bin/env bash
# The fault tests: `run.sh short` for `make check`, `run.sh long` for `make fault`. The same seeds each time.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-short} in
short) lists=("kill 2 1" "scale 1 1" "resume 1 1" "stop 1 1 4" "cut 1 1" "poison") ;;
long) lists=("kill 200 1000" "stop 20 1000 10" "scale 20 1000" "resume 10 1000" "cut 50 1000" "full 3" "poison long") ;;
*)
    echo "usage: run.sh short|long" >&2
    exit 2
    ;;
esac
for list in "${lists[@]}"; do
    # shellcheck disable=SC2086
    set -- $list
    "$here/$1.sh" "${@:2}"
done
