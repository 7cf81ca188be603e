# Sourced by the tests here: the programs on the path, a directory that goes away, what fails a test, the smallest models.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
repository=$PWD
PATH=$(realpath "${BIN:-build/bin}"):$PATH
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export OMP_WAIT_POLICY=passive
cd "$dir"

fail() {
    echo "FAIL: $*"
    exit 1
}

# expect CODE TEXT COMMAND...: the exit code, and the text somewhere on stderr; leaves `out` and `err`
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$@" >out 2>err </dev/null || got=$?
    [ "$got" = "$code" ] || fail "exit $got, not $code: $*: $(cat err)"
    grep -qF -- "$text" err || fail "no '$text' from $*: $(cat err)"
}

# quiet COMMAND...: it succeeds; what it says is shown only if not
quiet() {
    "$@" 2>err || fail "exit $?: $*: $(cat err)"
}

# valid_json FILE: where there is a Python to ask
valid_json() {
    command -v python3 >/dev/null || return 0
    python3 -m json.tool "$1" >/dev/null || fail "$1: no JSON: $(cat "$1")"
}

# A few drawings with noise among them (train.tar), without (kept.tar), the last five (last.tar); a dVAE, a prior and a
# CLIP that have seen next to nothing (dvae, prior, clip), and the store (codes).
small_models() {
    quiet atelier-emoji --limit 50 --size 32 --noise --out tar:train.tar --heldout tar:none.tar
    quiet atelier-filter --in tar:train.tar --out tar:kept.tar
    quiet atelier-filter --in tar:kept.tar --from 45 --out tar:last.tar
    quiet atelier-tokenize --train --vocab-size 300 --vocab vocab.json --in tar:kept.tar
    train dvae --kmeans 32 --hidden 8 --data tar:kept.tar
    atelier-filter --in tar:train.tar 2>err | atelier-tokenize --vocab vocab.json 2>>err |
        quiet atelier-encode --dvae dvae --out lmdb:codes
    train prior --layers 3 --heads 2 --data lmdb:codes --vocab vocab.json --dvae dvae
    train clip --width 48 --layers 2 --data tar:kept.tar --vocab vocab.json
}

train() {
    quiet atelier-trainer "$1" --preset demo --steps 4 --batch 4 --pictures-every 0 --run "$1" "${@:2}"
}
