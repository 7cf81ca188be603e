#!/usr/bin/env bash
# atelier-filter as users run it: kept and rejected add up, reasons are told, odd input, and what it says when it is used wrongly.
. "$(dirname "$0")/lib.bash"

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
atelier-filter --in text:captions.txt --out text:kept.txt --rejects why.jsonl --stats stats.json 2> log
[ "$(number records) $(number kept) $(number rejected)" = "7 3 4" ] || fail "$(cat stats.json)"
[ "$(wc -l < kept.txt) $(wc -l < why.jsonl)" = "3 4" ] || fail "$(cat kept.txt why.jsonl)"
for reason in 'boilerplate: photographed on <date> (made with, day month year)' 'language: de' 'short: 2 words' 'short: 0 words'; do
    grep -qF "$reason" why.jsonl || fail "no '$reason' in: $(cat why.jsonl)"
done
grep -qF 'Tom &amp; Jerry' kept.txt || fail "a caption changed without --clean"
atelier-filter --clean --in text:captions.txt --out text:kept.txt 2> log
grep -qxF 'Tom & Jerry chase each other' kept.txt || fail "--clean: $(cat kept.txt)"

# Both ways through a pipe: a stream carries the rejects along, which a second filter passes on as they are.
atelier-filter --in text:captions.txt 2> log | atelier-filter --lang any --min-words 0 --out jsonl:both.jsonl --keep-rejects 2> log
[ "$(wc -l < both.jsonl) $(grep -c '"reject"' both.jsonl)" = "7 4" ] || fail "$(cat both.jsonl)"

# A rule of one's own, and why a caption goes.
printf '[drop phrase]\nwaves = waves hello\n' > mine.rules
printf 'waves hello now\n' > waves.txt
atelier-filter --in text:waves.txt --explain --rules mine.rules > out 2> log
grep -qF "phrase: 'waves hello' (waves, mine.rules:2)" out || fail "$(cat out)"
grep -qF 'rejected: boilerplate: waves hello (waves)' out || fail "$(cat out)"

# A table with a title and a description, URL-encoded as in YFCC, and pictures beside it.
mkdir table
printf 'id\ttitle\tpath\tdescription\n7\tSunset+at+sea\tnone.jpg\tover+the+old+harbour\n8\tdog\n' > table/list.tsv
atelier-filter --clean --in 'tsv:table/list.tsv#caption=title,description&key=id' --out jsonl:kept.jsonl --rejects why.jsonl 2> log
grep -qF '"key":"7","caption":"Sunset at sea over the old harbour"' kept.jsonl || fail "$(cat kept.jsonl)"
grep -qF "table/list.tsv:3\",\"reject\":\"tsv: 2 columns, where 'description' is column 4\"" why.jsonl || fail "$(cat why.jsonl)"
atelier-filter --in 'tsv:table/list.tsv#caption=title&image=path' --dry-run --rejects why.jsonl 2> log
grep -qF 'image: table/none.jpg: No such file' why.jsonl || fail "$(cat why.jsonl)"
expect 65 "no column 'caption': id,title,path,description" atelier-filter --in 'tsv:table/list.tsv#caption=caption' --dry-run
expect 2 'the columns are missing' atelier-filter --in tsv:table/list.tsv --dry-run

# Duplicates: the first is kept, whatever the number of threads, and the memory is told.
for i in 1 2 3; do
    for j in 1 2 3 4 5; do echo "two dogs run on the beach in year $j"; done
    echo "two   dogs run on the beach in year &#49;"
done > twice.txt
for threads in 1 4; do
    atelier-filter --threads $threads --dedup exact --in text:twice.txt --out text:once.$threads --rejects why.$threads --stats stats.json 2> log
done
cmp once.1 once.4
cmp why.1 why.4
[ "$(wc -l < once.1) $(number duplicate)" = "5 13" ] || fail "$(cat once.1 stats.json)"
[ "$(grep -c '"reject":"duplicate: of 0"' why.1)" = 5 ] || fail "$(cat why.1)"
[ "$(number dedup_bytes)" -gt 10000 ] || fail "$(cat stats.json)"
head -n 7 twice.txt | atelier-filter --dedup exact --in text:- --explain > out 2> log
[ "$(grep -c 'rejected: duplicate: of 0' out)" = 2 ] || fail "$(cat out)"

# A dry run counts by rule, writes nothing, and shows some of both kinds.
atelier-filter --dry-run --sample 2 --in text:captions.txt --out text:never.txt --stats stats.json 2> log
[ ! -e never.txt ] && [ ! -e never.txt.part ] || fail "--dry-run wrote"
grep -qF '7 records, 3 kept, 4 rejected (boilerplate 1, language 1, short 2)' log || fail "$(cat log)"
[ "$(number 'boilerplate: made with') $(number 'boilerplate: day month year') $(number 'language: de')" = "1 1 1" ] || fail "$(cat stats.json)"
[ "$(grep -c ': kept: captions.txt:' log) $(grep -c ': rejected: captions.txt:' log)" = "2 2" ] || fail "$(cat log)"

# Odd input: nothing, a megabyte, bytes that are no text.
atelier-filter --in text:/dev/null --out text:none.txt --stats stats.json 2> log
[ "$(number records) $(wc -c < none.txt)" = "0 0" ] || fail "$(cat stats.json)"
head -c 1000000 /dev/zero | tr '\0' 'a' > long.txt
yes 'two dogs run' | head -c 60000 | tr '\n' ' ' >> long.txt
head -c 60000 /dev/urandom >> long.txt
atelier-filter --in text:long.txt --out text:kept.txt --stats stats.json 2> log || true
[ "$(number records)" = $(($(number kept) + $(number rejected))) ] || fail "$(cat stats.json log)"

printf '[drop phrase]\nbad = (a\n' > bad.rules
expect 65 "bad.rules:2: 'bad'" atelier-filter --rules bad.rules --in text:captions.txt --dry-run
expect 74 'none.rules' atelier-filter --rules none.rules --in text:captions.txt --dry-run
expect 2 "'english'" atelier-filter --lang english --in text:captions.txt --dry-run
expect 2 "'2:1'" atelier-filter --aspect 2:1 --in text:captions.txt --dry-run
expect 2 "'x'" atelier-filter --min-words x --in text:captions.txt --dry-run
expect 2 "'near'" atelier-filter --dedup near --in text:captions.txt --dry-run
expect 2 '--sample' atelier-filter --sample 0 --in text:captions.txt --dry-run
expect 65 'more than --max-rejects' atelier-filter --max-rejects 3 --in text:captions.txt --dry-run
echo ok
