"""Python's safetensors and tokenizers open our files and give the same numbers and ids.

    check.py COPY_WEIGHTS ATELIER_TOKENIZE SCRATCH_DIRECTORY
"""
import glob
import json
import os
import random
import subprocess
import sys

import numpy
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

copy_weights, tokenize, scratch = sys.argv[1:]


def compare(a, b):
    """The same names, dtypes, shapes and bytes."""
    x, y = load_file(a), load_file(b)
    assert sorted(x) == sorted(y), f"{a} and {b} hold other names"
    for name in x:
        assert x[name].dtype == y[name].dtype and x[name].shape == y[name].shape, f"{b}: {name} has another shape"
        assert x[name].tobytes() == y[name].tobytes(), f"{b}: {name} has other numbers"
    return len(x)


def check_weights():
    out = os.path.join(scratch, "copy.safetensors")
    numbers = numpy.random.default_rng(1)
    own = os.path.join(scratch, "own.safetensors")
    types = ["float32", "float16", "float64", "uint8", "int8", "int16", "int32", "int64"]
    save_file({f"{t}.{shape}": numbers.normal(size=shape, scale=50).astype(t)
               for t in types for shape in [(3, 5), (7,), (), (0, 4), (2, 1, 3, 1)]}, own, {"kind": "odd \"kind\"\n"})
    total = 0
    for file in [own] + sorted(glob.glob("tests/golden/vectors/*.safetensors")):
        subprocess.run([copy_weights, file, out], check=True)
        total += compare(file, out)
        with safe_open(file, "numpy") as a, safe_open(out, "numpy") as b:
            assert a.metadata()["kind"] == b.metadata()["kind"], f"{out}: other metadata"
    print(f"safetensors: {total} tensors are the same")


def strings():
    """Lines of our sources, odd ones by hand, and random ones."""
    odd = ["", " ", "  two  spaces ", "don't we'll I'VE", "ÀÉÎ ﬁ ŒUVRE", "İstanbul ẞ", "日本語のテキスト", "한국어", "мир МИР",
           "👩🏽‍🚀 an astronaut", "1234567890 1,000.50", "a\tb\nc\r\n d", "\u00a0nbsp\u2003em", "e\u0301 combining",
           "x" * 200, "\u0000nul", "...!!!???", "snake_case-and/slash", "\U0010ffff", "العربية", "हिन्दी"]
    draw = random.Random(1)
    ranges = [(32, 126), (32, 126), (160, 591), (0x400, 0x4ff), (0x3040, 0x30ff), (0x1f600, 0x1f64f), (0x2000, 0x206f)]
    for _ in range(300):
        low, high = draw.choice(ranges)
        odd.append("".join(chr(draw.randint(low, high)) if draw.random() < 0.8 else " " for _ in range(draw.randint(1, 40))))
    with open("common/record.h", encoding="utf-8") as f:
        odd += [line.rstrip("\n") for line in f]
    return odd


def check_tokenizer():
    corpus, vocab = os.path.join(scratch, "corpus.txt"), os.path.join(scratch, "vocab.json")
    with open(corpus, "w", encoding="utf-8") as f:
        for name in sorted(glob.glob("common/*.[ch]") + glob.glob("models/*.[ch]")):
            f.write(open(name, encoding="utf-8").read())
    subprocess.run([tokenize, "--train", "--vocab-size", "600", "--vocab", vocab, "--in", f"text:{corpus}"],
                   check=True, stderr=subprocess.DEVNULL)
    theirs = Tokenizer.from_file(vocab)
    assert theirs.get_vocab_size() == 600, f"{theirs.get_vocab_size()} tokens, not 600"
    texts = strings()
    lines = "".join(json.dumps({"caption": text}) + "\n" for text in texts)
    ours = subprocess.run([tokenize, "--vocab", vocab, "--in", "jsonl:-", "--out", "jsonl:-", "--keep-rejects"],
                          input=lines.encode(), capture_output=True, check=True).stdout.decode().rstrip("\n").split("\n")
    assert len(ours) == len(texts), f"{len(texts)} captions in, {len(ours)} records out"
    for text, line in zip(texts, ours):
        ids, want = json.loads(line).get("tokens", []), theirs.encode(text).ids
        assert ids == want, f"{text!r}: {ids}, tokenizers say {want}"
    print(f"tokenizers: {len(texts)} strings have the same ids")


check_weights()
check_tokenizer()
