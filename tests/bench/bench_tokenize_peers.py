#!/usr/bin/env python3
"""Times tokenizers and tiktoken on captions, one a line: training of 16,384 tokens, encoding. Peers that are not
installed are left out.   bench_tokenize_peers.py CAPTIONS VOCAB   (VOCAB: a tokenizer.json for the encoding)"""
import json, os, sys, time


def say(name, value, unit):
    print(f"{name:34s} {value:8.3f} {unit}", flush=True)


def timed(f):
    start = time.process_time(), time.perf_counter()
    f()
    return time.process_time() - start[0], time.perf_counter() - start[1]


def byte_ranks(vocab):
    """Tokens as bytes, for tiktoken."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in plain]
    back = {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}
    return {bytes(back[c] for c in token): i for token, i in vocab.items()}


def main():
    captions, vocab = sys.argv[1:]
    lines = open(captions, encoding="utf-8", errors="replace").read().split("\n")[:-1]
    lower = [line.lower() for line in lines]
    megabytes = sum(len(line.encode()) + 1 for line in lines) / 1e6
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
        t = Tokenizer(models.BPE())
        t.normalizer = normalizers.Lowercase()
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=16384, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        cpu, wall = timed(lambda: t.train_from_iterator(lines, trainer))
        say("tokenizers: train 16,384", cpu, f"s of CPU, {wall:.3f} s with {os.cpu_count()} threads")
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        t = Tokenizer.from_file(vocab)
        t.encode_batch(lines[:1000])
        say("tokenizers: encode", megabytes / timed(lambda: t.encode_batch(lines))[0], "MB/s")
    except ImportError:
        print("tokenizers is not installed")
    try:
        import tiktoken
        ranks = byte_ranks(json.load(open(vocab, encoding="utf-8"))["model"]["vocab"])
        pattern = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
        e = tiktoken.Encoding("captions", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        e.encode_ordinary_batch(lower[:1000], num_threads=1)
        say("tiktoken: encode, lower-cased text", megabytes / timed(lambda: [e.encode_ordinary(line) for line in lower])[0], "MB/s")
    except ImportError:
        print("tiktoken is not installed")


if __name__ == "__main__":
    main()
