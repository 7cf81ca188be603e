#!/usr/bin/env bash
# Benchmarks of the CUDA backend on a machine with a GPU, and of PyTorch beside them where python3 has it with CUDA. A
# table on stdout, all results in $BUILD/gpu-bench.json. Each section has its own process and a minute at most, all together
# BENCH_SECONDS; one that fails is reported and does not stop the others. 0: all were measured; 77: no GPU.
set -eu -o pipefail
. "$(dirname "$0")/lib.bash"
lines=$BUILD/gpu-bench.lines
end=$((started + ${BENCH_SECONDS:-460}))
: >"$lines"

# section NAME COMMAND...: appends to $lines what it measures.
section() {
    local what=$1 status=0 left=$((end - SECONDS))
    shift
    [ $left -lt 60 ] || left=60
    [ $left -gt 0 ] || left=1
    timeout $left "$@" || status=$?
    if [ $status != 0 ]; then
        [ $status != 124 ] || echo "$what: not done after $left s"
        echo "{\"section\": \"$what\", \"failed\": $status}" >>"$lines"
    fi
}

for what in device train-large attention sample dvae clip train train-widest; do
    section "$what" "$programs/bench" "$what" "$lines"
done
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || [ -n "${PEER_DEVICE:-}" ]; then
    for what in attention train train-large; do
        section "torch $what" python3 tests/gpu/peer.py "$what" "$lines"
    done
else
    echo "no python3 with torch and CUDA: not compared"
fi

printf '{"device": "%s", "results": [\n%s\n], "seconds": %d}\n' "$name" "$(sed '$!s/$/,/' "$lines")" \
    $((SECONDS - started)) >"$BUILD/gpu-bench.json"
echo "$BUILD/gpu-bench.json: $((SECONDS - started)) s"
! grep '"failed"' "$lines"
