#!/usr/bin/env python3
"""Whether what programs count fits what the store holds.

counters.py watch DIR    samples the metrics of all programs whose sockets are DIR/*.metrics, until SIGTERM, into DIR/samples
counters.py check DIR RECORDS REJECTS WHAT [RUN_LOG]
                         at the end of a test: the samples, the last line of each DIR/*.log and the accounting table of `run` against
                         what the store holds. WHAT: `calm` (nobody died and no batch went out twice: each record was counted once at
                         each step), `resent` (at least once), `died` (the counts of the dead are gone)
"""
import glob
import json
import os
import re
import signal
import socket
import sys
import time

LINE = re.compile(r"(\d+) records, (\d+) kept, (\d+) rejected(?: \([^)]*\))?(?:, (\d+) rejected upstream)?")


def ask(path):
    """The metrics of one program: {name: value}; None when it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(2)
            s.connect(path)
            s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b""
            while part := s.recv(65536):
                answer += part
    except OSError:
        return None
    lines = answer.decode().replace("\r\n", "\n").split("\n")
    return {name: int(value) for name, _, value in (line.rpartition(" ") for line in lines) if name.startswith("atelier_")}


def watch(where):
    os.chdir(where)  # a socket's path has 107 bytes
    last, lives, samples, wrong, stop = {}, {}, 0, [], []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    open("watching", "w").close()
    while not stop:
        time.sleep(0.2)
        for path in glob.glob("*.metrics"):
            try:
                life = os.stat(path).st_ctime_ns  # a program that is started again makes its socket anew, and counts from nothing
            except OSError:
                continue
            now = ask(path)
            if not now:
                continue
            samples += 1
            before = last.get(path, {}) if lives.get(path) == life else {}
            lives[path] = life
            wrong += [f"{path}: {n} fell from {before[n]} to {v}" for n, v in now.items() if "_total" in n and v < before.get(n, 0)]
            for end in ('{end="in"}', '{end="out"}'):
                batches, settled = (now.get(f"atelier_link_{n}_total{end}", 0) for n in ("batches", "settled_batches"))
                if settled > batches:
                    wrong.append(f"{path}: {settled} batches of {batches} are settled")
            last[path] = now
    with open("samples", "w") as f:
        json.dump({"samples": samples, "last": last, "wrong": wrong}, f)


def check_table(log, records, rejects):
    rows = dict(re.findall(r"^(inputs|kept|rejected) +(\d+)$", open(log).read(), re.M))  # the last table
    want = {"inputs": records, "kept": records - rejects, "rejected": rejects}
    return [f"run says {rows}"] if {k: int(v) for k, v in rows.items()} != want else []


def check(where, records, rejects, what, run_log=None):
    steps, wrong = {}, []
    for log in sorted(glob.glob(f"{where}/*.log")):
        name = os.path.basename(log)[: -len(".log")]
        ends = [m for m in map(LINE.search, open(log, errors="replace")) if m]
        if not ends:
            continue
        total, kept, own, upstream = (int(g or 0) for g in ends[-1].groups())
        if total != kept + own + upstream:
            wrong.append(f"{name}: {total} records are not {kept} + {own} + {upstream}")
        counts = steps.setdefault(name.partition("-")[0], [0, 0])
        counts[0] += total
        counts[1] += own + upstream
    for step, (total, rejected) in steps.items():
        if what == "calm" and (total, rejected) != (records, rejects):
            wrong.append(f"step {step} counted {total} records and {rejected} rejects, not {records} and {rejects}")
        if what == "resent" and (total < records or rejected < rejects):
            wrong.append(f"step {step} counted {total} records and {rejected} rejects, fewer than {records} and {rejects}")
    if not steps:
        wrong.append("no program said what it did")
    if run_log:
        wrong += check_table(run_log, records, rejects)
    seen = json.load(open(f"{where}/samples"))
    wrong += seen["wrong"]
    if not seen["samples"]:
        wrong.append("no metrics were seen")
    for path, now in seen["last"].items():
        stored = now.get("atelier_store_committed_total", 0)
        if stored > records:
            wrong.append(f"{path}: {stored} stored of {records}")
    if wrong:
        sys.exit("counters: " + "; ".join(wrong[:5]))


if sys.argv[1] == "watch":
    watch(sys.argv[2])
else:
    check(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:])
