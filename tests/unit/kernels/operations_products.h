/*
 * What the tables are compared on: matrix products, convolutions, pictures.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_OPERATIONS_PRODUCTS_H
#define ATELIER_TESTS_UNIT_KERNELS_OPERATIONS_PRODUCTS_H

#include "compare.h"

/* s: m, n, k, ta, tb, alpha in tenths, beta in tenths */
static void matmul(struct trial *t, const int *s)
{
    struct tensor a = trial_in(t, (size_t)s[0] * s[2], -1, 1), b = trial_in(t, (size_t)s[2] * s[1], -1, 1);
    size_t n = (size_t)s[0] * s[1];
    struct tensor c = s[6] ? trial_change(t, n, -1, 1) : trial_out(t, n);
    t->k->matmul(c, a, b, s[0], s[1], s[2], s[3], s[4], s[5] / 10.0f, s[6] / 10.0f);
}

/* s: rows, in, out, with bias */
static void linear(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, (size_t)s[0] * s[1], -1, 1), w = trial_in(t, (size_t)s[1] * s[2], -1, 1);
    struct tensor bias = s[3] ? trial_in_f32(t, s[2], -1, 1) : tensor_none(), y = trial_out(t, (size_t)s[0] * s[2]);
    t->k->linear(y, x, w, bias, s[0], s[1], s[2]);
}

/* s: rows, in, out, with dx and dbias */
static void linear_backward(struct trial *t, const int *s)
{
    struct tensor x = trial_in(t, (size_t)s[0] * s[1], -1, 1), w = trial_in(t, (size_t)s[1] * s[2], -1, 1);
    struct tensor dy = trial_in(t, (size_t)s[0] * s[2], -1, 1), dw = trial_change(t, (size_t)s[1] * s[2], -1, 1);
    struct tensor dx = s[3] ? trial_out(t, (size_t)s[0] * s[1]) : tensor_none();
    struct tensor dbias = s[3] ? trial_change_f32(t, s[2], -1, 1) : tensor_none();
    t->k->linear_backward(dx, dw, dbias, dy, x, w, s[0], s[1], s[2]);
}

/* s: batch, height, width, in, out, kernel, with bias */
static void conv(struct trial *t, const int *s)
{
    struct conv_shape c = {s[0], s[1], s[2], s[3], s[4], s[5]};
    size_t pixels = (size_t)s[0] * s[1] * s[2];
    struct tensor x = trial_in(t, pixels * c.in, -1, 1);
    struct tensor w = trial_in(t, (size_t)c.out * c.in * c.kernel * c.kernel, -1, 1);
    struct tensor bias = s[6] ? trial_in_f32(t, c.out, -1, 1) : tensor_none(), y = trial_out(t, pixels * c.out);
    t->k->conv(y, x, w, bias, &c);
}

/* s: batch, height, width, in, out, kernel, fusion: bit 0 relu_in, bit 1 relu_out, bit 2 gain, bit 3 no bias */
static void conv_infer(struct trial *t, const int *s)
{
    struct conv_shape c = {s[0], s[1], s[2], s[3], s[4], s[5]};
    struct conv_fusion f = {s[6] & 1, s[6] & 2, s[6] & 4 ? 0.25f : 0};
    size_t pixels = (size_t)s[0] * s[1] * s[2];
    struct tensor x = trial_in(t, pixels * c.in, -1, 1);
    struct tensor w = trial_in(t, (size_t)c.out * c.in * c.kernel * c.kernel, -1, 1);
    struct tensor bias = s[6] & 8 ? tensor_none() : trial_in_f32(t, c.out, -1, 1);
    struct tensor y = f.gain != 0 ? trial_change(t, pixels * c.out, -1, 1) : trial_out(t, pixels * c.out);
    struct tensor packed = t->k->alloc(t->k->conv_packed_size(&c), t->dtype);
    t->k->conv_pack(packed, w, &c);
    t->k->conv_infer(y, x, packed, bias, &c, &f);
    t->k->free(packed);
}

/* s: batch, height, width, in, out, with bias. Small whole numbers tie often; of several pixels the last has no largest
 * number. */
static void conv_argmax(struct trial *t, const int *s)
{
    struct conv_shape c = {s[0], s[1], s[2], s[3], s[4], 1};
    size_t pixels = (size_t)s[0] * s[1] * s[2];
    float *values = trial_begin(t, pixels * c.in, F32, true);
    trial_draw_steps(t, values, pixels * c.in, -2, 3);
    if (pixels > 1)
        values[pixels * c.in - 1] = INFINITY;
    struct tensor x = trial_place(t, true), w = trial_in_steps(t, (size_t)c.out * c.in, -2, 3);
    struct tensor bias = s[5] ? trial_in_steps_f32(t, c.out, -2, 3) : tensor_none(), ids = trial_out_ids(t, pixels);
    struct tensor packed = t->k->alloc(t->k->conv_packed_size(&c), t->dtype);
    t->k->conv_pack(packed, w, &c);
    t->k->conv_argmax(ids, x, packed, bias, &c);
    t->k->free(packed);
}

/* s: batch, height, width, in, out, kernel, with dx and dbias */
static void conv_backward(struct trial *t, const int *s)
{
    struct conv_shape c = {s[0], s[1], s[2], s[3], s[4], s[5]};
    size_t pixels = (size_t)s[0] * s[1] * s[2], weights = (size_t)c.out * c.in * c.kernel * c.kernel;
    struct tensor x = trial_in(t, pixels * c.in, -1, 1), w = trial_in(t, weights, -1, 1);
    struct tensor dy = trial_in(t, pixels * c.out, -1, 1), dw = trial_change(t, weights, -1, 1);
    struct tensor dx = s[6] ? trial_out(t, pixels * c.in) : tensor_none();
    struct tensor dbias = s[6] ? trial_change_f32(t, c.out, -1, 1) : tensor_none();
    t->k->conv_backward(dx, dw, dbias, dy, x, w, &c);
}

/* s: batch, height, width, channels, patch */
static void patches(struct trial *t, const int *s)
{
    size_t n = (size_t)s[0] * s[1] * s[2] * s[3];
    struct tensor x = trial_in(t, n, -1, 1), y = trial_out(t, n);
    t->k->patches(y, x, s[0], s[1], s[2], s[3], s[4]);
}

/* s: batch, height, width, channels */
static void maxpool(struct trial *t, const int *s)
{
    size_t n = (size_t)s[0] * s[1] * s[2] * s[3];
    struct tensor x = trial_in(t, n, -1, 1), y = trial_out(t, n / 4);
    t->k->maxpool(y, x, s[0], s[1], s[2], s[3]);
}

static void maxpool_backward(struct trial *t, const int *s)
{
    size_t n = (size_t)s[0] * s[1] * s[2] * s[3];
    struct tensor x = trial_in_steps(t, n, 0, 4), dy = trial_in(t, n / 4, -1, 1), dx = trial_out(t, n);
    t->k->maxpool_backward(dx, dy, x, s[0], s[1], s[2], s[3]);
}

static void upsample(struct trial *t, const int *s)
{
    size_t n = (size_t)s[0] * s[1] * s[2] * s[3];
    struct tensor x = trial_in(t, n, -1, 1), y = trial_out(t, n * 4);
    t->k->upsample(y, x, s[0], s[1], s[2], s[3]);
}

static void upsample_backward(struct trial *t, const int *s)
{
    size_t n = (size_t)s[0] * s[1] * s[2] * s[3];
    struct tensor dy = trial_in(t, n * 4, -1, 1), dx = trial_out(t, n);
    t->k->upsample_backward(dx, dy, s[0], s[1], s[2], s[3]);
}

#define LINEAR_SHAPES                                                                                                  \
    {                                                                                                                  \
        {1, 1, 1, 1}, {1, 3, 7, 0}, {3, 17, 33, 1}, {7, 33, 17, 0}, {17, 64, 16, 1}, {33, 100, 65, 1},                 \
            {2, 513, 31, 1}, {65, 16, 129, 1}, {300, 48, 24, 1}, {31, 257, 6, 0}, {515, 96, 290, 1}, {9, 400, 200, 1}, \
            {1100, 33, 40, 1},                                                                                         \
    }

/* The demo's sizes, the release's in miniature, and sizes beside the widths of vectors and tiles. */
#define CONV_SHAPES                                                                                                    \
    {                                                                                                                  \
        {1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 3, 7, 3, 1}, {2, 3, 5, 1, 17, 3, 0}, {3, 7, 2, 7, 3, 3, 1},                   \
            {1, 5, 9, 17, 33, 3, 1}, {2, 8, 8, 33, 17, 1, 1}, {1, 32, 32, 3, 24, 7, 0}, {2, 16, 16, 32, 32, 3, 1},     \
            {1, 17, 3, 16, 48, 3, 1}, {3, 4, 4, 64, 15, 3, 0}, {1, 2, 31, 5, 31, 5, 1}, {2, 8, 8, 48, 6, 1, 1},        \
            {1, 3, 3, 65, 9, 7, 1}, {1, 1, 40, 8, 128, 3, 1}, {5, 9, 9, 12, 20, 3, 1}, {3, 31, 32, 24, 40, 3, 1},      \
            {2, 19, 21, 5, 9, 5, 1}, {1, 3, 300, 3, 5, 3, 1}, {9, 5, 4, 30, 31, 3, 1},                                 \
    }

/* Winograd's method takes shapes of many channels: borders, tiles cut off, blocks of tiles and channels begun. */
#define WINOGRAD_SHAPES                                                                                                \
    {                                                                                                                  \
        {1, 4, 4, 32, 32, 3, 0}, {1, 5, 7, 32, 64, 3, 7}, {2, 9, 4, 48, 32, 3, 2}, {1, 8, 31, 80, 64, 3, 5},           \
            {1, 23, 26, 64, 32, 3, 4}, {3, 6, 6, 128, 192, 3, 8}, {1, 4, 44, 160, 96, 3, 11},                          \
            {1, 32, 32, 32, 32, 3, 3}, {2, 10, 13, 32, 16, 3, 6}, {1, 9, 17, 272, 48, 3, 1}, {1, 7, 5, 32, 272, 3, 5}, \
    }

/* Training's are by Winograd's method where pictures are large. */
#define LARGE_SHAPES                                                                                                   \
    {                                                                                                                  \
        {1, 32, 32, 32, 16, 3, 1}, {2, 33, 35, 48, 32, 3, 0}, {1, 41, 26, 16, 64, 3, 1}, {3, 32, 32, 24, 40, 3, 1},    \
    }

#define PICTURE_SHAPES                                                                                                 \
    {                                                                                                                  \
        {1, 2, 2, 1}, {1, 2, 4, 3}, {3, 6, 2, 7}, {2, 4, 6, 17}, {1, 8, 8, 33}, {2, 16, 16, 16}, {1, 2, 2, 100},       \
            {2, 32, 40, 30},                                                                                           \
    }

static const struct operation PRODUCT_OPERATIONS[] = {
    {"matmul",
     matmul,
     1e-6,
     1,
     {{1, 1, 1, 0, 0, 10, 0},
      {3, 7, 1, 1, 0, 10, 10},
      {7, 3, 17, 0, 1, 5, 0},
      {17, 33, 7, 1, 1, 10, 3},
      {33, 17, 65, 0, 0, -7, 0},
      {64, 48, 129, 1, 0, 10, 10},
      {5, 100, 31, 0, 1, 10, 10},
      {130, 6, 33, 1, 1, 3, 0},
      {31, 31, 300, 0, 0, 10, 5},
      {259, 197, 131, 0, 1, 10, 0}}},
    {"linear", linear, 1e-6, 1, LINEAR_SHAPES},
    {"linear_backward", linear_backward, 1e-6, 1, LINEAR_SHAPES},
    {"conv", conv, 1e-6, 1, CONV_SHAPES},
    {"conv_backward", conv_backward, 1e-6, 1, CONV_SHAPES},
    {"conv, winograd", conv, 5e-6, 1, LARGE_SHAPES},
    {"conv_backward, winograd", conv_backward, 5e-6, 1, LARGE_SHAPES},
    {"conv_infer", conv_infer, 1e-6, 1, CONV_SHAPES},
    {"conv_infer, winograd", conv_infer, 5e-6, 1, WINOGRAD_SHAPES},
    {"conv_argmax",
     conv_argmax,
     0,
     0,
     {{1, 1, 1, 1, 1, 0},
      {1, 3, 5, 3, 17, 1},
      {2, 8, 8, 16, 257, 1},
      {3, 7, 5, 65, 600, 0},
      {1, 9, 15, 600, 33, 1},
      {1, 20, 20, 5, 300, 1}}},
    {"patches", patches, 0, 0, {{1, 2, 2, 1, 1}, {1, 4, 8, 3, 4}, {2, 6, 9, 3, 3}, {3, 8, 8, 7, 2}}},
    {"maxpool", maxpool, 0, 0, PICTURE_SHAPES},
    {"maxpool_backward", maxpool_backward, 0, 0, PICTURE_SHAPES},
    {"upsample", upsample, 0, 0, PICTURE_SHAPES},
    {"upsample_backward", upsample_backward, 1e-6, 1, PICTURE_SHAPES},
};

#endif
