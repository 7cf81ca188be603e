#!/usr/bin/env bash
# Each program on a tiny input under valgrind: no bad access, no uninitialised decision, nothing lost.
command -v valgrind >/dev/null || { echo 'valgrind is not installed'; exit 77; }
. "$(dirname "$0")/lib.bash"
# Two threads, so that what threads share is seen; valgrind has no AVX-512.
export OMP_NUM_THREADS=2 ATELIER_CPU=plain OPENBLAS_CORETYPE=Haswell
! grep -qw avx2 /proc/cpuinfo || ATELIER_CPU=avx2
options="-q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite \
    --suppressions=$repository/tests/valgrind.supp"

# check CODE PROGRAM OPTION...: its exit code and what valgrind says
check() {
    local code=$1 got=0
    shift
    valgrind $options --log-file=valgrind.log "$(command -v "$1")" "${@:2}" >out 2>err || got=$?
    [ $got = "$code" ] || fail "exit $got: $*: $(cat err valgrind.log)"
}
# A shard's map, of 256 GiB, is more than valgrind gives; it is less where address space is limited.
check_store() {
    (ulimit -v 64000000 && check "$@")
}
train() {
    check 0 atelier-trainer "$1" --preset demo --batch 2 --steps 2 --checkpoint-every 1 --pictures-every 0 --run "$1" "${@:2}"
}

check 0 atelier-emoji --limit 8 --size 32 --noise --out tar:train.tar --heldout tar:none.tar
for damage in 1000 20000 40000; do
    head -c $damage train.tar >cut-$damage.tar
done
printf '{"caption":"\xff","image":"/9j/"}\n{"id":\n[]\n{"caption":"a house by the sea","extra":{"a":[1]}}\n' >odd.jsonl
check 0 atelier-filter --in tar:train.tar --decode --clean --out tar:kept.tar.gz --rejects rejects --stats stats
check 0 atelier-filter --in 'tar:cut-{1000,20000,40000}.tar' --keep-rejects --out jsonl:cut.jsonl
check 0 atelier-filter --in jsonl:odd.jsonl --explain
check 2 atelier-filter --in ftp:x
check 0 atelier-tokenize --train --vocab-size 280 --vocab vocab.json --in tar:kept.tar.gz
check 65 atelier-tokenize --vocab train.tar --in jsonl:odd.jsonl
check_store 0 atelier-tokenize --vocab vocab.json --in tar:kept.tar.gz --out lmdb:tokens
train dvae --kmeans 4 --hidden 4 --init-width 4 --codes 16 --data tar:kept.tar.gz
check 0 atelier-encode --dvae dvae --reconstruct --views 2 --in tar:kept.tar.gz --out dir:seen
check 65 atelier-encode --dvae vocab.json --in jsonl:odd.jsonl
check_store 0 atelier-encode --dvae dvae --in lmdb:tokens --out jsonl:codes.jsonl
check_store 0 atelier-store import codes --in jsonl:codes.jsonl
train prior --layers 3 --heads 2 --head-dim 4 --text-len 8 --micro 1 --data jsonl:codes.jsonl --vocab vocab.json --dvae dvae
train clip --width 12 --text-width 12 --layers 1 --text-layers 1 --data tar:kept.tar.gz --vocab vocab.json
echo 'a drawing of a house' >captions.txt
check 0 atelier-sampler --model prior --in text:captions.txt -n 3 --batch 2 --top-k 5 --top-p 0.9 --prime seen/000000000.png \
    --out jsonl:drawn.jsonl
check 0 atelier-rerank --clip clip --in jsonl:drawn.jsonl --top 2 --truth tar:kept.tar.gz --out dir:page
check 0 atelier-heldout --samples tar:kept.tar.gz --truth tar:kept.tar.gz --reconstructed dir:seen --set tar:kept.tar.gz
for command in cat stats digest; do
    check_store 0 atelier-store $command codes
done
check 65 atelier-store stats seen
