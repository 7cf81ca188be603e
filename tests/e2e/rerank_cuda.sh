#!/usr/bin/env bash
# atelier-rerank on CUDA, run by the emulator: scores near the CPU's, the same however many candidates there are.
. "$(dirname "$0")/lib.bash"
export ATELIER_CUDA_LIBRARY=$(dirname "$(command -v golden)")/../emulator/libatelier-cuda.so
python=$(command -v python3) || { echo "no python3"; exit 77; }

quiet atelier-emoji --limit 40 --size 16 --out tar:all.tar --heldout tar:none.tar
quiet atelier-filter --in tar:all.tar --out jsonl:good.jsonl
quiet atelier-tokenize --train --vocab-size 300 --vocab vocab.json --in tar:all.tar
train clip --width 48 --layers 2 --data tar:all.tar --vocab vocab.json
"$python" - <<'EOF'
import json
rows = [json.loads(line) for line in open("good.jsonl")][:6]
for i, row in enumerate(rows):
    row.update(caption="a red heart", candidate=i)
rows[3]["image"] = "AAAA"
for name, part in (("six", rows), ("three", rows[:3])):
    open(name + ".jsonl", "w").write("".join(json.dumps(row) + "\n" for row in part))
EOF
quiet atelier-rerank --clip clip --in jsonl:six.jsonl --out jsonl:cpu.jsonl
for n in six three; do quiet atelier-rerank --clip clip --device cuda --in jsonl:$n.jsonl --keep-rejects --out jsonl:cuda_$n.jsonl; done
"$python" - <<'EOF' || fail "scores: $(cut -c 1-100 cuda_six.jsonl)"
import json
def scores(name):
    return {r["candidate"]: r["score"] for r in map(json.loads, open(name + ".jsonl")) if "reject" not in r}
cpu, six, three = scores("cpu"), scores("cuda_six"), scores("cuda_three")
assert set(six) == set(cpu) == {0, 1, 2, 4, 5}
assert three == {c: six[c] for c in (0, 1, 2)}, (three, six)
spread = max(cpu.values()) - min(cpu.values())
assert all(abs(six[c] - cpu[c]) < 0.1 * spread for c in cpu), (six, cpu)
EOF
echo "CUDA, on the emulator: scores"
