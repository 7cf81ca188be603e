#!/usr/bin/env bash
# The main job from end to end: captioned pictures in, pictures that nobody drew out, with a page to look at.
#
#   pipelines/demo.sh demo [DIR]        twelve minutes on two cores: single people, 48x48
#   pipelines/demo.sh demo-full [DIR]   the whole emoji set at 64x64, for hours
#   pipelines/demo.sh check [DIR]       the same at its smallest, for the tests: a minute, pictures of no worth
#
# DIR (default build/demo, build/demo-full, build/check) is made anew, except that demo-full goes on where it was cut off.
set -euo pipefail
mode=${1:-demo} dir=${2:-build/${1:-demo}} bin=${BIN:-build/bin}
atelier=$bin/atelier
case $mode in
demo)
    emoji="--set people" words=512 candidates=24 shard=500 side=48
    dvae="--preset demo --minutes ${DVAE_MINUTES:-2.75}"
    prior="--preset demo --minutes ${PRIOR_MINUTES:-4.25}"
    clip="--preset demo --minutes ${CLIP_MINUTES:-0.75}"
    ;;
demo-full)
    emoji="--set all" words=4096 candidates=64 shard=1200 side=64
    dvae="--preset small --minutes ${DVAE_MINUTES:-90}"
    prior="--preset small --minutes ${PRIOR_MINUTES:-180}"
    clip="--preset small --minutes ${CLIP_MINUTES:-60}"
    ;;
check)
    emoji="--set people --limit 240" words=320 candidates=4 shard=80 side=48
    dvae="--preset demo --steps 60 --kmeans 64 --pictures-every 30"
    prior="--preset demo --steps 30 --pictures-every 15 --layers 3 --heads 2"
    clip="--preset demo --steps 30 --batch 16"
    ;;
*)
    echo "usage: demo.sh demo|demo-full|check [DIR]" >&2
    exit 2
    ;;
esac

[ "$mode" = demo-full ] || rm -rf "$dir"
mkdir -p "$dir"
begin=$SECONDS
step() { printf '\n[%d:%02d] %s\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)) "$*"; }

step "Drawing the picture set (Debian's emoji font, Unicode's names) into tar shards"
rm -rf "$dir/shards" && mkdir "$dir/shards"
$atelier emoji $emoji --noise --out "tar:$dir/shards/train-{000..003}.tar#records=$shard" --heldout "tar:$dir/shards/heldout.tar"

step "filter: what is fit to train on"
$atelier filter --in "tar:$dir/shards/train-{000..003}.tar" --out "tar:$dir/shards/kept.tar" \
    --stats "$dir/filter.json" --rejects "$dir/rejects.jsonl"

step "tokenize --train: a vocabulary of $words byte pairs"
$atelier tokenize --train --vocab-size $words --vocab "$dir/vocab.json" --in "tar:$dir/shards/kept.tar"

step "trainer dvae: pictures to codes and back"
$atelier trainer dvae $dvae --data "tar:$dir/shards/kept.tar" --run "$dir/dvae"

copies=$(nproc)
[ "$copies" -le 8 ] || copies=8
step "run filter, tokenize, $copies times encode: the store of captions and codes"
cat >"$dir/codes.pipe" <<EOF
filter   --in 'tar:$dir/shards/train-{000..003}.tar'
tokenize --vocab '$dir/vocab.json'
encode   --dvae '$dir/dvae' --threads 1  x$copies
store    '$dir/codes'
EOF
$atelier run "$dir/codes.pipe" --dir "$dir/codes.run"
$atelier store verify "$dir/codes" >"$dir/store.txt"
$atelier encode --dvae "$dir/dvae" --reconstruct --in "tar:$dir/shards/heldout.tar" --out "tar:$dir/shards/seen.tar"

step "trainer prior: the transformer, captions to codes"
$atelier trainer prior $prior --data "lmdb:$dir/codes" --vocab "$dir/vocab.json" --dvae "$dir/dvae" --run "$dir/prior"

step "trainer clip: which caption belongs to which picture"
$atelier trainer clip $clip --data "tar:$dir/shards/kept.tar" --vocab "$dir/vocab.json" --run "$dir/clip"

step "sampler | rerank: $candidates candidates of each caption that was held out, the best 8 on the page"
rm -rf "$dir/page"
$atelier sampler --in "tar:$dir/shards/heldout.tar" -n $candidates --model "$dir/prior" --top-p 0.9 |
    $atelier rerank --clip "$dir/clip" --top 8 --truth "tar:$dir/shards/heldout.tar" \
        --title "Atelier: captions that were never trained on" --out "dir:$dir/page"

step "Done"
last() { tail -n 1 "$dir/$1/metrics.jsonl" | sed 's/[{}"]//g'; }
{
    cat "$dir/store.txt"
    echo
    echo "Codes in the store: $($atelier store codes "$dir/codes")"
    echo
    echo "dVAE:  $(last dvae)"
    echo "prior: $(last prior)"
    echo "CLIP:  $(last clip)"
    echo
    $atelier heldout --samples "dir:$dir/page" --truth "tar:$dir/shards/heldout.tar" \
        --reconstructed "tar:$dir/shards/seen.tar" --set "tar:$dir/shards/kept.tar" --side $side --json "$dir/heldout.json"
} | tee "$dir/summary.txt"
echo
echo "The page:          $dir/page/index.html"
echo "The contact sheet: $dir/page/sheet.png"
