#!/usr/bin/env bash
# Messages of a link lost, repeated, delayed and reordered between a feeder and two workers: each batch is settled once.
#   disorder.sh SEEDS
. "$(dirname "$0")/lib.sh"
LINK_SEEDS=${1:-10} "$bin/../tests/unit/common/test_link_relay" >disorder.log 2>&1 || fail "a seed"
echo "disorder: ${1:-10} seeds"
