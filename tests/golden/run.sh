#!/usr/bin/env bash
# Golden vectors through every table that this CPU runs, and through CUDA's on the emulator; photographs and texts too
# where ../shared is.
set -eu
golden=${BIN:-build/bin}/golden
export OMP_WAIT_POLICY=passive
files=(tests/golden/vectors/*)
for extra in ../shared/golden/photos/*.safetensors ../shared/golden/text/bpe_expected.jsonl; do
    [ -e "$extra" ] && files+=("$extra")
done
for table in plain avx2 avx512; do
    if [ $table != plain ] && ! grep -qw "${table/avx512/avx512f}" /proc/cpuinfo; then continue; fi
    echo "table $table"
    ATELIER_CPU=$table "$golden" "${files[@]}"
done
echo "table cuda, on the emulator"
ATELIER_DEVICE=cuda ATELIER_CUDA_LIBRARY=${BIN:-build/bin}/../emulator/libatelier-cuda.so \
    "$golden" tests/golden/vectors/{dvae,prior,prior_greedy,clip,clip_train}.safetensors
