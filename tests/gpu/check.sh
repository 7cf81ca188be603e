#!/usr/bin/env bash
# All that can be tried of the CUDA backend on a machine with a GPU, CUDA and a compiler, and nothing else: every
# operation in each type beside the plain reference, the golden vectors, training and sampling, and compute-sanitizer on
# the same tests. A table on stdout, all results in $BUILD/gpu-check.json, whatever failed. CHECK_SECONDS: for all, the
# build included. ATELIER_CUDA_LIBRARY: another library, such as the emulator's. 0: all passed; 77: no GPU.
set -eu -o pipefail
. "$(dirname "$0")/lib.bash"
results=$BUILD/gpu-check.lines
end=$((started + ${CHECK_SECONDS:-460}))
: >"$results"

# note SECTION TEST STATUS SECONDS
note() {
    printf '%s\t%s\t%s\t%s\n' "$@" >>"$results"
}

# tests SECTION COMMAND...: a program of tests, whose lines are results; what failed is shown.
tests() {
    local section=$1 log=$BUILD/gpu-check.$1.log status=0
    shift
    timeout -k 5 "$(seconds_left 120)" "$@" >"$log" 2>&1 || status=$?
    awk -v section="$section" -F '] ' '/^\[/ {
        status = $1 ~ /OK/ ? "passed" : $1 ~ /SKIPPED/ ? "skipped" : "failed"
        match($2, / \([0-9.]+ s\)$/)
        print section "\t" substr($2, 1, RSTART - 1) "\t" status "\t" substr($2, RSTART + 2, RLENGTH - 5) }' "$log" >>"$results"
    if [ $status != 0 ]; then
        grep -v '\[ *\(OK\|SKIPPED\)' "$log" | tail -40 || true
        grep -q '^\[  FAILED' "$log" || note "$section" "ended with $status" failed 0
    fi
}

# golden VECTORS: a file of golden vectors on the device.
golden() {
    local log=$BUILD/gpu-check.golden.log begun=$SECONDS status=passed
    ATELIER_DEVICE=cuda timeout -k 5 "$(seconds_left 60)" "$programs/golden" "tests/golden/vectors/$1.safetensors" >"$log" 2>&1 ||
        status=failed
    [ $status = passed ] || grep -i fail "$log" || tail -5 "$log"
    note golden "$1" $status $((SECONDS - begun))
}

# sanitized TOOL PROGRAM TESTS RUNS: those tests of a program under a tool of compute-sanitizer, in its share of the time
# that is left for RUNS. Our calls check their own errors; races are looked for in our own kernels.
sanitized() {
    local tool=$1 log=$BUILD/gpu-check.$1.log begun=$SECONDS status=0 seconds options=(--report-api-errors no)
    [ "$tool" = memcheck ] || options=(--kernel-name-exclude kns=nvjet,kns=cutlass,kns=xmma,kns=cublas,kns=gemm,kns=Kreduce)
    seconds=$(($(seconds_left 460) / $4 + 1))
    ATELIER_TESTS=$3 timeout -k 5 $seconds compute-sanitizer --tool "$tool" "${options[@]}" --error-exitcode 9 \
        --print-limit 20 "$2" >"$log" 2>&1 || status=$?
    case $status in
    0) note "$tool" "${2##*/} $3" passed $((SECONDS - begun)) ;;
    124)
        if grep -E '^=+ .*(Invalid|Race|hazard|rror:)' "$log"; then
            note "$tool" "${2##*/} $3" failed $((SECONDS - begun))
        else
            note "$tool" "${2##*/} $3: clean until its $seconds s were up" skipped $((SECONDS - begun))
        fi
        ;;
    *)
        note "$tool" "${2##*/} $3" failed $((SECONDS - begun))
        tail -30 "$log"
        ;;
    esac
}

for test in types rows products attention; do
    [ ! -x "$programs/tests/unit/cuda/test_cuda_$test" ] || tests "$test" "$programs/tests/unit/cuda/test_cuda_$test"
done
for vectors in dvae prior prior_greedy clip clip_train; do
    golden $vectors
done
tests models "$programs/tests/gpu/test_training"

if command -v compute-sanitizer >/dev/null; then
    runs=10
    for tool in memcheck racecheck; do
        for test in attention rows products; do
            sanitized $tool "$programs/tests/unit/cuda/test_cuda_$test" bf16 $runs
            runs=$((runs - 1))
        done
        for test in samples_repeat trains_in_bf16; do
            sanitized $tool "$programs/tests/gpu/test_training" $test $runs
            runs=$((runs - 1))
        done
    done
else
    note sanitizer "compute-sanitizer is not here" skipped 0
fi

awk -F '\t' -v device="$name" -v seconds=$((SECONDS - started)) '
    function text(s) { gsub(/["\\]/, "", s); return "\"" s "\"" }
    BEGIN { printf "{\"device\": %s, \"results\": [", text(device) }
    { printf "%s\n  {\"section\": %s, \"test\": %s, \"status\": %s, \"seconds\": %s}", (NR > 1 ? "," : ""), text($1), text($2), text($3), $4 + 0 }
    END { printf "\n], \"seconds\": %d}\n", seconds }' "$results" >"$BUILD/gpu-check.json"
awk -F '\t' '
    !($1 in all) { order[++sections] = $1 }
    { all[$1]++; count[$1, $3]++; time[$1] += $4; if ($3 == "failed") failed = failed "\n  failed: " $1 ", " $2 }
    END {
        printf "%-12s %7s %7s %8s %9s\n", "section", "passed", "failed", "skipped", "seconds"
        for (i = 1; i <= sections; i++) {
            s = order[i]
            printf "%-12s %7d %7d %8d %9.1f\n", s, count[s, "passed"], count[s, "failed"], count[s, "skipped"], time[s]
        }
        print substr(failed, 2) }' "$results"
echo "$BUILD/gpu-check.json: $((SECONDS - started)) s"
! awk -F '\t' '$3 == "failed"' "$results" | grep -q .
