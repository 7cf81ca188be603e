/*
 * Fast kernels: pictures (NHWC) halved and doubled, and rows of a table by id. A thread takes a row of pixels.
 */
#include "kernels/cpu/isa/fast.h"
#include <string.h>

static void maxpool(struct tensor y_t, struct tensor x_t, int batch, int h, int w, int c)
{
    size_t below = (size_t)w * c;
    PARALLEL_FOR((size_t)batch * h * w * c)
    for (int row = 0; row < batch * (h / 2); row++)
        for (int column = 0; column < w / 2; column++) {
            const float *x = (const float *)x_t.data + 2 * row * below + (size_t)2 * column * c;
            float *restrict y = (float *)y_t.data + row * below / 2 + (size_t)column * c;
            for (int i = 0; i < c; i++) {
                float upper = x[c + i] > x[i] ? x[c + i] : x[i];
                float lower = x[below + c + i] > x[below + i] ? x[below + c + i] : x[below + i];
                y[i] = lower > upper ? lower : upper;
            }
        }
}

static void maxpool_backward(struct tensor dx_t, struct tensor dy_t, struct tensor x_t, int batch, int h, int w, int c)
{
    size_t below = (size_t)w * c;
    PARALLEL_FOR((size_t)batch * h * w * c)
    for (int row = 0; row < batch * (h / 2); row++)
        for (int column = 0; column < w / 2; column++) {
            size_t at = 2 * row * below + (size_t)2 * column * c;
            const float *x = (const float *)x_t.data + at;
            const float *dy = (const float *)dy_t.data + row * below / 2 + (size_t)column * c;
            float *restrict dx = (float *)dx_t.data + at;
#pragma omp simd
            for (int i = 0; i < c; i++) {
                float a = x[i], b = x[c + i], d = x[below + i], e = x[below + c + i], gradient = dy[i];
                float upper = b > a ? b : a, lower = e > d ? e : d;
                float to_upper = lower > upper ? 0 : gradient, to_lower = lower > upper ? gradient : 0;
                dx[i] = b > a ? 0 : to_upper;
                dx[c + i] = b > a ? to_upper : 0;
                dx[below + i] = e > d ? 0 : to_lower;
                dx[below + c + i] = e > d ? to_lower : 0;
            }
        }
}

static void upsample(struct tensor y_t, struct tensor x_t, int batch, int h, int w, int c)
{
    size_t wide = (size_t)2 * w * c;
    PARALLEL_FOR((size_t)batch * h * w * c * 4)
    for (int row = 0; row < batch * h; row++) {
        const float *x = (const float *)x_t.data + row * wide / 2;
        float *y = (float *)y_t.data + 2 * row * wide;
        for (int column = 0; column < w; column++)
            for (int i = 0; i < c; i++)
                y[(size_t)2 * column * c + i] = y[(size_t)(2 * column + 1) * c + i] = x[(size_t)column * c + i];
        memcpy(y + wide, y, wide * sizeof(float));
    }
}

static void upsample_backward(struct tensor dx_t, struct tensor dy_t, int batch, int h, int w, int c)
{
    size_t wide = (size_t)2 * w * c;
    PARALLEL_FOR((size_t)batch * h * w * c * 4)
    for (int row = 0; row < batch * h; row++)
        for (int column = 0; column < w; column++) {
            const float *dy = (const float *)dy_t.data + 2 * row * wide + (size_t)2 * column * c;
            float *restrict dx = (float *)dx_t.data + row * wide / 2 + (size_t)column * c;
            for (int i = 0; i < c; i++)
                dx[i] = dy[i] + dy[c + i] + dy[wide + i] + dy[wide + c + i];
        }
}

static void embed(struct tensor y_t, struct tensor table, struct tensor ids_t, int rows, int d, bool accumulate)
{
    const int32_t *ids = ids_t.data;
    PARALLEL_FOR((size_t)rows * d)
    for (int r = 0; r < rows; r++) {
        float *restrict y = (float *)y_t.data + (size_t)r * d;
        const float *entry = (const float *)table.data + (size_t)larger(ids[r], 0) * d;
        if (!accumulate && ids[r] < 0)
            memset(y, 0, d * sizeof(float));
        else if (!accumulate)
            memcpy(y, entry, d * sizeof(float));
        else
            for (int i = 0; ids[r] >= 0 && i < d; i++)
                y[i] += entry[i];
    }
}

/* Threads share the columns out: rows of one id must be added in order. */
static void embed_backward(struct tensor dtable, struct tensor dy_t, struct tensor ids_t, int rows, int d)
{
    enum { COLUMNS = 64 };
    const int32_t *ids = ids_t.data;
    PARALLEL_FOR((size_t)rows * d)
    for (int first = 0; first < d; first += COLUMNS)
        for (int r = 0; r < rows; r++) {
            if (ids[r] < 0)
                continue;
            float *restrict dentry = (float *)dtable.data + (size_t)ids[r] * d;
            const float *dy = (const float *)dy_t.data + (size_t)r * d;
            for (int i = first; i < smaller(first + COLUMNS, d); i++)
                dentry[i] += dy[i];
        }
}

void FN(fast_pictures)(struct kernels *k)
{
    k->maxpool = maxpool;
    k->maxpool_backward = maxpool_backward;
    k->upsample = upsample;
    k->upsample_backward = upsample_backward;
    k->embed = embed;
    k->embed_backward = embed_backward;
}
