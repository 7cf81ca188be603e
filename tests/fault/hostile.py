#!/usr/bin/env python3
"""Throws bytes at ports: hostile.py SEED VERSION link:PORT... http:PORT... serve:PORT... until it gets SIGTERM.

To a link's port it speaks as much of ZMTP 3.0 as leads far enough in: nothing, a greeting, a handshake, messages of any form,
messages of the link with valid checksums from a stranger, of an old version, of another run. `serve` is a port that others
connect to. Prints how many connections it made.
"""
import random
import signal
import socket
import struct
import sys
import threading
import time

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ 0x82F63B78 * (n & 1)
    TABLE.append(n)

stop = threading.Event()
made = [0]


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = crc >> 8 ^ TABLE[(crc ^ b) & 255]
    return crc ^ 0xFFFFFFFF


def noise(rng, most):
    return rng.randbytes(rng.randrange(most))


def frame(flags, body):
    return struct.pack(">BQ", flags | 2, len(body)) + body if len(body) > 255 else bytes([flags, len(body)]) + body


def ready(rng):
    kind = rng.choice([b"DEALER", b"DEALER", b"DEALER", b"ROUTER", b"PUB", b"REP", noise(rng, 20)])
    body = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    name = rng.choice([b"", noise(rng, 255), bytes(5)])
    body += b"\x08Identity" + struct.pack(">I", rng.choice([len(name)] * 5 + [2**31])) + name
    return frame(4, body)


def link_message(rng, version):
    """Head and body, both whole, as no peer in good standing would send them."""
    body = rng.choice([noise(rng, 200), b"", bytes([rng.randrange(4)]) + b"another run", struct.pack("<I", 2**32 - 1), bytes(9)])
    kind = rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8, rng.randrange(256)])
    number = lambda: rng.choice([0, 1, 2, rng.randrange(100), 2**64 - 1, rng.randrange(2**64)])
    head = b"ATLK" + bytes([rng.choice([version] * 6 + [0, version + 1]), kind, 0, 0])
    head += struct.pack("<QQQII", number(), number(), number(), number() % 2**32, number() % 2**32)
    head += struct.pack("<II", len(body), crc32c(body))
    return frame(1, head + struct.pack("<I", crc32c(head))) + frame(0, body)


def link_bytes(rng, version):
    kind = rng.randrange(9)
    if kind == 0:
        return noise(rng, 5000)
    if kind == 1:
        return GREETING[: rng.randrange(64)]
    if kind == 2:
        return GREETING + noise(rng, 2000)
    start = GREETING + ready(rng)
    if kind == 3:
        return start + noise(rng, 3000)
    if kind == 4:
        return start + struct.pack(">BQ", rng.choice([2, 3, 6]), rng.choice([2**62, 2**63 + 5, 2**40, 300 << 20])) + noise(rng, 500)
    if kind == 5:
        return start + b"".join(frame(rng.choice([0, 1, 1, 4]), noise(rng, 300)) for _ in range(rng.randrange(400)))
    if kind == 6:
        return start + b"\x01\x00" * rng.randrange(20000)
    return start + b"".join(link_message(rng, version) for _ in range(rng.randrange(60)))


def http_bytes(rng):
    line = rng.choice([b"GET /metrics HTTP/1.1\r\n", b"POST /metrics HTTP/1.1\r\n", b"GET /" + b"a" * rng.randrange(70000), noise(rng, 300)])
    headers = b"".join(b"x%d: %s\r\n" % (i, noise(rng, 100)) for i in range(rng.randrange(30)))
    return line + headers + rng.choice([b"\r\n", b"", b"Content-Length: 99999999999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n"])


def throw(target, rng, version):
    kind, port = target.split(":")
    while not stop.is_set():
        data = http_bytes(rng) if kind == "http" else link_bytes(rng, version)
        try:
            with socket.create_connection(("127.0.0.1", int(port)), 1) as s:
                made[0] += 1
                s.settimeout(0.3)
                for part in range(0, len(data), 700):
                    s.sendall(data[part : part + 700])
                    if rng.randrange(30) == 0:
                        time.sleep(0.02)
                if rng.randrange(3):
                    s.recv(4096)
        except OSError:
            pass
        time.sleep(0.02)


def serve(target, rng, version):
    server = socket.create_server(("127.0.0.1", int(target.split(":")[1])))
    server.settimeout(0.2)
    while not stop.is_set():
        try:
            s, _ = server.accept()
        except OSError:
            continue
        made[0] += 1
        with s:
            try:
                s.settimeout(0.3)
                s.sendall(link_bytes(rng, version))
                s.recv(4096)
            except OSError:
                pass


def main():
    rng, version = random.Random(int(sys.argv[1])), int(sys.argv[2])
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threads = []
    for target in sys.argv[3:]:
        way = serve if target.startswith("serve") else throw
        threads.append(threading.Thread(target=way, args=(target, random.Random(rng.random()), version)))
        threads[-1].start()
    while not stop.is_set():
        time.sleep(0.05)
    for t in threads:
        t.join()
    print(made[0], "connections")


main()
