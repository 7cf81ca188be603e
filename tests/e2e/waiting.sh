#!/usr/bin/env bash
# What waits says so after ten seconds, and goes on when what it waits for is there: a program whose address nobody answers, a
# source to which nobody connects, and a store that lacks a record since the source was told to begin behind its cursor.
. "$(dirname "$0")/lib.bash"

awk 'BEGIN { for (i = 0; i < 300; i++) print "a drawing of " i " houses by the sea" }' >captions
atelier-filter --in text:captions 2>err | quiet atelier-store import piped --in -
says() { # LOG TEXT: within twenty seconds
    for _ in {1..200}; do
        ! grep -qF -- "$2" "$1" || return 0
        sleep 0.1
    done
    fail "no '$2': $(cat "$1")"
}

# Three chains at once, each with a piece missing or misled.
atelier-filter --in text:captions --out ipc://a 2>alone.log &
alone=$!
atelier-filter --in text:captions --out bind+ipc://b 2>lonely.log &
lonely=$!
atelier-store import stored --in bind+ipc://c 2>store.log &
store=$!
atelier-filter --in text:captions --from 7 --out ipc://c 2>misled.log &
misled=$!
sleep 8
! grep warning ./*.log || fail 'too soon'
says alone.log 'ipc://a: nobody has answered for 10 s; waiting'
says lonely.log 'bind+ipc://b: nobody has connected for 10 s; waiting'
says store.log 'stored: id 0 has not come for 10 s, and 293 records behind it wait'
grep -q 'begin behind it (it should say --from 0)' store.log || fail "$(cat store.log)"
[ "$(atelier-store cursor stored)" = 0 ] || fail 'the store left a gap'

# What was missing.
quiet timeout 60 atelier-store import first --in bind+ipc://a
quiet timeout 60 atelier-store import second --in ipc://b
kill -TERM $misled
if wait $misled; then fail 'it claims that all is stored'; fi
quiet timeout 60 atelier-filter --in text:captions --out ipc://c
for pid in $alone $lonely $store; do
    wait "$pid" || fail "exit $?: $(cat ./*.log)"
done
for name in first second stored; do
    [ "$(atelier-store digest $name)" = "$(atelier-store digest piped)" ] || fail "$name is another store"
done
