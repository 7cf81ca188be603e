#!/bin/sh
# Checks our files with Python's safetensors and tokenizers, in a virtual environment outside the tree.
#   tests/interchange/run.sh [BUILD]      0: the same, 77: skipped (it says why), else: they differ
# ATELIER_VENV names an environment to use; it is made where it is absent.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${1:-build}
venv=${ATELIER_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/atelier-venv}

skip() {
    echo "interchange: skipped: $1" >&2
    exit 77
}

for program in "$build/libcommon.a" "$build/bin/atelier-tokenize"; do
    [ -e "$program" ] || skip "$program is not built"
done
if ! "$venv/bin/python" -c 'import numpy, safetensors, tokenizers' 2>/dev/null; then
    python3 -m venv "$venv" 2>/dev/null || skip "python3 has no venv module (apt-get install python3-venv)"
    "$venv/bin/pip" install -q --timeout 20 --retries 1 numpy safetensors tokenizers >/dev/null 2>&1 ||
        skip "pip cannot install numpy, safetensors and tokenizers: is PyPI out of reach?"
fi

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
gcc -O1 -D_GNU_SOURCE -I. tests/interchange/copy_weights.c "$build/libcommon.a" -ljansson -lz -lm \
    -o "$scratch/copy_weights" || exit 1
"$venv/bin/python" tests/interchange/check.py "$scratch/copy_weights" "$build/bin/atelier-tokenize" "$scratch"
