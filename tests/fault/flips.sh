#!/usr/bin/env bash
# Bits of a store flip, its files are cut: `store verify` finds it or nothing is lost, and no command crashes (flips.py).
#   flips.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || { echo "flips: no python3, nothing done"; exit 0; }
# Small values, values with codes, values on pages of their own, rejects.
awk 'BEGIN {
    for (i = 0; i < 1500; i++) {
        printf "{\"caption\":\"caption number %d\"", i
        if (i % 13 == 5) { printf ",\"codes\":["; for (j = 0; j < 1024; j++) printf "%s%d", j ? "," : "", (i * 31 + j * 17) % 8192; printf "]" }
        if (i % 101 == 7) { printf ",\"image\":\""; for (j = 0; j < 3000; j++) printf "%04x", (i * 7 + j * 4099) % 65536; printf "\"" }
        if (i % 17 == 3) printf ",\"reject\":\"language: fr\""
        print "}"
    }
}' >input.jsonl
"$bin/atelier-store" import whole --in jsonl:input.jsonl 2>import.log || fail "$(cat import.log)"
(cat input.jsonl && head -n 300 input.jsonl) >more.jsonl
python3 "$root/tests/fault/flips.py" "$bin/atelier-store" "${1:-40}" "${2:-1}" ${3:-} || fail "flips"
