#!/usr/bin/env bash
# Each trainer, killed at random moments and started again, ends with the bytes of a run that nobody killed.
set -eu
bin=${BIN:-build/bin} dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export OMP_WAIT_POLICY=passive
atelier=$bin/atelier

$atelier emoji --limit 90 --size 32 --out "tar:$dir/train.tar" --heldout "tar:$dir/heldout.tar" 2>/dev/null
$atelier tokenize --train --vocab-size 300 --vocab "$dir/vocab.json" --in "tar:$dir/train.tar" 2>/dev/null

# train NAME TASK OPTION...: one run into DIR/NAME, in place of the (sub)shell, so that a kill hits it
train() {
    local name=$1 task=$2
    shift 2
    exec "$bin/atelier-trainer" "$task" --preset demo --checkpoint-every 5 --pictures-every 0 --run "$dir/$name" "$@" 2>>"$dir/log"
}

# compare TASK OPTION...: an uninterrupted run beside one that is killed three times
compare() {
    local task=$1
    shift
    (train "$task-whole" "$task" "$@")
    for _ in 1 2 3; do
        train "$task-cut" "$task" "$@" &
        sleep "0.$((RANDOM % 8 + 1))"
        kill -9 $! 2>/dev/null || true
        wait $! 2>/dev/null || true
    done
    (train "$task-cut" "$task" "$@")
    for file in model.safetensors checkpoint-000000040/{weights,mean,variance}.safetensors; do
        cmp "$dir/$task-whole/$file" "$dir/$task-cut/$file"
    done
    [ "$(wc -l <"$dir/$task-cut/metrics.jsonl")" = 40 ]
    cmp <(sed 's/, "seconds.*//' "$dir/$task-whole/metrics.jsonl") <(sed 's/, "seconds.*//' "$dir/$task-cut/metrics.jsonl")
    echo "$task: the same bytes"
}

compare dvae --steps 40 --data "tar:$dir/train.tar" --kmeans 32 --hidden 8 --batch 8
$atelier tokenize --vocab "$dir/vocab.json" --in "tar:$dir/train.tar" 2>/dev/null |
    $atelier encode --dvae "$dir/dvae-whole" --views 2 --out "lmdb:$dir/codes" 2>/dev/null
compare prior --steps 40 --data "lmdb:$dir/codes" --vocab "$dir/vocab.json" --dvae "$dir/dvae-whole" --layers 3 --heads 2 \
    --batch 8 --micro 4
compare clip --steps 40 --data "tar:$dir/train.tar" --vocab "$dir/vocab.json" --width 48 --layers 2 --batch 8
