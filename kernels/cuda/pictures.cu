/*
 * CUDA kernels: pictures (NHWC) cut to patches, halved and doubled. In the latter a thread takes EACH channels of a
 * pixel of the smaller side.
 */
#include "kernels/cuda/device.h"

static __global__ void patches_kernel(struct tensor y, struct tensor x, int h, int w, int c, int p, size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    size_t column = i % p, row = i / p % p, channel = i / p / p % c, patch = i / p / p / c;
    size_t across = w / p, down = h / p;
    size_t left = patch % across * p + column, top = patch / across % down * p + row, picture = patch / across / down;
    store(y, i, load(x, ((picture * h + top) * w + left) * c + channel));
}

static void patches(struct tensor y, struct tensor x, int batch, int h, int w, int c, int p)
{
    size_t n = (size_t)batch * (h / p) * (w / p) * c * p * p;
    LAUNCH(patches_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, y, x, h, w, c, p, n);
}

/* A pixel of a picture of half the size, whose window is 2x2 pixels of the large one, and the first of EACH channels.
 */
struct cell {
    size_t small, large, channel, width, channels; /* large: the window's first pixel; width: of the large picture */
};

__device__ static struct cell cell_of(size_t i, size_t w, size_t c)
{
    size_t groups = (c + EACH - 1) / EACH, small = i / groups;
    return {small, 2 * (small / (w / 2)) * w + 2 * (small % (w / 2)), i % groups * EACH, w, c};
}

/* The pixel's row of channels; of the window's, in raster order. */
__device__ static struct tensor small_row(struct tensor t, const struct cell &s)
{
    return row_of(t, s.small, s.channels);
}
__device__ static struct tensor window_row(struct tensor t, const struct cell &s, int n)
{
    return row_of(t, s.large + n / 2 * s.width + n % 2, s.channels);
}

static size_t cells(int batch, int h, int w, int c)
{
    return (size_t)batch * h * w * ((c + EACH - 1) / EACH);
}

/* The largest of the window's elements, channel by channel, and which it is: the first of equals. */
__device__ static struct floats8 largest(struct tensor x, const struct cell &s, int which[EACH])
{
    struct floats8 most = load8(window_row(x, s, 0), s.channel, s.channels);
    for (int j = 0; j < EACH; j++)
        which[j] = 0;
    for (int n = 1; n < 4; n++) {
        struct floats8 v = load8(window_row(x, s, n), s.channel, s.channels);
        for (int j = 0; j < EACH; j++)
            if (v.v[j] > most.v[j]) {
                most.v[j] = v.v[j];
                which[j] = n;
            }
    }
    return most;
}

static __global__ void maxpool_kernel(struct tensor y, struct tensor x, size_t w, size_t c, size_t n)
{
    size_t i = global_thread();
    int which[EACH];
    if (i >= n)
        return;
    struct cell s = cell_of(i, w, c);
    store8(small_row(y, s), s.channel, c, largest(x, s, which));
}

static void maxpool(struct tensor y, struct tensor x, int batch, int h, int w, int c)
{
    size_t n = cells(batch, h / 2, w / 2, c);
    LAUNCH(maxpool_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, y, x, (size_t)w, (size_t)c, n);
}

static __global__ void maxpool_backward_kernel(struct tensor dx, struct tensor dy, struct tensor x, size_t w, size_t c,
                                               size_t n)
{
    size_t i = global_thread();
    int which[EACH];
    if (i >= n)
        return;
    struct cell s = cell_of(i, w, c);
    largest(x, s, which);
    struct floats8 d = load8(small_row(dy, s), s.channel, c), v;
    for (int p = 0; p < 4; p++) {
        for (int j = 0; j < EACH; j++)
            v.v[j] = p == which[j] ? d.v[j] : 0;
        store8(window_row(dx, s, p), s.channel, c, v);
    }
}

static void maxpool_backward(struct tensor dx, struct tensor dy, struct tensor x, int batch, int h, int w, int c)
{
    size_t n = cells(batch, h / 2, w / 2, c);
    LAUNCH(maxpool_backward_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, dx, dy, x, (size_t)w, (size_t)c,
           n);
}

static __global__ void upsample_kernel(struct tensor y, struct tensor x, size_t w, size_t c, size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    struct cell s = cell_of(i, w, c);
    struct floats8 v = load8(small_row(x, s), s.channel, c);
    for (int p = 0; p < 4; p++)
        store8(window_row(y, s, p), s.channel, c, v);
}

static void upsample(struct tensor y, struct tensor x, int batch, int h, int w, int c)
{
    size_t n = cells(batch, h, w, c);
    LAUNCH(upsample_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, y, x, (size_t)w * 2, (size_t)c, n);
}

static __global__ void upsample_backward_kernel(struct tensor dx, struct tensor dy, size_t w, size_t c, size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    struct cell s = cell_of(i, w, c);
    struct floats8 sum = {};
    for (int p = 0; p < 4; p++) {
        struct floats8 v = load8(window_row(dy, s, p), s.channel, c);
        for (int j = 0; j < EACH; j++)
            sum.v[j] += v.v[j];
    }
    store8(small_row(dx, s), s.channel, c, sum);
}

static void upsample_backward(struct tensor dx, struct tensor dy, int batch, int h, int w, int c)
{
    size_t n = cells(batch, h, w, c);
    LAUNCH(upsample_backward_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, dx, dy, (size_t)w * 2,
           (size_t)c, n);
}

void cuda_pictures(struct kernels *k)
{
    k->patches = patches;
    k->maxpool = maxpool;
    k->maxpool_backward = maxpool_backward;
    k->upsample = upsample;
    k->upsample_backward = upsample_backward;
}
