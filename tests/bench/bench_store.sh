#!/usr/bin/env bash
# tests/bench/bench_store.sh [DIR]: the store beside plainer ways to keep the same bytes, in one run.
cd "$(dirname "$0")/../.." && exec "${BUILD:-build}/bin/bench-store" "$@"
