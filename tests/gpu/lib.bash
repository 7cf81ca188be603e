# Shared by check.sh and bench.sh: builds what they run and looks for a device. $programs, $name and $started are set.
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
programs=$BUILD/gpu
started=$SECONDS
export OMP_WAIT_POLICY=passive PATH=$PATH:/usr/local/cuda/bin
mkdir -p "$programs"

# skip REASON: ends as drivers of tests take it.
skip() {
    echo "skipped: $1"
    exit 77
}

# build TARGETS...: a compiler that the sources have not met may warn; libraries beside libc are not asked for.
build() {
    make -s --no-print-directory -j"$(nproc)" BUILD="$BUILD" PKG_CFLAGS= WARN=-Werror=implicit-function-declaration NVCC_WARN=-w "$@"
}

# seconds_left MOST: of the time until $end, but no more than that.
seconds_left() {
    local left=$((end - SECONDS))
    [ $left -lt "$1" ] || left=$1
    [ $left -gt 0 ] || left=1
    echo $left
}

if [ -n "${ATELIER_CUDA_LIBRARY:-}" ]; then
    name="$ATELIER_CUDA_LIBRARY" # of another place: the emulator's, say
    build gpu-programs
else
    export ATELIER_CUDA_LIBRARY=$BUILD/lib/libatelier-cuda.so
    command -v nvcc >/dev/null || skip "no nvcc, which builds the kernels, on the path or in /usr/local/cuda/bin"
    nvcc -w -o "$programs/device" tests/gpu/device.cu
    name=$("$programs/device" 2>&1) || skip "no GPU answers here: $name"
    build cuda gpu-programs
fi
echo "device: $name; built in $((SECONDS - started)) s"
