#!/usr/bin/env bash
# Records that crash a stage, hang it, or make it fail become rejects; their neighbours are kept.
. "$(dirname "$0")/lib.sh"
make_input 1500
awk 'NR == 100 { print "crash it"; next } NR == 101 { print "never" ; next } NR == 700 { print "fail it"; next }
    NR == 1200 { print "hang it"; next } { print }' input.txt >poison.txt
cat >work.pipe <<END
$trouble --calm --in text:poison.txt
$trouble --record-timeout 1  x2
store store
END
"$bin/atelier-run" work.pipe >run.log 2>&1 || fail "run ended with $?"
"$bin/atelier-store" cat store >records.jsonl 2>/dev/null || fail "cat"
[ "$(wc -l <records.jsonl)" = 1500 ] || fail "not every record is there once"
grep '"reject":"poison' records.jsonl | sed 's/.*"id":\([0-9]*\),.*"reject":"\([^"]*\)".*/\1 \2/' >poisoned.txt
diff - <(cut -d' ' -f1 poisoned.txt | sort -n) <<<$'99\n100\n699\n1199' || fail "other records were poisoned: $(cat poisoned.txt)"
grep -q '^100 poison: failed 5 times, at last: nobody can do this' poisoned.txt || fail "no reason: $(cat poisoned.txt)"
[ "$(grep -vc '"reject"' records.jsonl)" = "$(($(grep -vc '^reject' input.txt) - 4))" ] || fail "neighbours were lost"
echo "poison: by crash, by hang, by failure, for good"
