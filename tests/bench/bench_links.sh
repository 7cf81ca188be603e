#!/usr/bin/env bash
# tests/bench/bench_links.sh: links and queues beside plain PUSH/PULL, in one run.
cd "$(dirname "$0")/../.." && exec "${BUILD:-build}/bin/bench-links" "$@"
