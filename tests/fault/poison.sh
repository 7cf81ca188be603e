#!/usr/bin/env bash
# Records that crash a stage, hang it, or make it fail become rejects; their neighbours are kept.
#   poison.sh [long]    a death takes three seconds to be noticed, five times a record: only the long list has all kinds
. "$(dirname "$0")/lib.sh"
make_input 1500
cp input.txt poison.txt
put() { sed -i "$(($1 + 1))s/.*/$2/" poison.txt; }
put 100 "never"
put 699 "fail it"
poisoned="100 699"
if [ "${1:-short}" = long ]; then
    put 99 "crash it"
    put 1199 "hang it"
    poisoned="99 100 699 1199"
fi
cat >work.pipe <<END
$trouble --calm --in text:poison.txt
$trouble --record-timeout 1  x2
store store
END
"$bin/atelier-run" work.pipe >run.log 2>&1 || fail "run ended with $?"
"$bin/atelier-store" cat store >records.jsonl 2>/dev/null || fail "cat"
[ "$(wc -l <records.jsonl)" = 1500 ] || fail "not every record is there once"
grep '"reject":"poison' records.jsonl | sed 's/.*"id":\([0-9]*\),.*"reject":"\([^"]*\)".*/\1 \2/' >poisoned.txt
[ "$(cut -d' ' -f1 poisoned.txt | sort -n | xargs)" = "$poisoned" ] || fail "other records were poisoned: $(cat poisoned.txt)"
grep -q '^100 poison: failed 5 times, at last: nobody can do this' poisoned.txt || fail "no reason: $(cat poisoned.txt)"
[ "$(grep -vc '"reject"' records.jsonl)" = "$(($(grep -vc '^reject' poison.txt) - $(wc -w <<<"$poisoned")))" ] || fail "neighbours were lost"
echo "poison: $poisoned"
