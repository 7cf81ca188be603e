/*
 * CUDA kernels: pictures (NHWC) cut to patches, halved and doubled. A thread an element of the smaller side.
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

/* The first element of the 2x2 window that element i of a picture of half the size belongs to; `w` is the large one's
 * width. */
__device__ static size_t window(size_t i, size_t w, size_t c)
{
    size_t channel = i % c, column = i / c % (w / 2), row = i / c / (w / 2);
    return (2 * row * w + 2 * column) * c + channel;
}

/* The window's n-th element in raster order. */
__device__ static size_t window_place(size_t first, int n, size_t w, size_t c)
{
    return first + (n / 2 * w + n % 2) * c;
}

__device__ static int largest(struct tensor x, size_t first, size_t w, size_t c)
{
    int best = 0;
    float most = load(x, first);
    for (int n = 1; n < 4; n++) {
        float value = load(x, window_place(first, n, w, c));
        if (value > most) {
            most = value;
            best = n;
        }
    }
    return best;
}

static __global__ void maxpool_kernel(struct tensor y, struct tensor x, size_t w, size_t c, size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    size_t first = window(i, w, c);
    store(y, i, load(x, window_place(first, largest(x, first, w, c), w, c)));
}

static void maxpool(struct tensor y, struct tensor x, int batch, int h, int w, int c)
{
    size_t n = (size_t)batch * (h / 2) * (w / 2) * c;
    LAUNCH(maxpool_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, y, x, (size_t)w, (size_t)c, n);
}

static __global__ void maxpool_backward_kernel(struct tensor dx, struct tensor dy, struct tensor x, size_t w, size_t c,
                                               size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    size_t first = window(i, w, c);
    int best = largest(x, first, w, c);
    for (int p = 0; p < 4; p++)
        store(dx, window_place(first, p, w, c), p == best ? load(dy, i) : 0);
}

static void maxpool_backward(struct tensor dx, struct tensor dy, struct tensor x, int batch, int h, int w, int c)
{
    size_t n = (size_t)batch * (h / 2) * (w / 2) * c;
    LAUNCH(maxpool_backward_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, dx, dy, x, (size_t)w, (size_t)c,
           n);
}

static __global__ void upsample_kernel(struct tensor y, struct tensor x, size_t w, size_t c, size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    size_t first = window(i, w, c);
    float value = load(x, i);
    for (int p = 0; p < 4; p++)
        store(y, window_place(first, p, w, c), value);
}

static void upsample(struct tensor y, struct tensor x, int batch, int h, int w, int c)
{
    size_t n = (size_t)batch * h * w * c;
    LAUNCH(upsample_kernel, blocks_for(n, THREADS), THREADS, 0, device_stream, y, x, (size_t)w * 2, (size_t)c, n);
}

static __global__ void upsample_backward_kernel(struct tensor dx, struct tensor dy, size_t w, size_t c, size_t n)
{
    size_t i = global_thread();
    if (i >= n)
        return;
    size_t first = window(i, w, c);
    float sum = 0;
    for (int p = 0; p < 4; p++)
        sum += load(dy, window_place(first, p, w, c));
    store(dx, i, sum);
}

static void upsample_backward(struct tensor dx, struct tensor dy, int batch, int h, int w, int c)
{
    size_t n = (size_t)batch * h * w * c;
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
