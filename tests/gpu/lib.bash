# Shared by check.sh and bench.sh: builds what they run and looks for a device. $programs, $name and $started are set.
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
programs=$BUILD/gpu
started=$SECONDS
export OMP_WAIT_POLICY=passive PATH=$PATH:/usr/local/cuda/bin
mkdir -p "$BUILD"

# skip REASON: ends as drivers of tests take it.
skip() {
    echo "skipped: $1"
    exit 77
}

if [ -n "${ATELIER_CUDA_LIBRARY:-}" ]; then
    name="$ATELIER_CUDA_LIBRARY" # of another place: the emulator's, say
else
    export ATELIER_CUDA_LIBRARY=$BUILD/lib/libatelier-cuda.so
    name=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) || true
    [ -n "$name" ] || skip "no GPU answers here (nvidia-smi names none)"
    make -s --no-print-directory -j"$(nproc)" BUILD="$BUILD" cuda
    [ -e "$ATELIER_CUDA_LIBRARY" ] || skip "no CUDA library: nvcc is missing"
fi
make -s --no-print-directory -j"$(nproc)" BUILD="$BUILD" PKG_CFLAGS= gpu-programs
echo "device: $name; built in $((SECONDS - started)) s"
