#!/usr/bin/env bash
# Makes small files of each format, with the programs themselves, for the fuzzers to begin with: seeds.sh DIR BIN
set -eu
whole=$(realpath -m "$1") bin=$(realpath "$2") dir=$whole.part
rm -rf "$whole" "$dir"
mkdir -p "$dir"/{tar,image,stream,record,lines,store,plan,keys,endpoint,link,settings,model,dir,run}
repository=$PWD n=0
cd "$dir"
quiet() { "$@" 2>messages || { cat messages >&2; exit 1; }; }

quiet "$bin/atelier-emoji" --limit 3 --size 24 --out tar:tar/plain --heldout tar:none
for kind in gz zst xz; do quiet "$bin/atelier-filter" --in tar:tar/plain --out "tar:tar/a.tar.$kind"; done
tar -xf tar/plain -C image --wildcards '*.png' '*.jpg' 2>/dev/null || tar -xf tar/plain -C image
rm -f image/*.txt image/*.json
cp "$repository"/tests/fuzz/seeds/filter/small.[jp]* image/ 2>/dev/null || true
quiet "$bin/atelier-filter" --in tar:tar/plain >stream/filtered
quiet "$bin/atelier-filter" --in tar:tar/plain --out jsonl:rows
while IFS= read -r row; do printf '\1%s' "$row" >"record/$((++n)).json"; done <rows
printf '\0\x82\xa2id\x07\xa7caption\xa7a house' >record/packed
printf '\0a caption\nanother\r\n' >lines/text
(printf '\1' && cat rows) >lines/jsonl
printf '\4c\ta\tb\nk1\tone\ttwo\n"k""2"\t"on\ne"\t\n' >lines/tsv
head -n 3 rows | quiet "$bin/atelier-store" import kept --in jsonl:-
(printf '\1' && cat kept/meta.json) >store/meta
(printf '\2' && cat kept/000000.sum) >store/sum
printf '\0crc.\x0d\2\0\0\0\1\2\3\4\x81\xa7caption\xa7a house' >store/value
cp "$repository"/pipelines/*.pipe plan/
printf 'filter --in tar:"a b.tar" # why\ntokenize --vocab v.json x2\nencode x3\nstore codes\n' >plan/three
quiet "$bin/atelier-keys" made
(cat made/key && printf '\377' && cat made/allowed && printf '\377' && cat made/server) >keys/made
for uri in - 'tar:{000..003}.tar#records=10' 'text:a' 'jsonl:-' 'tsv:a#caption=1,2&key=3' dir:a lmdb:a '+5555' '+0' '+link'; do
    printf %s "$uri" >"endpoint/$((++n))"
done
for which in 0 1; do
    # HELLO as either role, CREDIT, DATA of one record, ACK, NACK, PING, PONG, END.
    for role in 1 2; do
        { printf "\\$which\1\1\0\0\0\0\0\6\\${role}a run\2\1\6\6\0\0\0\0\3\1\1\1\1\1\0\x0e\x0a\0\0\0\x81\xa7caption\xa0"
          printf '\4\1\1\0\1\0\0\0\5\1\1\0\1\0\0\4\2why\6\1\0\1\0\0\0\x09\1\0\0\0\0\0\0\0\1\7\1\0\2\0\0\0\0\x08\1\3\0\0\0\0\0'; } >"link/$which$role"
    done
done
printf '\0hidden=8\nsteps=10\nlr=0.1\n\377{"hidden": 8, "steps": 9}' >settings/dvae
printf '\1layers=2\npreset=demo\n\377{}' >settings/prior
printf '\2width=48\ncontext=3\n' >settings/clip
printf UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vuUAAA= | base64 -d >image/lossy.webp
printf UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA== | base64 -d >image/lossless.webp
printf 'b.jpg\377picture\377b.txt\377a caption\n\377deep/er/a.png\377\377.no/a.png\377\377deep/round\377\376..\377c.webp\377\376b.jpg' >dir/tree
printf '\2checkpoint-000000001\ncheckpoint-000000020\ncheckpoint-18446744073709551615\n.writing\ncheckpoint-1' >run/names
printf '\3# TYPE\natelier_records_total 9\natelier_link_open_records{end="out"} 3\n' >run/metrics
train() { quiet "$bin/atelier-trainer" "$1" --preset demo --steps 1 --batch 2 --pictures-every 0 --run "$1" "${@:2}"; }
quiet "$bin/atelier-tokenize" --train --vocab-size 260 --vocab vocab --in tar:tar/plain
train dvae --hidden 4 --init 4 --codes 8 --side 16 --data tar:tar/plain
quiet "$bin/atelier-tokenize" --vocab vocab --in tar:tar/plain | quiet "$bin/atelier-encode" --dvae dvae --out lmdb:codes
train prior --layers 1 --heads 1 --head-dim 4 --text-len 4 --data lmdb:codes --vocab vocab --dvae dvae
train clip --width 12 --text-width 12 --layers 1 --text-layers 1 --data tar:tar/plain --vocab vocab
(printf '\0' && cat dvae/model.safetensors) >model/dvae
(printf '\0' && cat dvae/checkpoint-*/state.json) >run/state
(printf '\1' && cat dvae/metrics.jsonl) >run/curve
(printf '\1' && cat prior/model.safetensors) >model/prior
(printf '\2' && cat clip/model.safetensors) >model/clip
rm -rf vocab dvae prior clip codes none rows kept made messages
cd /
mv "$dir" "$whole"
