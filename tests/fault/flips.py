#!/usr/bin/env python3
"""Damages copies of a store: flips.py PROGRAM TRIALS SEED, in a directory with the store `whole`.

Each trial changes bits, bytes or a sector of one file, or cuts it; in every second the checksums of whole files are gone, as
after a writer that was killed. `verify` must find it (65), or what is read must be what was written: then only unused space was
hit. No command may crash or hang.
"""
import collections
import os
import random
import shutil
import subprocess
import sys

COMMANDS = ("digest", "stats", "cursor", "codes", "cat", "import")


def damage(path, rng):
    """Spoils the file in one way; says how."""
    size = os.path.getsize(path)
    kind = rng.choice(("bit", "bit", "bit", "bits", "bytes", "sector", "head", "head", "number", "cut"))
    if kind == "cut":
        os.truncate(path, rng.randrange(size))
        return kind
    with open(path, "r+b") as f:
        at = rng.randrange(size)
        if kind in ("head", "number"):  # where a page, or a table of its nodes, begins
            at = rng.randrange((size + 4095) // 4096) * 4096 + rng.randrange(64)
            at = min(at, size - 1)
        count = {"bit": 1, "bits": 3, "head": 1, "bytes": 64, "sector": 512, "number": 8}[kind]
        for i in range(count):
            if kind in ("bytes", "sector", "number") and at + i >= size:
                break
            place = at + i if kind in ("bytes", "sector", "number") else (at if i == 0 else rng.randrange(size))
            f.seek(place)
            old = f.read(1)[0]
            new = 0 if kind == "sector" else rng.randrange(256) if kind in ("bytes", "number") else old ^ 1 << rng.randrange(8)
            f.seek(place)
            f.write(bytes([new]))
    return f"{kind} at {at}"


def run(program, *args):
    try:
        done = subprocess.run([program, *args], capture_output=True, timeout=120)
        return done.returncode, done.stdout, done.stderr.decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        return 124, b"", "it hangs"


def main():
    program, trials, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    content = {c: run(program, c, "whole")[1] for c in ("digest", "cat")}
    found, crashes = collections.Counter(), 0
    for trial in range(seed, seed + trials):
        rng = random.Random(trial)
        shutil.rmtree("hurt", ignore_errors=True)
        shutil.copytree("whole", "hurt")
        sealed = trial % 2 == 0
        if not sealed:
            os.remove("hurt/000000.sum")
        names = ["000000.mdb"] * 8 + ["meta.json"] + ["000000.sum"] * sealed
        name = rng.choice(names)
        how = f"trial {trial}: {name}{'' if sealed else ', no checksums'}: {damage('hurt/' + name, rng)}"
        code, _, said = run(program, "verify", "hurt")
        if code not in (0, 65) or (code == 65 and not said):
            sys.exit(f"FAIL: {how}: verify ended with {code}: {said}")
        found["found" if code else "nothing lost"] += 1
        for command in COMMANDS:
            more = ("--in", "jsonl:more.jsonl") if command == "import" else ()
            got, out, words = run(program, command, "hurt", *more)
            if got < 0 or got == 124 or got > 127 or (got and not words):
                print(f"FAIL: {how}: {command} ended with {got}: {words[-200:]}", flush=True)
                crashes += 1
                if "--go-on" not in sys.argv:
                    sys.exit(1)
            elif code == 0 and (got or (command in content and out.replace(b"hurt", b"whole") != content[command])):
                sys.exit(f"FAIL: {how}: verify finds nothing, and {command} ended with {got} and other content")
    print(f"flips: {trials} trials, " + ", ".join(f"{v} {k}" for k, v in sorted(found.items())) + f", {crashes} crashes")


main()
