#!/usr/bin/env bash
# atelier-filter as users run it: kept and rejected add up, reasons are told, odd input, and what it says when it is used wrongly.
set -eu
cd "$(dirname "$0")/../.."
filter=$PWD/${BUILD:-build}/bin/atelier-filter
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

fail() {
    echo "FAIL: $*"
    exit 1
}
# expect CODE TEXT COMMAND...: the exit code, and the text somewhere on stderr
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$@" > out 2> err || got=$?
    [ "$got" = "$code" ] || fail "exit $got, not $code: $*: $(cat err)"
    grep -qF -- "$text" err || fail "no '$text' in: $(cat err)"
}
# number NAME: its value in stats.json
number() {
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" stats.json | head -n 1
}

cat > captions.txt <<'END'
two dogs run on the beach
photographed on 8 July 2008
Planted roof of Chicago City Hall, photographed on 8 July 2008
zwei Hunde laufen am Strand
two dogs

Tom &amp; Jerry chase each other
END
"$filter" --in text:captions.txt --out text:kept.txt --rejects why.jsonl --stats stats.json 2> log
[ "$(number records) $(number kept) $(number rejected)" = "7 3 4" ] || fail "$(cat stats.json)"
[ "$(wc -l < kept.txt) $(wc -l < why.jsonl)" = "3 4" ] || fail "$(cat kept.txt why.jsonl)"
for reason in 'boilerplate: photographed on <date>' 'language: de' 'short: 2 words' 'short: 0 words'; do
    grep -qF "$reason" why.jsonl || fail "no '$reason' in: $(cat why.jsonl)"
done
grep -qF 'Tom &amp; Jerry' kept.txt || fail "a caption changed without --clean"
"$filter" --clean --in text:captions.txt --out text:kept.txt 2> log
grep -qxF 'Tom & Jerry chase each other' kept.txt || fail "--clean: $(cat kept.txt)"

# Both ways through a pipe: a stream carries the rejects along, which a second filter passes on as they are.
"$filter" --in text:captions.txt 2> log | "$filter" --lang any --min-words 0 --out jsonl:both.jsonl --keep-rejects 2> log
[ "$(wc -l < both.jsonl) $(grep -c '"reject"' both.jsonl)" = "7 4" ] || fail "$(cat both.jsonl)"

# A rule of one's own, and why a caption goes.
printf '[drop phrase]\nwaves = waves hello\n' > mine.rules
printf 'waves hello now\n' > waves.txt
"$filter" --in text:waves.txt --explain --rules mine.rules > out 2> log
grep -qF "phrase: 'waves hello' (waves, mine.rules:2)" out || fail "$(cat out)"
grep -qF 'rejected: boilerplate: waves hello' out || fail "$(cat out)"

# Odd input: nothing, a megabyte, bytes that are no text.
"$filter" --in text:/dev/null --out text:none.txt --stats stats.json 2> log
[ "$(number records) $(wc -c < none.txt)" = "0 0" ] || fail "$(cat stats.json)"
head -c 1000000 /dev/zero | tr '\0' 'a' > long.txt
yes 'two dogs run' | head -c 60000 | tr '\n' ' ' >> long.txt
head -c 60000 /dev/urandom >> long.txt
"$filter" --in text:long.txt --out text:kept.txt --stats stats.json 2> log || true
[ "$(number records)" = $(($(number kept) + $(number rejected))) ] || fail "$(cat stats.json log)"

printf '[drop phrase]\nbad = (a\n' > bad.rules
expect 65 "bad.rules:2: 'bad'" "$filter" --rules bad.rules --in text:captions.txt --dry-run
expect 74 'none.rules' "$filter" --rules none.rules --in text:captions.txt --dry-run
expect 2 "'english'" "$filter" --lang english --in text:captions.txt --dry-run
expect 2 "'2:1'" "$filter" --aspect 2:1 --in text:captions.txt --dry-run
expect 2 "'x'" "$filter" --min-words x --in text:captions.txt --dry-run
expect 65 'more than --max-rejects' "$filter" --max-rejects 3 --in text:captions.txt --dry-run
echo ok
