/*
 * Fast kernels: convolution. A band of picture rows is copied with its border of zeros; in the copy the pixels under
 * one row of the kernel lie side by side, so a convolution is a matrix product whose rows overlap:
 *   y[pixel][o] = sum over kernel rows, and over (kernel column, in) as one index.
 * Weights are packed to [kernel row][kernel column, in][out] panels. The gradient of a picture is the convolution of
 * dy with the turned kernel; the gradient of the weights is the same product with pixels as the summed index.
 */
#include "kernels/cpu/isa/inference.h"
#include <string.h>

enum {
    BAND_FLOATS = 1 << 16, /* of a copy: in the second cache */
    BAND_ROWS = 8,         /* at most: enough bands for all threads */
};

/* Floats of a row in the copy. */
static size_t copy_row(const struct conv_shape *s)
{
    return (size_t)(s->width + s->kernel - 1) * s->in;
}

/* Rows of the picture in a band. */
static int band_rows(const struct conv_shape *s)
{
    int fit = (int)(BAND_FLOATS / copy_row(s)) - (s->kernel - 1);
    return smaller(smaller(s->height, BAND_ROWS), larger(1, fit));
}

/* Floats of the copy. */
static size_t copy_size(const struct conv_shape *s)
{
    return copy_row(s) * (band_rows(s) + s->kernel - 1) + WIDE;
}

/* copy = picture rows first - kernel / 2 .. first + rows + kernel / 2 - 1 with zeros all around. */
static void copy_band(float *copy, const float *picture, int first, int rows, const struct conv_shape *s)
{
    int half = s->kernel / 2;
    size_t row = (size_t)s->width * s->in, border = (size_t)half * s->in, whole = copy_row(s);
    for (int y = first - half; y < first + rows + half; y++, copy += whole) {
        if (y < 0 || y >= s->height) {
            memset(copy, 0, whole * sizeof(float));
            continue;
        }
        memset(copy, 0, border * sizeof(float));
        memcpy(copy + border, picture + y * row, row * sizeof(float));
        memset(copy + border + row, 0, border * sizeof(float));
    }
}

static void relu(float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

static const struct conv_fusion UNCHANGED; /* training's convolutions have none */

/* y = conv(x, panels) + bias, or what f makes of it, panels [ceil(out / WIDE)][kernel * kernel * in][WIDE]. */
static void convolve(float *y, const float *x, const float *panels, const float *bias, const struct conv_shape *s,
                     const struct conv_fusion *f, const struct scratch *scratch)
{
    int band = band_rows(s), bands = ceil_div(s->height, band), depth = s->kernel * s->in;
    size_t pixels = (size_t)s->height * s->width, row = (size_t)s->width * s->out;
    PARALLEL_FOR(s->batch * pixels * s->kernel * depth * s->out / 8)
    for (int task = 0; task < s->batch * bands; task++) {
        int picture = task / bands, first = task % bands * band, rows = smaller(band, s->height - first);
        float *copy = scratch_mine(scratch), *to = y + picture * pixels * s->out + first * row;
        copy_band(copy, x + picture * pixels * s->in, first, rows, s);
        if (f->relu_in)
            relu(copy, copy_row(s) * (rows + s->kernel - 1));
        for (int r = 0; r < rows; r++, to += row) {
            struct block t = {.a = copy + r * copy_row(s),
                              .a_outer = (ptrdiff_t)copy_row(s),
                              .a_row = s->in,
                              .a_col = 1,
                              .b = panels,
                              .b_panel = (ptrdiff_t)s->kernel * depth * WIDE,
                              .b_row = WIDE,
                              .start = bias,
                              .start_row = 0,
                              .c = to,
                              .c_row = s->out,
                              .outer = s->kernel,
                              .depth = depth,
                              .fusion = f};
            FN(block_run)(&t, s->width, s->out);
        }
    }
}

/* panels [tap][in][out] of w [out][in][tap]; turned: of w [in][out][last - tap], for the way back. */
static void pack_weights(float *panels, const float *w, const struct conv_shape *s, bool turned)
{
    int taps = s->kernel * s->kernel, outer = s->in, inner = s->out;
    ptrdiff_t outer_step = turned ? (ptrdiff_t)inner * taps : taps;
    ptrdiff_t inner_step = turned ? taps : (ptrdiff_t)outer * taps;
    PARALLEL_FOR((size_t)taps * outer * inner * 8)
    for (int panel = 0; panel < ceil_div(inner, WIDE); panel++)
        for (int tap = 0; tap < taps; tap++) {
            float *to = panels + ((size_t)panel * taps + tap) * outer * WIDE;
            struct pack p = {w + (turned ? taps - 1 - tap : tap) + panel * WIDE * inner_step, outer_step, inner_step,
                             outer, smaller(WIDE, inner - panel * WIDE)};
            FN(pack_panels)(to, &p, 0, 1);
        }
}

void FN(direct_pack)(float *to, const float *w, const struct conv_shape *s)
{
    pack_weights(to, w, s, false);
}

void FN(direct)(float *y, const float *x, const float *panels, const float *bias, const struct conv_shape *s,
                const struct conv_fusion *f)
{
    struct scratch scratch = FN(scratch)(0, copy_size(s));
    convolve(y, x, panels, bias, s, f, &scratch);
}

/* y = conv(x, w) + bias with weights that are new, turned for the way back. Winograd's method pays for their
 * transformation where pictures are large. */
static void convolve_new(float *y, const float *x, const float *w, const float *bias, const struct conv_shape *s,
                         bool turned)
{
    enum { LARGE = 1024 }; /* pixels */
    if (FN(winograd_suits)(s) && s->height * s->width >= LARGE) {
        struct scratch scratch = FN(scratch)(FN(winograd_size)(s), FN(winograd_scratch)());
        FN(winograd_pack)(scratch.shared, w, s, turned);
        FN(winograd)(y, x, scratch.shared, bias, s, &UNCHANGED, &scratch);
    } else {
        struct scratch scratch = FN(scratch)(pack_size(s->kernel * s->kernel * s->in, s->out), copy_size(s));
        pack_weights(scratch.shared, w, s, turned);
        convolve(y, x, scratch.shared, bias, s, &UNCHANGED, &scratch);
    }
}

static void conv(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, const struct conv_shape *s)
{
    if (s->kernel == 1)
        FN(fast_linear)(y, x, w, bias, s->batch * s->height * s->width, s->in, s->out);
    else
        convolve_new(y.data, x.data, w.data, bias.data, s, false);
}

/* sums [kernel row][kernel column, in][out], `columns` floats to a row, += the share of one band. */
static void band_gradient(float *sums, const float *copy, const float *dy, int rows, int columns,
                          const struct conv_shape *s)
{
    int depth = s->kernel * s->in;
    for (int k = 0; k < s->kernel; k++) {
        struct block t = {.a = copy + k * copy_row(s),
                          .a_outer = (ptrdiff_t)copy_row(s),
                          .a_row = 1,
                          .a_col = s->in,
                          .b = dy,
                          .b_panel = WIDE,
                          .b_row = columns,
                          .start = sums + (size_t)k * depth * columns,
                          .start_row = columns,
                          .c = sums + (size_t)k * depth * columns,
                          .c_row = columns,
                          .outer = rows,
                          .depth = s->width};
        FN(block_run)(&t, depth, columns);
    }
}

/* to [pixels, columns] = dy [pixels, out], zeros past out. */
static void widen(float *to, const float *dy, int pixels, int out, int columns)
{
    for (int p = 0; p < pixels; p++) {
        memcpy(to + (size_t)p * columns, dy + (size_t)p * out, out * sizeof(float));
        memset(to + (size_t)p * columns + out, 0, (columns - out) * sizeof(float));
    }
}

/* dw [out][in][tap] += the sum of `parts` sums [tap][in][columns]; the first is overwritten. */
static void add_parts(float *dw, float *sums, int parts, int columns, const struct conv_shape *s)
{
    enum { BLOCK = 4096 };
    int taps = s->kernel * s->kernel, size = taps * s->in * columns;
    PARALLEL_FOR((size_t)parts * size)
    for (int first = 0; first < size; first += BLOCK)
        for (int part = 1; part < parts; part++)
            for (int i = first; i < smaller(first + BLOCK, size); i++)
                sums[i] += sums[(size_t)part * size + i];
    PARALLEL_FOR((size_t)size * 4)
    for (int o = 0; o < s->out; o++)
        for (int i = 0; i < s->in; i++)
            for (int t = 0; t < taps; t++)
                dw[((size_t)o * s->in + i) * taps + t] += sums[((size_t)t * s->in + i) * columns + o];
}

/* The batch is cut into parts, each summed by itself, and the parts are added in order. */
static void weight_gradient(float *dw, const float *dy, const float *x, const struct conv_shape *s)
{
    enum { MOST_PARTS = 32, LEAST_PARTS = 8, PART_PIXELS = 2048 };
    int columns = whole_columns(s->out), band = band_rows(s);
    size_t sums = (size_t)s->kernel * s->kernel * s->in * columns, pixels = (size_t)s->height * s->width;
    int parts = smaller(MOST_PARTS, larger(LEAST_PARTS, (int)(s->batch * pixels / PART_PIXELS)));
    parts = smaller(parts, s->batch);
    struct scratch scratch = FN(scratch)(parts * sums, copy_size(s) + (size_t)band * s->width * columns);
    PARALLEL_FOR(s->batch * pixels * sums / 8)
    for (int part = 0; part < parts; part++) {
        float *sum = scratch.shared + part * sums, *copy = scratch_mine(&scratch), *wide = copy + copy_size(s);
        memset(sum, 0, sums * sizeof(float));
        for (int picture = part_start(s->batch, part, parts); picture < part_start(s->batch, part + 1, parts);
             picture++)
            for (int first = 0; first < s->height; first += band) {
                int rows = smaller(band, s->height - first);
                const float *from = dy + (picture * pixels + (size_t)first * s->width) * s->out;
                copy_band(copy, x + picture * pixels * s->in, first, rows, s);
                if (columns != s->out)
                    widen(wide, from, rows * s->width, s->out, columns);
                band_gradient(sum, copy, columns != s->out ? wide : from, rows, columns, s);
            }
    }
    add_parts(dw, scratch.shared, parts, columns, s);
}

static void conv_backward(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy, struct tensor x,
                          struct tensor w, const struct conv_shape *s)
{
    int pixels = s->batch * s->height * s->width;
    if (s->kernel == 1) {
        FN(fast_linear_backward)(dx, dw, dbias, dy, x, w, pixels, s->in, s->out);
        return;
    }
    struct conv_shape back = *s;
    back.in = s->out;
    back.out = s->in;
    if (dx.data)
        convolve_new(dx.data, dy.data, w.data, NULL, &back, true);
    weight_gradient(dw.data, dy.data, x.data, s);
    if (dbias.data)
        FN(add_column_sums)(dbias.data, dy.data, pixels, s->out, FN(scratch)(column_sums_size(s->out), 0).shared);
}

void FN(fast_convolution)(struct kernels *k)
{
    k->conv = conv;
    k->conv_backward = conv_backward;
}
