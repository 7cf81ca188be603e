#!/usr/bin/env bash
# CUDA's kernels, run by the emulator, in the programs: training in each precision beside the CPU's, a plan of the memory,
# sampling, and what is said where there is no device.
. "$(dirname "$0")/lib.bash"

expect 2 "use --device cpu" env ATELIER_CUDA_LIBRARY=/nonexistent atelier-sampler --device cuda --model none --in jsonl:- --out jsonl:-
export ATELIER_CUDA_LIBRARY=$(dirname "$(command -v golden)")/../emulator/libatelier-cuda.so

small_models
# losses RUN OPTION...: of six updates of a small prior
losses() {
    quiet atelier-trainer prior --preset demo --layers 4 --heads 2 --head-dim 32 --batch 2 --steps 6 --warmup 0 --pictures-every 0 \
        --data lmdb:codes --vocab vocab.json --dvae dvae --run "$1" "${@:2}"
    sed 's/.*"loss": \([0-9.]*\),.*/\1/' "$1/metrics.jsonl"
}
# near NAME LIMIT: the losses of a run differ from the CPU's by at most so much
near() {
    paste cpu.losses "$1.losses" | awk -v limit="$2" '{ d = $1 - $2; if (d < 0) d = -d; if (d > limit || NF != 2) bad = 1 } END { exit bad || NR != 6 }' ||
        fail "losses of $1: $(paste cpu.losses "$1.losses")"
}
losses cpu >cpu.losses
losses bf16 --device cuda >bf16.losses
losses fp16 --device cuda --precision fp16 >fp16.losses
# bf16 keeps 8 bits and fp16 11, of about a nat of logits, over thousands of them.
near bf16 0.02
near fp16 0.005
losses again --device cuda --recompute 1 >again.losses
cmp bf16.losses again.losses || fail "activations that are computed again change the losses"
cmp bf16/model.safetensors again/model.safetensors || fail "activations that are computed again change the model"

losses halves --device cuda --precision fp16 --steps 3 --lr-steps 6 >/dev/null
losses halves --device cuda --precision fp16 --lr-steps 6 >/dev/null
cmp fp16/model.safetensors halves/model.safetensors || fail "an fp16 run that stopped does not go on as if it had not"

# Scales under which every gradient inside a block overflows: its updates are left out until they have fallen, the others' are not.
losses high --device cuda --precision fp16 --steps 1 --lr-steps 6 >/dev/null
sed -i 's/"scales": .*/"scales": [[1e12, 0]'"$(printf ', [1e12, 0]%.0s' {2..8})"']}/' high/checkpoint-*/state.json
losses high --device cuda --precision fp16 --steps 2 --lr-steps 6 >/dev/null
tail -n 1 high/metrics.jsonl | awk -F '"norm": ' '{ exit !($2 + 0 > 0 && $2 + 0 < 1e6) }' || fail "an overflow leaves its block: $(tail -n 1 high/metrics.jsonl)"
grep -q '"scales": \[\[7.07106' "$(ls -d high/checkpoint-* | tail -n 1)/state.json" || fail "an overflow leaves its scale as it is"

# planned TASK OPTION...: what a plan says is what the emulated device has given out at most, within a twentieth of the tensors
# and the plan's last digit
planned() {
    local plan used
    quiet atelier-trainer "$1" --preset demo --steps 1 --pictures-every 0 --device cuda --run planned --plan 1 "${@:2}"
    plan=$(grep -o 'memory: .* GiB = weights.*' err) || fail "no plan: $(cat err)"
    ATELIER_EMULATOR_LOG=1 quiet atelier-trainer "$1" --preset demo --steps 1 --pictures-every 0 --device cuda --run "planned-$1" "${@:2}"
    grep -qF "$plan" err || fail "another plan where it is used: $plan: $(cat err)"
    used=$(sed -n 's/^emulator: \([0-9]*\) bytes at most/\1/p' err)
    awk -v plan="$plan" -v used="$used" 'BEGIN {
        split(plan, word, " "); total = word[2]; own = word[length(word)]
        d = used / 1024 ^ 3 - total; if (d < 0) d = -d
        exit !(d <= 0.05 * (total - own) + 0.001) }' || fail "$1: $used bytes in use, but the plan is $plan"
}
planned prior --batch 3 --layers 3 --heads 4 --head-dim 64 --data lmdb:codes --vocab vocab.json --dvae dvae
planned clip --batch 24 --layers 2 --data tar:kept.tar --vocab vocab.json
planned clip --batch 8 --layers 1 --precision fp32 --data tar:kept.tar --vocab vocab.json --run planned-wide
planned dvae --batch 2 --side 32 --codes 512 --hidden 8 --kmeans 0 --data tar:kept.tar
expect 2 "the CPU computes in fp32 alone" atelier-trainer prior --preset demo --data lmdb:codes --vocab vocab.json --dvae dvae --run refused --precision bf16

echo '{"caption": "a red heart"}' >captions.jsonl
quiet atelier-sampler --device cuda --model bf16 -n 3 --batch 4 --seed 1 --in jsonl:captions.jsonl --out jsonl:once.jsonl
quiet atelier-sampler --device cuda --model bf16 -n 3 --batch 4 --seed 1 --in jsonl:captions.jsonl --out jsonl:twice.jsonl
cmp once.jsonl twice.jsonl || fail "sampling on CUDA does not repeat"
[ "$(wc -l <once.jsonl)" = 3 ] || fail "no three candidates"
echo "CUDA, on the emulator: training in bf16 and fp16, a plan that is kept to, sampling"
