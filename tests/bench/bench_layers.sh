#!/usr/bin/env bash
# tests/bench/bench_layers.sh: each layer of a dVAE's encoder of the released size, and of a small one, beside the roofline.
set -eu
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=passive
for hidden in 256 32; do "${BUILD:-build}/bin/bench-layers" $hidden; done
