#!/usr/bin/env bash
# tests/bench/bench_encode.sh [PHOTOGRAPHS]: a dVAE of the released size with random weights, and a small one, ours beside dall_e on PyTorch where
# PYTHON (python3) has them (pip install torch pillow; pip install --no-deps DALL-E). PHOTOGRAPHS: Debian's mate-backgrounds.
set -eu
cd "$(dirname "$0")/../.."
photographs=${1:-/usr/share/backgrounds/mate} build=${BUILD:-build} python=${PYTHON:-python3}
"$python" -c 'import torch, dall_e, PIL' 2>/dev/null || { echo "bench_encode: $python has no torch, dall_e and PIL, nothing measured"; exit 0; }
[ -d "$photographs" ] || { echo "bench_encode: no photographs in $photographs (mate-backgrounds), nothing measured"; exit 0; }
export OMP_WAIT_POLICY=passive PYTHONWARNINGS=ignore
"$python" tests/bench/bench_encode.py "$build/bin/bench-encode" "$photographs" 256 1 4
"$python" tests/bench/bench_encode.py "$build/bin/bench-encode" "$photographs" 32 1 4 16
