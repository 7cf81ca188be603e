#!/usr/bin/env python3
"""Encodes random strings with atelier-tokenize and with Hugging Face's tokenizers and compares the ids; then trains
random texts with both and compares the vocabularies.

    python3 -m venv venv && venv/bin/pip install tokenizers
    venv/bin/python tests/bench/bpe_differential.py [--count 10000000] [--trainings 200] [--seed 1] [--clip MERGES.txt.gz]

Vocabularies: one trained here, under every rule that is supported (no normalizer, NFC, a space in front, no pattern,
the patterns and post-processors of GPT-4, Llama 3, Qwen 2 and RoBERTa, whole words first, added tokens, bytes left out), and CLIP's where its merges are given. Ten million strings take about
twelve minutes of CPU. A fifth of the strings is no UTF-8: tokenizers gets what bytes.decode("utf-8", "replace") makes of it. The first difference is printed; exit 1.
"""
import argparse, copy, gzip, json, os, random, subprocess, sys, tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "true"
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
WORDS = """a the man woman's dogs they'll we're isn't I'd you've it's I'm running STREET Café naïve ÉTÉ Straße İstanbul
ΣΊΣΥΦΟΣ Красная площадь 猫が寝ている 고양이 हिन्दी العربية ไทย 2024 3.14 1/2 ½ Ⅷ ٤٢ don’t “quoted” e-mail @user #tag
http://example.com/a?b=c&d IMG_0520.JPG 😀 👩‍👩‍👧 🇩🇪 \u00a0 \u3000 \u2028 \u200b \ufeff \u0301 \u0323 <|endoftext|> <E> <e>
antidisestablishmentarianism aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""".split(" ")
WORDS = [w for part in WORDS for w in part.split("\n")]
SPACES = [" "] * 12 + ["  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u3000", "\x85", "\x1c", "\v", "\f", ""]
PUNCTUATION = list("'',.!?-\"()[]{}<>|/\\@#$%^&*+=~`_:;") + ["'s", "'S", "'re", "'LL", "’", "…", "—"]
BLOCKS = [(0, 0x7F), (0x80, 0x24F), (0x250, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF), (0x1E00, 0x20CF), (0x2100, 0x27FF),
          (0x3040, 0x30FF), (0xA640, 0xA7FF), (0xAC00, 0xD7A3), (0xF900, 0xFFFD), (0x10000, 0x11FFF), (0x16000, 0x1FFFF), (0, 0x10FFFF)]


def character(r):
    first, last = r.choice(BLOCKS)
    c = r.randint(first, last)
    return "\ufffd" if 0xD800 <= c <= 0xDFFF else chr(c)


def string(r):
    parts = []
    for _ in range(r.choice((0, 1, 2, 3, 5, 8, 13, 30))):
        kind = r.random()
        if kind < 0.45:
            word = r.choice(WORDS)
            parts.append(word.upper() if r.random() < 0.1 else word)
        elif kind < 0.6:
            parts.append(r.choice(PUNCTUATION))
        elif kind < 0.75:
            parts.append("".join(character(r) for _ in range(r.randint(1, 6))))
        elif kind < 0.85:
            parts.append("".join(r.choice("abcdeinorst") for _ in range(r.randint(1, 12))))
        else:
            parts.append(r.choice(SPACES))
        if r.random() < 0.6:
            parts.append(r.choice(SPACES))
    return "".join(parts)


def spoilt(r, text):
    """Bytes that are no UTF-8, on one line."""
    data = bytearray(text.encode())
    for _ in range(r.randint(1, 4)):
        at = r.randint(0, len(data))
        data[at:at + r.choice((0, 1, 1, 2))] = bytes(r.randint(128, 255) for _ in range(r.randint(0, 3)))
    return bytes(b for b in data if b not in b"\r\n\0")


class Ours:
    def __init__(self, binary):
        self.binary = binary
        self.folder = tempfile.TemporaryDirectory()

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def run(self, *options, data=None):
        return subprocess.run([self.binary, *options], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout

    def encode(self, vocab, kind, data):
        out = self.run("--vocab", vocab, "--length", "1000000", "--in", f"{kind}:-", "--out", "jsonl:-", data=data)
        return [json.loads(line).get("tokens", []) for line in out.splitlines()]

    def texts(self, vocab, texts):
        return self.encode(vocab, "jsonl", b"".join(json.dumps({"id": i, "caption": t}).encode() + b"\n" for i, t in enumerate(texts)))

    def lines(self, vocab, lines):
        return self.encode(vocab, "text", b"".join(line + b"\n" for line in lines))


def byte_level():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


def trained(texts, size):
    t = byte_level()
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def clip(merges):
    pairs = [tuple(line.split()) for line in gzip.open(merges, "rt", encoding="utf-8").read().split("\n")[1:49152 - 256 - 2 + 1]]
    alphabet = [chr(c) for c in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)) + list(range(256, 324))]
    tokens = alphabet + [c + "</w>" for c in alphabet] + ["".join(p) for p in pairs] + ["<|startoftext|>", "<|endoftext|>"]
    t = Tokenizer(models.BPE(vocab={k: i for i, k in enumerate(tokens)}, merges=pairs, end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""), behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.decoder = decoders.ByteLevel()
    return t


def rules(base):
    """The vocabulary `base` (a tokenizer.json) under each rule, by name."""
    vocab = len(base["model"]["vocab"])
    token = {"single_word": False, "lstrip": False, "rstrip": False, "special": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    gpt4 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

    def split(regex):
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}, level | {"use_regex": False}]}
    few = {k: v for k, v in base["model"]["vocab"].items() if v >= 100}
    changes = {
        "lower": {},
        "plain": {"normalizer": None},
        "nfc": {"normalizer": {"type": "NFC"}},
        "nfc+lower": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}},
        "space": {"pre_tokenizer": level | {"add_prefix_space": True}},
        "gpt-4": {"pre_tokenizer": split(gpt4), "normalizer": None},
        "llama 3": {"pre_tokenizer": split(gpt4), "model": base["model"] | {"ignore_merges": True},
                    "post_processor": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}},
        "qwen 2": {"pre_tokenizer": split(gpt4.replace("{1,3}", "")), "normalizer": {"type": "NFC"}},
        "roberta": {"pre_tokenizer": level | {"add_prefix_space": True}, "added_tokens": [
                        token | {"id": vocab, "content": "<|endoftext|>", "normalized": True, "lstrip": True},
                        token | {"id": vocab + 1, "content": "<E>", "normalized": False, "lstrip": True, "rstrip": True}],
                    "post_processor": {"type": "RobertaProcessing", "sep": ["<E>", vocab + 1], "cls": ["<E>", vocab + 1],
                                       "trim_offsets": True, "add_prefix_space": True}},
        "no pattern": {"pre_tokenizer": level | {"use_regex": False}},
        "whole words": {"model": base["model"] | {"ignore_merges": True}},
        "added": {"added_tokens": [token | {"id": vocab, "content": "<|endoftext|>", "normalized": False},
                                   token | {"id": vocab + 1, "content": "<E>", "normalized": True},
                                   token | {"id": vocab + 2, "content": "<E> the", "normalized": False}],
                  "pre_tokenizer": level | {"add_prefix_space": True}},
        "bytes left out": {"model": base["model"] | {"vocab": few, "merges": []}},
        "bytes unknown": {"model": base["model"] | {"vocab": few, "merges": [], "unk_token": "\u0120"}},
    }
    return {name: copy.deepcopy(base) | change for name, change in changes.items()}


def compare(ours, name, vocab, theirs, texts, spoiled):
    ids = ours.texts(vocab, texts) + ours.lines(vocab, spoiled)
    strings = texts + [b.decode("utf-8", "replace") for b in spoiled]
    expected = [e.ids for e in theirs.encode_batch(strings, add_special_tokens=False)]
    assert len(ids) == len(expected), (len(ids), len(expected))
    for i, (got, want) in enumerate(zip(ids, expected)):
        if got != want:
            source = strings[i] if i < len(texts) else spoiled[i - len(texts)]
            sys.exit(f"{name}: {ascii(source)}\n  ours   {got}\n  theirs {want}")


def compare_training(ours, r, i):
    if r.random() < 0.5:
        letters = "abcdef"[:r.randint(1, 6)] + " '"
        texts = ["".join(r.choice(letters) for _ in range(r.randint(1, 60))) for _ in range(r.randint(1, 30))]
    else:
        texts = [" ".join(string(r).split()) for _ in range(r.randint(1, 200))]
    size = r.randint(256, 900)
    with open(ours.path("text"), "w", encoding="utf-8", newline="") as f:
        f.write("".join(t.replace("\0", "") + "\n" for t in texts))
    ours.run("--train", "--in", "text:" + ours.path("text"), "--vocab-size", str(size), "--vocab", ours.path("ours.json"))
    trained([t.replace("\0", "") for t in texts], size).save(ours.path("theirs.json"))
    if open(ours.path("ours.json"), encoding="utf-8").read() != open(ours.path("theirs.json"), encoding="utf-8").read():
        sys.exit(f"training {i} differs: {size} {texts!a}")


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--binary", default=os.path.join(ROOT, "build/bin/atelier-tokenize"))
    p.add_argument("--count", type=int, default=200000, help="strings in all")
    p.add_argument("--trainings", type=int, default=200)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--clip", help="bpe_simple_vocab_16e6.txt.gz")
    a = p.parse_args()
    r, ours, tried, number = random.Random(a.seed), Ours(a.binary), {}, 0
    base = json.loads(trained([string(r) for _ in range(20000)], 3000).to_str())
    vocabularies = {}
    for name, file in rules(base).items():
        path = ours.path(name + ".json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(file, f)
        vocabularies[name] = path, Tokenizer.from_file(path)
    if a.clip:
        vocabularies["clip"] = a.clip, clip(a.clip)
    while sum(tried.values()) < a.count:
        name = list(vocabularies)[number % len(vocabularies)]
        number += 1
        texts = [string(r) for _ in range(4000)]
        if name == "clip":
            texts = [t for t in texts if "<|endoftext|>" not in t.lower()]
        spoiled = [spoilt(r, string(r).replace("<|endoftext|>", "")) for _ in range(1000)]
        compare(ours, name, *vocabularies[name], texts, spoiled)
        tried[name] = tried.get(name, 0) + len(texts) + len(spoiled)
        if number % 100 == 0:
            print(f"{sum(tried.values())} strings, all the same", file=sys.stderr, flush=True)
    for i in range(a.trainings):
        compare_training(ours, r, i)
    print("same ids:", ", ".join(f"{name} {n}" for name, n in tried.items()), f"strings; same vocabularies: {a.trainings} trainings")


if __name__ == "__main__":
    main()
