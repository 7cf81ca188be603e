#!/usr/bin/env bash
# tests/bench/flat_encode.sh [PICTURES]: encodes so many pictures (100,000: 500 crops of Debian's mate-backgrounds, baseline and progressive JPEG, PNG, WebP
# and some damaged, again and again) with a small dVAE and samples its memory: what is held at the end must be what was held after a tenth.
# PYTHON (python3) needs Pillow.
set -eu
cd "$(dirname "$0")/../.."
bin=$(realpath "${BUILD:-build}/bin") python=${PYTHON:-python3} pictures=${1:-100000} photographs=/usr/share/backgrounds/mate
"$python" -c 'import PIL' 2>/dev/null || { echo "flat_encode: $python has no PIL, nothing measured"; exit 0; }
[ -d "$photographs" ] || { echo "flat_encode: no photographs in $photographs (mate-backgrounds), nothing measured"; exit 0; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export OMP_WAIT_POLICY=passive
"$python" - "$photographs" "$tmp/500.tar" <<'END'
import glob, io, random, sys, tarfile
from PIL import Image

random.seed(1)
paths = sorted(path for path in glob.glob(sys.argv[1] + "/*/*.jpg") if "Elephants_" not in path)
whole = [Image.open(path).convert("RGB") for path in paths]
with tarfile.open(sys.argv[2], "w") as tar:
    for i in range(500):
        im = random.choice(whole)
        w, h = random.randint(70, 400), random.randint(70, 400)
        x, y = random.randint(0, im.width - w), random.randint(0, im.height - h)
        kind = "png" if i % 10 == 3 else "webp" if i % 10 == 7 else "jpg"
        data = io.BytesIO()
        im.crop((x, y, x + w, y + h)).save(data, {"jpg": "jpeg"}.get(kind, kind), **({"quality": 85, "progressive": i % 2} if kind == "jpg" else {}))
        data = data.getvalue()[: -1000 if i % 50 == 49 else None]
        for name, body in ((f"{i:03}.{kind}", data), (f"{i:03}.txt", b"a part of a photograph")):
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
END
"$bin/atelier-filter" --decode --in "tar:$tmp/500.tar" --out "tar:$tmp/whole.tar" 2> "$tmp/log"
"$bin/atelier-trainer" dvae --preset demo --hidden 8 --steps 2 --batch 4 --pictures-every 0 --data "tar:$tmp/whole.tar" --kmeans 32 --run "$tmp/dvae" 2> "$tmp/log" || { cat "$tmp/log"; exit 1; }
last=$((pictures / 500 - 1))
for i in $(seq 0 "$last"); do ln -s 500.tar "$tmp/part-$(printf %06d "$i").tar"; done
mkfifo "$tmp/codes"
"$bin/atelier-encode" --dvae "$tmp/dvae" --in "tar:$tmp/part-{000000..$(printf %06d "$last")}.tar" --keep-rejects --out jsonl:- > "$tmp/codes" 2> "$tmp/log" &
awk -v pid=$! -v pictures="$pictures" '
    function held(line, kb) { while ((getline line < status) > 0) if (split(line, kb) && kb[1] == "VmRSS:") rss = kb[2]; close(status); return rss }
    BEGIN { status = "/proc/" pid "/status" }
    /"reject"/ { rejects++ }
    NR == pictures / 100 || NR % (pictures / 10) == 0 { printf "%7d pictures, %5d rejects: %d KB\n", NR, rejects, now = held(); fflush() }
    NR == pictures / 10 { early = now }
    END { if (NR < pictures || now > 1.02 * early + 256) { print "flat_encode: not flat, or cut short"; exit 1 } }' < "$tmp/codes" || { tail -n 3 "$tmp/log"; exit 1; }
wait $! || { cat "$tmp/log"; exit 1; }
