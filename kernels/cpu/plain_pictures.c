/*
 * Plain kernels: pictures (NHWC) cut to patches, halved and doubled.
 */
#include "kernels/cpu/plain.h"

static void patches(struct tensor y_t, struct tensor x_t, int batch, int h, int w, int c, int p)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    for (int n = 0; n < batch; n++)
        for (int top = 0; top + p <= h; top += p)
            for (int left = 0; left + p <= w; left += p)
                for (int channel = 0; channel < c; channel++)
                    for (int row = top; row < top + p; row++)
                        for (int column = left; column < left + p; column++)
                            *y++ = x[(((size_t)n * h + row) * w + column) * c + channel];
}

/* Where the largest of a 2x2 window is, the first in raster order of equals; `at` is the window's first element. */
static size_t largest(const float *x, size_t at, int w, int c)
{
    const size_t places[] = {at, at + c, at + (size_t)w * c, at + (size_t)w * c + c};
    size_t best = at;
    for (int i = 1; i < 4; i++)
        if (x[places[i]] > x[best])
            best = places[i];
    return best;
}

/* The first element of the window that halved element i comes from. */
static size_t window(size_t i, int w, int c)
{
    size_t channel = i % c, column = i / c % (w / 2), row = i / c / (w / 2);
    return (2 * row * w + 2 * column) * c + channel;
}

static void maxpool(struct tensor y_t, struct tensor x_t, int batch, int h, int w, int c)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    size_t n = (size_t)batch * (h / 2) * (w / 2) * c;
    for (size_t i = 0; i < n; i++)
        y[i] = x[largest(x, window(i, w, c), w, c)];
}

static void maxpool_backward(struct tensor dx_t, struct tensor dy_t, struct tensor x_t, int batch, int h, int w, int c)
{
    float *dx = dx_t.data;
    const float *dy = dy_t.data, *x = x_t.data;
    size_t n = (size_t)batch * (h / 2) * (w / 2) * c;
    for (size_t i = 0; i < 4 * n; i++)
        dx[i] = 0;
    for (size_t i = 0; i < n; i++)
        dx[largest(x, window(i, w, c), w, c)] = dy[i];
}

static void upsample(struct tensor y_t, struct tensor x_t, int batch, int h, int w, int c)
{
    float *y = y_t.data;
    const float *x = x_t.data;
    size_t n = (size_t)batch * h * w * c;
    for (size_t i = 0; i < n; i++) {
        size_t at = window(i, 2 * w, c), below = at + (size_t)2 * w * c;
        y[at] = y[at + c] = y[below] = y[below + c] = x[i];
    }
}

static void upsample_backward(struct tensor dx_t, struct tensor dy_t, int batch, int h, int w, int c)
{
    float *dx = dx_t.data;
    const float *dy = dy_t.data;
    size_t n = (size_t)batch * h * w * c;
    for (size_t i = 0; i < n; i++) {
        size_t at = window(i, 2 * w, c), below = at + (size_t)2 * w * c;
        dx[i] = dy[at] + dy[at + c] + dy[below] + dy[below + c];
    }
}

void plain_pictures(struct kernels *k)
{
    k->patches = patches;
    k->maxpool = maxpool;
    k->maxpool_backward = maxpool_backward;
    k->upsample = upsample;
    k->upsample_backward = upsample_backward;
}
