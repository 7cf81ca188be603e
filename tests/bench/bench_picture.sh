#!/usr/bin/env bash
# tests/bench/bench_picture.sh [DVAE [SIDE]]: where a picture's time goes in encode: Debian's mate-backgrounds photographs, and the same at 400 pixels where PYTHON
# (python3) has Pillow. DVAE: what `make demo` trained.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build} python=${PYTHON:-python3} photographs=/usr/share/backgrounds/mate/nature
dvae=${1:-build/demo/dvae/model.safetensors} side=${2:-256}
[ -e "$dvae" ] || { echo "bench_picture: no dVAE in $dvae, nothing measured"; exit 0; }
[ -d "$photographs" ] || { echo "bench_picture: no photographs in $photographs (mate-backgrounds), nothing measured"; exit 0; }
export OMP_WAIT_POLICY=passive
echo "photographs of 1.3 to 4.9 MP: $("$build/bin/bench-picture" "$dvae" "$side" "$photographs"/*.jpg)"
"$python" -c 'import PIL' 2>/dev/null || exit 0
small=$(mktemp -d)
trap 'rm -rf "$small"' EXIT
"$python" - "$small" "$photographs"/*.jpg <<'END'
import os, sys
from PIL import Image

for path in sys.argv[2:]:
    im = Image.open(path).convert("RGB")
    im.thumbnail((600, 400))
    im.save(os.path.join(sys.argv[1], os.path.basename(path)), quality=90)
END
echo "the same, at most 600x400:    $("$build/bin/bench-picture" "$dvae" "$side" "$small"/*.jpg)"
