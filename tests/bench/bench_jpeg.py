"""JPEG to a centred square of 256 pixels, on one core: ours whole and reduced, OpenCV whole and reduced, by turns on the same files.

    bench_jpeg.py BENCH_JPEG FILE...
"""
import subprocess, sys, time
import cv2, numpy as np

SIDE, ROUNDS = 256, 5
REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def square(data, by):
    im = cv2.imdecode(data, REDUCED[by])
    h, w = im.shape[:2]
    side = min(h, w)
    y, x = (h - side) // 2, (w - side) // 2
    return cv2.resize(im[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def main():
    cv2.setNumThreads(1)
    files = [np.fromfile(path, np.uint8) for path in sys.argv[2:]]
    shapes = [cv2.imdecode(f, cv2.IMREAD_COLOR).shape for f in files]
    by = [max(b for b in REDUCED if b == 1 or min(s[:2]) // b >= 2 * SIDE) for s in shapes]
    ours = subprocess.Popen([sys.argv[1], str(SIDE)] + sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def mine(kind):
        ours.stdin.write(kind + "\n")
        ours.stdin.flush()
        return float(ours.stdout.readline())

    def peer(reductions):
        start = time.process_time()
        for f, b in zip(files, reductions):
            square(f, b)
        return time.process_time() - start

    best = {}
    for _ in range(ROUNDS):
        for name, run in (("ours, whole", lambda: mine("w")), ("ours", lambda: mine("r")), ("OpenCV, whole", lambda: peer([1] * len(by))),
                          ("OpenCV, reduced", lambda: peer(by))):
            best[name] = min(best.get(name, 1e9), run())
    for name, seconds in best.items():
        print(f"{name:16} {len(files) / seconds:7.1f} pictures/s a core")
    print(f"ours beside OpenCV reduced: {best['OpenCV, reduced'] / best['ours']:.2f} times")
    ours.stdin.close()
    print(ours.stdout.read(), end="")


main()
