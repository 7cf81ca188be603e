#!/usr/bin/env bash
# By hand over two hosts, which are network namespaces here where they can be made, else this host's loopback: keys admit
# a worker, a stranger gets nothing, and the store is that of a shell pipe.
. "$(dirname "$0")/lib.bash"
a=atelier-$$-a b=atelier-$$-b here= there= address=127.0.0.1
trap 'for host in $a $b; do ip netns del $host 2>/dev/null || true; done; rm -rf "$dir"' EXIT
if ip netns add $a 2>/dev/null && ip netns add $b && ip link add veth0 netns $a type veth peer name veth0 netns $b; then
    for host in $a $b; do
        ip -n $host link set lo up
        ip -n $host link set veth0 up
    done
    address=10.77.0.1 here="ip netns exec $a" there="ip netns exec $b"
    ip -n $a addr add $address/24 dev veth0
    ip -n $b addr add 10.77.0.2/24 dev veth0
    expect 2 'give it keys (atelier keys DIR, then --keys DIR), or say --insecure' \
        $here atelier-filter --in text:/dev/null --out bind+tcp://$address:5555
fi
port=$((20000 + RANDOM % 10000))
source=tcp://$address:$port middle=tcp://$address:$((port + 1)) behind=tcp://$address:$((port + 2)) sink=tcp://$address:$((port + 3))

awk 'BEGIN { for (i = 0; i < 3000; i++) print "a drawing of " i " houses by the sea" }' >captions
atelier-tokenize --train --vocab-size 300 --vocab vocab.json --in text:captions 2>err || fail "$(cat err)"
atelier-filter --in text:captions 2>err | quiet atelier-tokenize --vocab vocab.json --out lmdb:piped

atelier keys mine
cp -rp mine copied
atelier keys strange
cp mine/server strange/server
[ "$(stat -c %a mine/key)" = 600 ] || fail "$(ls -l mine)"

$here atelier-store import stored --in bind+$sink --run cc --keys mine 2>store.log &
store=$!
$here atelier-queue --in $middle --out $behind --run cc --keys mine 2>queue.log &
$here atelier-filter --in text:captions --out bind+$source --run cc --keys mine 2>filter.log &
work() { # HOW LONG, KEYS, RUN
    timeout "$1" $there atelier-tokenize --vocab vocab.json --in $source --out $middle --run "$3" $2 2>worker.log
}
# What is not admitted gets no record, and says so or waits.
for stranger in '--keys strange' '--insecure'; do
    got=0
    work 3 "$stranger" cc || got=$?
    [ $got != 0 ] || grep -q ' 0 records' worker.log || fail "$stranger: $(cat worker.log)"
done
[ "$(atelier-store cursor stored)" = 0 ] || fail 'a stranger has worked'
got=0
work 10 '--keys copied' dd || got=$?
[ $got = 65 ] && grep -q "'cc'" worker.log && grep -q "'dd'" worker.log || fail "another run: exit $got: $(cat worker.log)"

work 60 '--keys copied' cc &
timeout 60 $there atelier-tokenize --vocab vocab.json --in $behind --out $sink --run cc --keys copied 2>second.log || fail "$(cat second.log)"
wait %+ || fail "$(cat worker.log)"
wait $store || fail "$(cat store.log)"
wait
[ "$(atelier-store digest stored)" = "$(atelier-store digest piped)" ] || fail "another store: $(cat ./*.log)"
