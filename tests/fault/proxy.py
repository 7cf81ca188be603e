#!/usr/bin/env python3
"""A TCP proxy that spoils connections: proxy.py LISTEN_PORT TARGET_PORT SEED

Each connection gets one of: whole; cut after some bytes; half-open (nothing passes any more, nobody is told) for a while,
then cut; delayed; a byte at a time.
"""
import random
import socket
import sys
import threading
import time


def pump(source, target, how, rng, state):
    """Passes bytes on in one direction, in the connection's way."""
    left = rng.randrange(2000, 400000)
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            if how == "cut" and (left := left - len(data)) < 0:
                break
            if how == "half-open" and (left := left - len(data)) < 0:
                state["mute"] = True
            if state.get("mute"):
                time.sleep(rng.uniform(1, 6))
                break
            if how == "delayed":
                time.sleep(rng.uniform(0, 0.05))
            if how == "bytes":
                for i in range(min(len(data), 3000)):
                    target.sendall(data[i : i + 1])
                data = data[3000:]
            target.sendall(data)
    except OSError:
        pass
    for s in (source, target):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    listen_port, target_port, seed = (int(a) for a in sys.argv[1:4])
    rng = random.Random(seed)
    server = socket.create_server(("127.0.0.1", listen_port))
    while True:
        client, _ = server.accept()
        try:
            target = socket.create_connection(("127.0.0.1", target_port))
        except OSError:
            client.close()
            continue
        for s in (client, target):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        how, state = rng.choice(["whole", "cut", "cut", "half-open", "delayed", "bytes"]), {}
        for a, b in ((client, target), (target, client)):
            threading.Thread(target=pump, args=(a, b, how, random.Random(rng.random()), state), daemon=True).start()


main()
