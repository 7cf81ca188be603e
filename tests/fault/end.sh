#!/usr/bin/env bash
# Pieces started by hand, and kill -9 where the end is told: a worker that knows of it and has not told the store; then any piece at any
# moment around the end. Nobody ends who is still needed, the source says what it waits for, and whatever was killed or has ended
# already is started once more: then all end well.
#   end.sh TRIALS [SEED]
. "$(dirname "$0")/lib.sh"
trials=${1:-1} seed=${2:-1}
make_input 300
digest=$(expected_digest)
declare -A pids
start() { # source|worker|store
    case $1 in
    source) "$trouble" --in text:input.txt --out "bind+ipc://$work/1" --from "$(cursor)" 2>>source.log & ;;
    worker) "$trouble" --in "ipc://$work/1" --out "ipc://$work/2" 2>>worker.log & ;;
    store) "$bin/atelier-store" import store --in "bind+ipc://$work/2" 2>>store.log & ;;
    esac
    pids[$1]=$!
}
cursor() { [ -e store/meta.json ] && "$bin/atelier-store" cursor store || echo 0; }
lives() { kill -0 "${pids[$1]}" 2>/dev/null; }
ends() { # PIECE SECONDS: it ends well
    for ((i = 0; i < $2 * 20; i++)); do
        lives "$1" || { wait "${pids[$1]}"; return; }
        nap 50
    done
    return 1
}
put_down() { # PIECE
    kill -9 "${pids[$1]}" 2>/dev/null
    wait "${pids[$1]}" 2>/dev/null
}

# All is stored, the store is away, and the only worker dies with what it knows. Of another chain the worker alone is left.
start store; start source; start worker
for piece in source worker store; do ends $piece 20 || fail "the first run: $piece"; done
start source; start worker
"$trouble" --in text:/dev/null --out "bind+ipc://$work/3" 2>other.log &
other=$!
"$trouble" --in "ipc://$work/3" --out "ipc://$work/4" 2>late.log &
late=$!
nap 1500
put_down worker
kill -9 $other
wait $other 2>/dev/null
for ((i = 0; i < 20; i++)); do
    lives source || fail "the source left before the store knew of the end"
    ! grep -q waiting source.log || break
    sleep 1
done
grep -q 'has confirmed the end.*waiting' source.log || fail "the source does not say what it waits for"
start store; start worker
for piece in store worker source; do ends $piece 20 || fail "after one more worker: $piece"; done
wait $late || fail "a worker whose both neighbours have left: $?"
check_store "$digest" "one more worker"

kills=0 moment=400
for ((trial = seed; trial < seed + trials; trial++)); do
    RANDOM=$trial
    rm -rf store
    victims=(worker worker worker store source)
    victim=${victims[$(below 5)]}
    start store; start source; start worker
    nap $((moment + $(below 20)))
    # Half of the trials come a little too late: about then it ends.
    if lives $victim; then
        kills=$((kills + 1)) moment=$((moment + 15))
    else
        moment=$((moment > 15 ? moment - 15 : 0))
    fi
    put_down $victim
    done=
    for ((round = 0; round < 8 && ${#done} == 0; round++)); do
        # A source that ended well has left nobody behind.
        if [ $round = 0 ] && [ $victim = worker ] && ! lives source; then
            ends source 1 && ends store 6 || fail "trial $trial: the source has left, and the store waits"
        fi
        for piece in source worker store; do lives $piece || start $piece; done
        done=yes
        for piece in source worker store; do ends $piece 6 || done=; done
    done
    [ "$done" ] || fail "trial $trial: $victim was killed: no end"
    check_store "$digest" "trial $trial"
done
echo "end: one worker that knew, $trials trials, $kills killed around the end"
