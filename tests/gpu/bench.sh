#!/usr/bin/env bash
# Benchmarks of the CUDA backend on a machine with a GPU, and of PyTorch beside them where python3 has it with CUDA. A
# table on stdout with the goals last, all results in $BUILD/gpu-bench.json, whatever failed. Each section has its own
# process and no more than its seconds, all together BENCH_SECONDS, the build included. 0: all were measured; 77: no GPU.
set -eu -o pipefail
. "$(dirname "$0")/lib.bash"
lines=$BUILD/gpu-bench.lines
end=$((started + ${BENCH_SECONDS:-460}))
: >"$lines"

# section NAME SECONDS COMMAND...: appends to $lines what it measures.
section() {
    local what=$1 status=0 seconds
    seconds=$(seconds_left "$2")
    shift 2
    timeout -k 5 "$seconds" "$@" || status=$?
    if [ $status != 0 ]; then
        [ $status != 124 ] || echo "$what: not done after $seconds s"
        echo "{\"section\": \"$what\", \"failed\": $status}" >>"$lines"
    fi
}

write_json() {
    printf '{"device": "%s", "results": [\n%s\n], "seconds": %d}\n' "$name" "$(sed '$!s/$/,/' "$lines")" \
        $((SECONDS - started)) >"$BUILD/gpu-bench.json"
    echo "$BUILD/gpu-bench.json: $((SECONDS - started)) s"
}

# What was measured beside what was aimed at; "-" where it was not measured.
goals() {
    awk '
        function value(name) { return match($0, "\"" name "\": [^,}]*") ? substr($0, RSTART + length(name) + 4, RLENGTH - length(name) - 4) : "" }
        function quotient(a, b) { return a > 0 && b > 0 ? a / b : "" }
        function goal(what, is, aim) { printf "goal       %-68s %8s  %s\n", what, is == "" ? "-" : sprintf("%.4g", is), aim }
        match($0, /"section": "[^"]*", "what": "[^"]*"/) {
            id = substr($0, RSTART + 12, RLENGTH - 13)
            sub(/", "what": "/, ": ", id)
            share[id] = value("share of product rate")
            seconds[id] = value("seconds")
            attention[id] = value("forward ms") + value("backward ms")
            limits[id] = value("times the limit")
            rate[id] = value("pictures/s")
        }
        END {
            goal("training at 1.3 G, share of the measured product rate", share["train: prior of 1.3 G"], ">= 0.55")
            goal("PyTorch'"'"'s time for the same, of ours", quotient(seconds["torch train: prior of 1.3 G"], seconds["train: prior of 1.3 G"]), ">= 1.2")
            split("row column conv", masks, " ")
            for (i = 1; i <= 3; i++)
                goal("PyTorch'"'"'s time for attention, " masks[i] ", forward and backward, of ours", quotient(attention["torch attention: " masks[i]], attention["attention: " masks[i]]), ">= 3")
            goal("dVAE codes, pictures/s", rate["dvae: encode"], ">= 2000")
            goal("512 candidates, times the limit", limits["sample: 512 candidates"], "<= 2")
        }' "$lines"
}

trap write_json EXIT
for what in device train-large attention sample dvae clip train; do
    section "$what" 60 "$programs/bench" "$what" "$lines"
done
section train-widest 90 "$programs/bench" train-widest "$lines"
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null || [ -n "${PEER_DEVICE:-}" ]; then
    section "torch train-large" 150 python3 tests/gpu/peer.py train-large "$lines"
    section "torch attention" 60 python3 tests/gpu/peer.py attention "$lines"
    section "torch train" 100 python3 tests/gpu/peer.py train "$lines"
else
    echo "no python3 with torch and CUDA: not compared"
fi
goals
! grep '"failed"' "$lines"
