#!/usr/bin/env bash
# All that can be tried of the CUDA backend on a machine with a GPU, CUDA and a compiler, and nothing else: every
# operation in each type beside the plain reference, the golden vectors, training and sampling, and compute-sanitizer on
# the same tests. A table on stdout, all results in $BUILD/gpu-check.json. CHECK_SECONDS: for the sanitizers, together.
# ATELIER_CUDA_LIBRARY: another library, such as the emulator's. 0: all passed; 77: no GPU.
set -eu -o pipefail
. "$(dirname "$0")/lib.bash"
results=$BUILD/gpu-check.lines
: >"$results"

# note SECTION TEST STATUS SECONDS
note() {
    printf '%s\t%s\t%s\t%s\n' "$@" >>"$results"
}

# tests SECTION COMMAND...: a program of tests, whose lines are results; what failed is shown.
tests() {
    local section=$1 log=$BUILD/gpu-check.$1.log status=0
    shift
    timeout 120 "$@" >"$log" 2>&1 || status=$?
    awk -v section="$section" -F '] ' '/^\[/ {
        status = $1 ~ /OK/ ? "passed" : $1 ~ /SKIPPED/ ? "skipped" : "failed"
        match($2, / \([0-9.]+ s\)$/)
        print section "\t" substr($2, 1, RSTART - 1) "\t" status "\t" substr($2, RSTART + 2, RLENGTH - 5) }' "$log" >>"$results"
    if [ $status != 0 ]; then
        grep -v '\[ *\(OK\|SKIPPED\)' "$log" | tail -40 || true
        grep -q '^\[  FAILED' "$log" || note "$section" "ended with $status" failed 0
    fi
}

# sanitized TOOL SECONDS PROGRAM TESTS: those tests of a program under a tool of compute-sanitizer.
sanitized() {
    local tool=$1 log=$BUILD/gpu-check.$1.log begun=$SECONDS status=0
    ATELIER_TESTS=$4 timeout "$2" compute-sanitizer --tool "$tool" --error-exitcode 9 "$3" >"$log" 2>&1 || status=$?
    case $status in
    0) note "$tool" "${3##*/} $4" passed $((SECONDS - begun)) ;;
    124)
        if grep -E '^=+ .*(Invalid|Race|hazard|rror:)' "$log"; then
            note "$tool" "${3##*/} $4" failed $((SECONDS - begun))
        else
            note "$tool" "${3##*/} $4: clean until its time was up" skipped $((SECONDS - begun))
        fi
        ;;
    *)
        note "$tool" "${3##*/} $4" failed $((SECONDS - begun))
        tail -30 "$log"
        ;;
    esac
}

for test in types rows products attention; do
    [ ! -x "$programs/tests/unit/cuda/test_cuda_$test" ] || tests "$test" "$programs/tests/unit/cuda/test_cuda_$test"
done
for vectors in dvae prior prior_greedy clip clip_train; do
    begun=$SECONDS
    log=$BUILD/gpu-check.golden.log
    if ATELIER_DEVICE=cuda "$programs/golden" "tests/golden/vectors/$vectors.safetensors" >"$log" 2>&1; then
        note golden "$vectors" passed $((SECONDS - begun))
    else
        note golden "$vectors" failed $((SECONDS - begun))
        grep -i 'fail' "$log" || tail -5 "$log"
    fi
done
tests models "$programs/tests/gpu/test_training"

if command -v compute-sanitizer >/dev/null; then
    each=$((${CHECK_SECONDS:-200} / 8))
    for tool in memcheck racecheck; do
        for test in rows products attention; do
            sanitized $tool $each "$programs/tests/unit/cuda/test_cuda_$test" bf16
        done
        sanitized $tool $each "$programs/tests/gpu/test_training" samples_repeat
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
