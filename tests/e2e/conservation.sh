#!/usr/bin/env bash
# No record vanishes: whatever goes in, the scan of the store finds each id once, kept or rejected, and what was cut
# never looks complete.
. "$(dirname "$0")/lib.bash"
small_models
limit=1048576 # bytes of a caption, the limit of the record's field

# through URI: filter | tokenize | encode into the store `s`, made anew; scans it into records, kept, rejected
through() {
    rm -rf s
    atelier-filter --in "$1" --stats filter.json 2>filter.err | atelier-tokenize --vocab vocab.json 2>tokenize.err |
        atelier-encode --dvae dvae --out lmdb:s --stats encode.json 2>encode.err ||
        fail "$1: $(cat filter.err tokenize.err encode.err)"
    quiet atelier-store verify s >scan
    records=$(scanned records) kept=$(scanned kept) rejected=$(scanned rejected)
    [ $((kept + rejected)) = "$records" ] || fail "$1: $(cat scan)"
    grep -qx "undamaged: $records ids, each once" scan || fail "$1: $(cat scan)"
    for stage in filter encode; do
        [ "$(sed -n 's/.*"records": \([0-9]*\).*/\1/p' $stage.json)" = "$records" ] || fail "$1: $(cat $stage.json scan)"
    done
}
scanned() {
    awk -v name="$1" '$1 == name { print $2; exit }' scan
}
# holds KEPT REJECTED: what `through` must have found
holds() {
    [ "$kept $rejected" = "$1 $2" ] || fail "$kept kept and $rejected rejected, not $1 and $2: $(cat scan)"
}
# says TEXT: a reject has it
says() {
    atelier-store cat s 2>err | grep -q "\"reject\":\"[^\"]*$1" || fail "no reject '$1': $(atelier-store cat s 2>err)"
}
# pack NAME FILE...: a tar of the files, in this order
pack() {
    tar --format=ustar --hard-dereference -cf "$@"
}

mkdir m
tar -xf kept.tar -C m
picture=$(ls m/*.png m/*.jpg 2>/dev/null | head -n 1)
extension=${picture##*.}
caption='a drawing of a house by the sea'

# The drawings with all their noise.
count=$(tar -tf train.tar | sed 's/\..*//' | sort -u | wc -l)
through tar:train.tar
[ "$records" = "$count" ] && [ "$kept" -gt 0 ] && [ "$rejected" -gt 0 ] || fail "$count were made: $(cat scan)"

# Nothing; one; two of a stem; one half without the other.
tar -cf empty.tar -T /dev/null
for uri in tar:empty.tar text:/dev/null jsonl:/dev/null; do
    through $uri
    holds 0 0
done
mkdir none && through dir:none
holds 0 0
cp "$picture" "a.$extension" && cp "$picture" "b.$extension" && echo "$caption" >a.txt && cp a.txt b.txt
pack one.tar "a.$extension" a.txt && through tar:one.tar
holds 1 0
pack twins.tar "a.$extension" a.txt "a.$extension" a.txt && through tar:twins.tar
[ "$records" -ge 1 ] || fail "$(cat scan)"
says 'two of one name'
pack apart.tar "a.$extension" a.txt "b.$extension" b.txt "a.$extension" a.txt && through tar:apart.tar
holds 3 0
pack mute.tar "a.$extension" "b.$extension" b.txt && through tar:mute.tar
holds 1 1
says short
pack blind.tar a.txt "b.$extension" b.txt && through tar:blind.tar
holds 1 1
says 'image: none'

# Long captions: at the limit, just above, and far above. The tombstones are small.
words=$(printf 'word %.0s' $(seq 2000))
yes "$words" | tr '\n' ' ' | head -c 3145728 >long
for size in $limit $((limit + 1)) 3145728; do
    head -c $size long >a.txt
    pack long.tar "a.$extension" a.txt "b.$extension" b.txt && through tar:long.tar
    [ "$records" = 2 ] && [ "$kept" -ge 1 ] || fail "a caption of $size bytes: $(cat scan)"
    [ $size = $limit ] || says caption
    head -c $size long >long.txt && through text:long.txt
    [ "$records" = 1 ] || fail "a line of $size bytes: $(cat scan)"
done
[ "$(du -sk s | cut -f 1)" -lt 1024 ] || fail "a tombstone of $(du -sk s)"
echo "$caption" >a.txt

# A JPEG that claims 65,535 x 65,535 in its header, and pieces of pictures.
printf '\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9' >big.jpg
cp a.txt big.txt && cp a.txt nothing.txt && : >nothing.jpg && cp a.txt text.txt && cp a.txt text.jpg
head -c 300 "$picture" >"half.$extension" && cp a.txt half.txt
pack pieces.tar big.jpg big.txt nothing.jpg nothing.txt text.jpg text.txt "half.$extension" half.txt "b.$extension" b.txt
through tar:pieces.tar
holds 1 4
(ulimit -v 6000000 && through tar:pieces.tar && holds 1 4)
(ulimit -v 6000000 && quiet atelier-encode --dvae dvae --in tar:pieces.tar --keep-rejects --out jsonl:pieces.jsonl)
[ "$(wc -l <pieces.jsonl)" = 5 ] && [ "$(grep -c '"reject":"image' pieces.jsonl)" = 4 ] || fail "$(cat pieces.jsonl)"

# Compressed shards hold the same.
all=$(tar -tf kept.tar | grep -c 'txt$')
contents() {
    atelier-store cat s 2>err | sed 's/"key":"[^"]*"//' | cksum
}
through tar:kept.tar
holds "$all" 0
plain=$(contents)
for shard in kept.tar.gz kept.tar.zst; do
    quiet atelier-filter --in tar:kept.tar --out tar:$shard
    through tar:$shard
    [ "$(contents)" = "$plain" ] || fail "$shard differs"
done

# Shards that are cut or garbage: what was whole is there, and one reject says that the shard was not.
for shard in kept.tar kept.tar.gz kept.tar.zst; do
    size=$(wc -c <$shard)
    for cut in 1 100 511 512 513 $((size / 3)) $((size / 2 + 77)) $((size - 1500)) $((size - 1024)) $((size - 1)); do
        head -c $cut $shard >cut.tar
        through tar:cut.tar
        [ "$rejected" -ge 1 ] && [ "$kept" -le "$all" ] || [ "$cut" = $((size - 1)) ] || fail "$shard cut to $cut: $(cat scan)"
        [ "$rejected" = 0 ] || says shard
    done
done
tail -c +1000 kept.tar.gz | head -c 20000 >garbage.tar
through tar:garbage.tar
holds 0 1
says shard
through 'tar:{garbage,one,cut,garbage,twins}.tar'
[ "$kept" -gt 1 ] && [ "$rejected" -ge 3 ] || fail "$(cat scan)"

# A stream that is cut between two stages is an error there and behind, and does not look complete.
quiet atelier-filter --in tar:train.tar >stream
size=$(wc -c <stream)
for cut in 0 1 4 8 9 100 $((size / 2)) $((size - 5)) $((size - 1)); do
    rm -rf s x.tar x.jsonl x.tar.part x.jsonl.part
    for command in 'tokenize --vocab vocab.json' 'encode --dvae dvae' "tokenize --vocab vocab.json --out tar:x.tar" \
        "encode --dvae dvae --out jsonl:x.jsonl" "encode --dvae dvae --out lmdb:s"; do
        got=0
        head -c $cut stream | atelier-$command >next 2>err || got=$?
        [ $got = 75 ] || [ $got = 65 ] || fail "$command of $cut of $size bytes: exit $got: $(cat err)"
        [[ $command == *--out* ]] && continue
        got=0
        atelier-encode --dvae dvae --out jsonl:y.jsonl <next 2>err || got=$?
        [ $got != 0 ] || fail "what is behind $command takes a cut stream of $cut bytes for a whole one"
    done
    [ ! -e x.tar ] && [ ! -e x.jsonl ] && [ ! -e y.jsonl ] || fail "cut at $cut: $(ls)"
    atelier-encode --dvae dvae --out lmdb:s <stream 2>err
    quiet atelier-store verify s >scan
    [ "$(scanned records)" = "$count" ] || fail "cut at $cut and sent again: $(cat scan)"
done
{ head -c $((size / 2)) stream; printf '\x01'; tail -c +$((size / 2 + 2)) stream; } >damaged
expect 65 'stdin' bash -c 'atelier-tokenize --vocab vocab.json --out jsonl:y.jsonl <damaged'
