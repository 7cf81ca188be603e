#!/usr/bin/env bash
# tests/bench/bench_jpeg.sh [FILE...]: JPEG files (Debian's mate-backgrounds) to 256x256, ours beside OpenCV's where PYTHON (python3) has it
# (pip install opencv-python-headless).
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build} python=${PYTHON:-python3}
[ $# -gt 0 ] || mapfile -t found < <(find /usr/share/backgrounds/mate -name '*.jpg' 2>/dev/null | sort)
[ $# -gt 0 ] || set -- ${found[@]+"${found[@]}"}
[ $# -gt 0 ] || { echo "bench_jpeg: no photographs (mate-backgrounds), nothing measured"; exit 0; }
if "$python" -c 'import cv2' 2>/dev/null; then
    "$python" tests/bench/bench_jpeg.py "$build/bin/bench-jpeg" "$@"
else
    echo "bench_jpeg: $python has no cv2: ours alone, whole and reduced, seconds for $# pictures"
    printf 'w\nr\n' | "$build/bin/bench-jpeg" 256 "$@"
fi
