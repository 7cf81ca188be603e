#!/usr/bin/env python3
"""Times CLD2 alone, through pycld2, on captions, one a line, and says how many it calls English. Nothing where it is not
installed.   bench_filter_peers.py CAPTIONS"""
import sys, time

try:
    import pycld2
except ImportError:
    sys.exit("pycld2 is not installed")


def language(line):
    try:
        return pycld2.detect(line, isPlainText=True)[2][0][1]
    except pycld2.error:  # bytes that are no UTF-8 to it
        return "un"


lines = open(sys.argv[1], encoding="utf-8", errors="replace").read().split("\n")[:-1]
start = time.process_time()
english = sum(language(line) == "en" for line in lines)
took = time.process_time() - start
print(f"CLD2 alone (pycld2)       {len(lines) / took:9.0f} captions/s of CPU; calls {100 * english / len(lines):.2f}% English")
