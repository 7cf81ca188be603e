"""Ours and OpenAI's dall_e on PyTorch, by turns, on the same pictures: rates, the processor's time, and how many codes agree.

    bench_encode.py BENCH_ENCODE DIRECTORY_OF_PHOTOGRAPHS [HIDDEN [BATCH...]]
"""
import glob, os, subprocess, sys, tempfile, time
import numpy as np, torch
from PIL import Image
from dall_e.encoder import Encoder
from dall_e.utils import map_pixels

PICTURES, ROUNDS = 16, 3


def squares(directory):
    """The centred squares of the photographs, then random pictures: noise, and noise that is smooth."""
    out = []
    for path in sorted(glob.glob(directory + "/**/*.jp*g", recursive=True)):
        im = Image.open(path).convert("RGB")
        side = min(im.size)
        x, y = (im.width - side) // 2, (im.height - side) // 2
        out.append(np.asarray(im.crop((x, y, x + side, y + side)).resize((256, 256), Image.BOX)))
    out = out[: PICTURES - 4]
    random = np.random.default_rng(7)
    while len(out) < PICTURES:
        cells = 256 if len(out) % 2 else 16
        noise = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        out.append(np.asarray(Image.fromarray(noise).resize((256, 256), Image.BICUBIC)))
    return np.stack(out)


def peer(encoder, pictures, batch):
    codes, wall, cpu = [], time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for i in range(0, len(pictures), batch):
            x = map_pixels(torch.from_numpy(pictures[i : i + batch]).permute(0, 3, 1, 2).float().div(255))
            codes.append(torch.argmax(encoder(x), dim=1).flatten(1))
    return time.perf_counter() - wall, time.process_time() - cpu, torch.cat(codes).numpy()


def spread(encoder, pictures):
    """Sets the output's bias to what makes all codes equally likely on average: random features are alike, and so would the codes be."""
    head = encoder.blocks.output.conv
    with torch.inference_mode():
        x = map_pixels(torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(255))
        features = []
        for i in range(len(x)):
            features.append(torch.relu(encoder.blocks[:-1](x[i : i + 1])).mean((0, 2, 3)))
        head.b.copy_(-(head.w[:, :, 0, 0] @ torch.stack(features).mean(0)))


def main():
    program, directory, hidden = sys.argv[1], sys.argv[2], int((sys.argv + ["256"])[3])
    batches = [int(b) for b in sys.argv[4:]] or [1]
    pictures = squares(directory)
    torch.manual_seed(1)
    encoder = Encoder(n_hid=hidden).eval()
    encoder.requires_grad_(False)
    spread(encoder, pictures[::4])
    with tempfile.TemporaryDirectory() as tmp:
        torch.save(encoder, tmp + "/encoder.pkl")
        pictures.tofile(tmp + "/pictures")
        ours = subprocess.Popen([program, tmp + "/encoder.pkl", tmp + "/pictures", tmp + "/codes"] + ([os.environ["THREADS"]] if "THREADS" in os.environ else []),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if "THREADS" in os.environ:
            torch.set_num_threads(int(os.environ["THREADS"]))

        def run(n):
            ours.stdin.write(f"{n}\n")
            ours.stdin.flush()
            return [float(v) for v in ours.stdout.readline().split()]

        run(1), peer(encoder, pictures[:1], 1)  # weights are packed, caches filled
        for batch in batches:
            n = max(batch, 8 if hidden < 128 else 2)  # turns long enough that the other one's cold caches do not count
            mine, theirs = [], []
            for _ in range(ROUNDS):
                mine.append(run(n))
                theirs.append(peer(encoder, pictures[:n], batch)[:2])
            a, b = np.array(mine) / n, np.array(theirs) / n
            print(f"n_hid {hidden}, batch {batch:2}: ours {1 / a[:, 0].min():7.3f} pictures/s ({a[:, 1].min() * 1e3:.0f} ms of processor each), "
                  f"dall_e {1 / b[:, 0].min():7.3f} ({b[:, 1].min() * 1e3:.0f} ms): {b[:, 0].min() / a[:, 0].min():.2f} times in time, "
                  f"{b[:, 1].min() / a[:, 1].min():.2f} in processor's", flush=True)
        run(PICTURES)
        ours.stdin.close()
        ours.wait()
        mine = np.fromfile(tmp + "/codes", np.int32).reshape(PICTURES, -1)
        theirs = peer(encoder, pictures, 1)[2]
        same = mine == theirs
        print(f"codes: {100 * same[:-4].mean():.3f}% of photographs', {100 * same[-4:].mean():.3f}% of random pictures' are the same; "
              f"{len(np.unique(theirs))} codes in use")


main()
