#!/usr/bin/env bash
# atelier-encode: order, the same codes however it runs, an end by a signal, --skip-done, reconstructions beside their originals.
. "$(dirname "$0")/lib.bash"

quiet atelier-emoji --limit 60 --size 64 --out tar:all.tar --heldout tar:none.tar
train dvae --kmeans 32 --hidden 8 --data tar:all.tar
quiet atelier-filter --in tar:all.tar --out jsonl:good.jsonl

# Rejects of its own, of stages before and of the source keep their places between pictures.
python=$(command -v python3) || { echo "no python3"; exit 77; }
"$python" - <<'EOF'
import json
rows = [json.loads(line) for line in open("good.jsonl")][:24]
for i, row in enumerate(rows):
    if i % 5 == 1:
        row["image"] = "AAAA"
    if i % 5 == 3:
        del row["image"]
        row["reject"] = "language: fr"
open("mixed.jsonl", "w").write("".join(json.dumps(row) + "\n" for row in rows))
EOF
quiet atelier-encode --dvae dvae --in jsonl:mixed.jsonl --keep-rejects --out jsonl:coded.jsonl
"$python" - <<'EOF' || fail "order or rejects: $(cut -c 1-200 coded.jsonl | head -n 5)"
import json
rows = [json.loads(line) for line in open("coded.jsonl")]
assert [r["id"] for r in rows] == list(range(24)), [r["id"] for r in rows]
for i, r in enumerate(rows):
    assert ("codes" in r) == (i % 5 not in (1, 3)), i
    assert r.get("reject", "").startswith({1: "image:", 3: "language:"}.get(i % 5, "")), r
EOF

# One record at a time, one thread, three: the same codes.
while IFS= read -r line; do
    printf '%s\n' "$line" >one.jsonl
    quiet atelier-encode --dvae dvae --in jsonl:one.jsonl --out jsonl:one.out
    sed 's/.*"codes"/"codes"/' one.out
done < <(head -n 3 good.jsonl) >alone
head -n 3 good.jsonl >three.jsonl
for threads in 1 3; do
    quiet atelier-encode --dvae dvae --threads "$threads" --in jsonl:three.jsonl --out jsonl:three.out
    sed 's/.*"codes"/"codes"/' three.out | cmp - alone || fail "codes depend on neighbours or $threads threads"
done

quiet atelier-encode --dvae dvae --views 2 --in jsonl:three.jsonl --out jsonl:views.out
"$python" - <<'EOF' || fail "two views, one crop"
import json
codes = [json.loads(line)["codes"] for line in open("views.out")]
assert any(c[: len(c) // 2] != c[len(c) // 2 :] for c in codes)
EOF

# A signal loses nothing: what was stored goes on where it stood, and only the rest is encoded again.
for _ in 1 2 3 4 5 6 7 8; do cat good.jsonl; done >many.jsonl
quiet atelier-encode --dvae dvae --in jsonl:many.jsonl --out lmdb:whole
mkfifo pipe
atelier-encode --dvae dvae --in jsonl:pipe --out lmdb:cut 2>err &
encoder=$!
exec 7>pipe
head -n 50 many.jsonl >&7
for _ in $(seq 8); do
    [ "$(atelier-store cursor cut 2>/dev/null || echo 0)" -lt 47 ] || break
    sleep 0.2
done
kill -TERM "$encoder"
wait "$encoder" || fail "exit $? after SIGTERM: $(cat err)"
exec 7>&-
done_before=$(atelier-store cursor cut)
[ "$done_before" = 50 ] || fail "$done_before of 50 records stored at SIGTERM"
quiet atelier-encode --dvae dvae --skip-done --stats stats.json --in jsonl:many.jsonl --out lmdb:cut
grep -q "\"done before\": *$done_before" stats.json || fail "--skip-done: $(cat stats.json)"
cmp <(atelier-store cat whole) <(atelier-store cat cut) || fail "a run cut in two stored something else"

# Nothing is held back while a link has nothing more to give.
mkfifo pause
atelier-filter --in jsonl:pause --out "bind+ipc://$dir/link" --batch 2 2>filter.err &
feeder=$!
atelier-encode --dvae dvae --in "ipc://$dir/link" --out lmdb:paused 2>err &
encoder=$!
exec 7>pause
head -n 6 mixed.jsonl >&7
for _ in $(seq 100); do
    [ "$(atelier-store cursor paused 2>/dev/null || echo 0)" -lt 6 ] || break
    sleep 0.2
done
[ "$(atelier-store cursor paused)" = 6 ] || fail "$(atelier-store cursor paused) of 6 records stored while the link pauses: $(cat err)"
tail -n +7 mixed.jsonl >&7
exec 7>&-
wait "$feeder" || fail "exit $? of the feeder: $(cat filter.err)"
wait "$encoder" || fail "exit $?: $(cat err)"
atelier-filter --in jsonl:mixed.jsonl 2>filter.err | quiet atelier-encode --dvae dvae --out lmdb:unpaused
cmp <(atelier-store cat paused) <(atelier-store cat unpaused) || fail "another result over a link that pauses"

# The same into a pipe, whose other end keeps the store; the first run finds none.
for part in 50 1000; do
    head -n "$part" many.jsonl | quiet atelier-encode --dvae dvae --skip-done=piped --stats stats.json --in jsonl:- --out - |
        quiet atelier-store import piped --in -
done
grep -q '"done before": *50' stats.json || fail "--skip-done=STORE: $(cat stats.json)"
cmp <(atelier-store cat whole) <(atelier-store cat piped) || fail "a run cut in two stored something else through a pipe"
mkdir making
touch making/meta.json.1.tmp # as the other end leaves it for a moment
quiet atelier-encode --dvae dvae --skip-done=making --in jsonl:three.jsonl --out jsonl:fresh.jsonl
[ "$(wc -l <fresh.jsonl)" = 3 ] || fail "a store that is just being made: $(cat err)"
expect 2 "--skip-done=STORE" atelier-encode --dvae dvae --skip-done --out jsonl:-
expect 65 "--skip-done" atelier-encode --dvae dvae --skip-done=dvae --out -

# Reconstructions: a score each, their mean, the original at the left.
quiet atelier-encode --dvae dvae --reconstruct --beside --in jsonl:three.jsonl --out jsonl:pairs.jsonl
grep -q 'mean PSNR [0-9.]* dB over 3 pictures' err || fail "no PSNR: $(cat err)"
"$python" - <<'EOF' || fail "no pairs"
import base64, json, struct
for line in open("pairs.jsonl"):
    r = json.loads(line)
    w, h = struct.unpack(">II", base64.b64decode(r["image"])[16:24])
    assert w == 2 * h and 3 < r["score"] < 60, (w, h, r["score"])
EOF
expect 2 "--beside is for --reconstruct" atelier-encode --dvae dvae --beside
expect 2 "--views 1024" atelier-encode --dvae dvae --side 512 --views 1024
