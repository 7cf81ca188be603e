#!/usr/bin/env bash
# Several processes train the model that one process would: the same losses and gradients, whatever their number, also
# when a run goes on with another; and how they stop, fail and are refused.
. "$(dirname "$0")/lib.bash"

# Kept for the processes that mpirun starts: more of them than cores, as root in CI.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ASAN_OPTIONS=detect_leaks=0
command -v mpirun >/dev/null || fail "no mpirun: install openmpi-bin"

# by N COMMAND...: N processes, or without mpirun
by() {
    local n=$1
    shift
    [ "$n" = 1 ] || set -- mpirun --oversubscribe --bind-to none -n "$n" "$@"
    timeout 120 "$@"
}

# The largest difference of two files of tensors, beside the tensor's largest element; of two metrics, beside the number.
cat >near.py <<'EOF'
import array, json, struct, sys
def tensors(path):
    b = open(path, "rb").read()
    n, = struct.unpack("<Q", b[:8])
    for name, t in json.loads(b[8:8 + n]).items():
        if name != "__metadata__":
            first, end = t["data_offsets"]
            yield name, array.array("f", b[8 + n + first:8 + n + end])
def lines(path):
    for line in open(path):
        m = json.loads(line)
        yield from ((f"step {m['step']} {k}", [v]) for k, v in m.items() if k != "seconds")
limit, a, b = float(sys.argv[1]), sys.argv[2], sys.argv[3]
read = lines if a.endswith(".jsonl") else tensors
a, b = dict(read(a)), dict(read(b))
assert a and a.keys() == b.keys(), (len(a), len(b))
for name in a:
    worst = max(abs(x - y) for x, y in zip(a[name], b[name]))
    if not worst <= limit * max(map(abs, a[name])):
        sys.exit(f"{name}: differs by {worst}, of {max(map(abs, a[name]))}")
EOF

# An element of a gradient sums up to 8 x 32 x 32 terms, in an order that depends on how a batch is divided. Orders differ
# by 2^-24 of the terms' magnitude for each term at worst (5e-4), and by the root of their number as a rule (5e-6).
GRADIENT=5e-5
# Of numbers with six digits; each update adds what the gradients differ by.
LOSS=1e-5

# updates LAST N NAME OPTION...: N processes take the run NAME of the present task to update LAST
updates() {
    quiet by "$2" atelier-trainer "$task" --preset demo --pictures-every 0 --lr-steps 8 --batch 8 --steps "$1" --run "$task-$3" "${@:4}"
}

# compare TASK OPTION...: by 1, 2 and 3. The first update's running mean is its gradient, times a number.
compare() {
    local n first=checkpoint-000000001/mean.safetensors
    task=$1
    shift
    for n in 1 2 3; do
        updates 1 $n $n "$@"
        updates 8 $n $n "$@"
        python3 near.py $GRADIENT "$task-1/$first" "$task-$n/$first" || fail "$task: gradients by $n processes are not those of one"
        python3 near.py $LOSS "$task-1/metrics.jsonl" "$task-$n/metrics.jsonl" || fail "$task: losses by $n are not those of one"
    done
    updates 2 1 mixed "$@"
    updates 5 3 mixed "$@"
    updates 8 2 mixed "$@"
    python3 near.py $LOSS "$task-1/metrics.jsonl" "$task-mixed/metrics.jsonl" || fail "$task: a run by 1, 3, then 2 is not that of one"
    updates 8 2 again "$@"
    cmp "$task-2/model.safetensors" "$task-again/model.safetensors" || fail "$task: two processes do not repeat to the bit"
    echo "$task: the same by 1, 2 and 3"
}

quiet atelier-emoji --limit 90 --size 32 --noise --out tar:train.tar --heldout tar:none.tar
quiet atelier-filter --in tar:train.tar --out tar:kept.tar
quiet atelier-tokenize --train --vocab-size 300 --vocab vocab.json --in tar:kept.tar
compare dvae --data tar:kept.tar --kmeans 32 --hidden 8 --kl 2 --kl-steps 8 --tau-steps 8
atelier-filter --in tar:train.tar 2>err | atelier-tokenize --vocab vocab.json 2>>err |
    quiet atelier-encode --dvae dvae-1 --views 2 --out lmdb:codes
compare prior --data lmdb:codes --vocab vocab.json --dvae dvae-1 --layers 3 --heads 2 --micro 4 --caption-dropout 0.1
compare clip --data tar:kept.tar --vocab vocab.json --width 48 --layers 2

# Each process takes the GPU of its place on its host, counted round: three on the emulator's two, with its stand-in for NCCL.
build=$(dirname "$(command -v golden)")/..
mkdir libraries
ln -s "$(realpath "$build")"/{lib/libatelier-mpi.so,emulator/libatelier-nccl.so} libraries
# gpus N OPTION...: two updates by N into `gpus-N`; says the devices that were opened, in order
gpus() {
    ATELIER_LIBRARIES=$PWD/libraries ATELIER_CUDA_LIBRARY=$build/emulator/libatelier-cuda.so ATELIER_EMULATOR_LOG=1 ATELIER_EMULATOR_DEVICES=2 \
        quiet by "$1" atelier-trainer prior --preset demo --pictures-every 0 --batch 3 --steps 2 --precision fp32 --layers 1 --heads 2 \
        --data lmdb:codes --vocab vocab.json --dvae dvae-1 --run "gpus-$1" "${@:2}"
    sed -n 's/^emulator: device //p' err | sort | tr -d '\n'
}
[ "$(gpus 1 --device cuda:1)" = 1 ] || fail "cuda:1 is not device 1: $(cat err)"
for device in auto cuda; do
    rm -rf gpus-3
    [ "$(gpus 3 --device $device)" = 001 ] || fail "--device $device: not one GPU each: $(cat err)"
    python3 near.py $LOSS gpus-1/metrics.jsonl gpus-3/metrics.jsonl || fail "losses of three on GPUs are not those of one"
done
echo "a GPU each: the same by 1 and 3"

# begin N OPTION...: a long run by N into `long`, in the background as $mpirun, until it has made updates
begin() {
    rm -rf long
    mpirun --oversubscribe --bind-to none -n "$@" atelier-trainer clip --preset demo --pictures-every 0 --checkpoint-every 1000000 \
        --steps 1000000 --batch 8 --run long --data tar:kept.tar --vocab vocab.json --width 48 --layers 2 >out 2>err &
    mpirun=$!
    for _ in $(seq 1000); do
        [ "$(cat long/metrics.jsonl 2>/dev/null | wc -l)" -lt 3 ] || return 0
        sleep 0.1
    done
    kill $mpirun
    fail "no update in 100 s: $(cat err)"
}

# ended SECONDS CODE: the long run ends by itself, with that exit code
ended() {
    local code=0 i
    for ((i = 0; i < 10 * $1; i++)); do
        kill -0 $mpirun 2>/dev/null || break
        sleep 0.1
    done
    ! kill -9 $mpirun 2>/dev/null || fail "still there after $1 s: $(cat err)"
    wait $mpirun || code=$?
    [ $code = "$2" ] || fail "exit $code, not $2: $(cat err)"
}

# stopped: the long run has a checkpoint of its last update, and goes on from it by another number
stopped() {
    local last
    last=$(sed -n '$s/{"step": \([0-9]*\),.*/\1/p' long/metrics.jsonl)
    [ -f "$(printf long/checkpoint-%09d/state.json "$last")" ] || fail "no checkpoint of step $last: $(ls long): $(cat err)"
    expect 0 "goes on from step $last" by 2 atelier-trainer clip --preset demo --pictures-every 0 --steps $((last + 2)) --batch 8 \
        --run long --data tar:kept.tar --vocab vocab.json --width 48 --layers 2
}

begin 3
kill -USR1 $mpirun
ended 60 0
stopped
# mpirun waits so many seconds after a SIGTERM before it kills, 1 unless told otherwise, and ends with 1.
begin 2 --mca odls_base_sigkill_timeout 5
kill -TERM $mpirun
ended 60 1
stopped
echo "signals to mpirun stop all, with a checkpoint"

begin 3
kill -9 "$(pgrep -P $mpirun -n)"
ended 20 137
grep -q "exited on signal 9" err || fail "nothing said of a killed process: $(cat err)"
echo "a killed process ends the others"

# What one process alone meets ends all with its error and exit code.
cp kept.tar bad.tar
echo "a broken picture" | tee zz.png >zz.txt
tar -rf bad.tar zz.png zz.txt
small=(atelier-trainer clip --preset demo --pictures-every 0 --steps 100 --batch 8 --vocab vocab.json --width 48 --layers 2)
expect 65 "(bad.tar/zz): picture" by 3 "${small[@]}" --data tar:bad.tar --run bad
expect 2 "8 samples are computed together" by 9 "${small[@]}" --data tar:kept.tar --run few
expect 2 "all must see the same data" by 2 bash -c '"$@" --data "tar:$([ $OMPI_COMM_WORLD_RANK = 0 ] && echo kept || echo bad).tar"' - \
    "${small[@]}" --run other
expect 2 "ATELIER_CPU" by 2 bash -c '[ $OMPI_COMM_WORLD_RANK = 0 ] || export ATELIER_CPU=plain; "$@"' - "${small[@]}" \
    --data tar:kept.tar --run mixed
ATELIER_LIBRARIES=/nowhere expect 2 "/nowhere/libatelier-mpi.so" by 2 "${small[@]}" --data tar:kept.tar --run without
expect 75 "another trainer is at work" flock long/.lock mpirun --oversubscribe -n 2 "${small[@]}" --data tar:kept.tar --run long
echo "refused with the reason"
