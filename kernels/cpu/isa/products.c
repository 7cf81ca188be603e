/*
 * Fast kernels: matrix products. The right operand is packed into panels once a call; blocks of the result are shared
 * out among the threads. Products of few rows (a sampler's) are turned round, so that the weights are read where they
 * lie.
 */
#include "kernels/cpu/isa/fast.h"
#include <string.h>

enum {
    ROW_BLOCK = 48,
    COLUMN_BLOCK = 4 * WIDE,
    DEPTH_BLOCK = 512, /* of a panel and of a block's rows: in the second cache */
};

/* c [m, n] = start + a b, a's element (i, p) at a[i * a_row + p * a_col], b packed. */
static void product(float *c, const float *start, ptrdiff_t start_row, const float *a, ptrdiff_t a_row, ptrdiff_t a_col,
                    const float *panels, int m, int n, int k)
{
    int row_blocks = ceil_div(m, ROW_BLOCK), column_blocks = ceil_div(n, COLUMN_BLOCK);
    PARALLEL_FOR((size_t)m * n * k / 8)
    for (int task = 0; task < row_blocks * column_blocks; task++) {
        int block = task / column_blocks, i = part_start(m, block, row_blocks);
        int rows = part_start(m, block + 1, row_blocks) - i, j = task % column_blocks * COLUMN_BLOCK;
        for (int p = 0; p < k; p += DEPTH_BLOCK) {
            struct block t = {.a = a + i * a_row + p * a_col,
                              .a_row = a_row,
                              .a_col = a_col,
                              .b = panels + (size_t)j * k + (size_t)p * WIDE,
                              .b_panel = (ptrdiff_t)k * WIDE,
                              .b_row = WIDE,
                              .start = start ? start + i * start_row + j : NULL,
                              .start_row = start_row,
                              .c = c + (size_t)i * n + j,
                              .c_row = n,
                              .outer = 1,
                              .depth = smaller(DEPTH_BLOCK, k - p)};
            if (p > 0) {
                t.start = t.c;
                t.start_row = n;
            }
            FN(block_run)(&t, rows, smaller(COLUMN_BLOCK, n - j));
        }
    }
}

/* b packed, by all threads. */
static void pack_all(float *to, const struct pack *p)
{
    int panels = ceil_div(p->n, WIDE);
    PARALLEL_FOR((size_t)p->depth * p->n * 8)
    for (int panel = 0; panel < panels; panel++)
        FN(pack_panels)(to, p, panel, panel + 1);
}

static void scale_all(float *x, float a, size_t n)
{
    if (a == 0) /* it may hold anything, even NaN */
        memset(x, 0, n * sizeof(float));
    else
        for (size_t i = 0; a != 1 && i < n; i++)
            x[i] *= a;
}

static void matmul(struct tensor c, struct tensor a, struct tensor b, int m, int n, int k, bool ta, bool tb,
                   float alpha, float beta)
{
    struct scratch s = FN(scratch)(pack_size(k, n), 0);
    struct pack p = {b.data, tb ? 1 : n, tb ? k : 1, k, n};
    pack_all(s.shared, &p);
    if (alpha != 1)
        scale_all(s.shared, alpha, pack_size(k, n));
    scale_all(c.data, beta, (size_t)m * n);
    product(c.data, c.data, n, a.data, ta ? 1 : k, ta ? m : 1, s.shared, m, n, k);
}

/* linear for up to WIDE rows: y^T = w x^T, with x^T as the one panel. */
static void linear_few(float *y, const float *x, const float *w, const float *bias, int rows, int in, int out)
{
    struct scratch s = FN(scratch)(pack_size(in, rows) + (size_t)out * WIDE, 0);
    float *turned = s.shared + pack_size(in, rows);
    struct pack p = {x, 1, in, in, rows};
    FN(pack_panels)(s.shared, &p, 0, 1);
    PARALLEL_FOR((size_t)rows * in * out / 8)
    for (int block = 0; block < ceil_div(out, ROW_BLOCK); block++) {
        int first = block * ROW_BLOCK, count = smaller(ROW_BLOCK, out - first);
        float *c = turned + (size_t)first * WIDE;
        for (int o = 0; o < count; o++)
            for (int r = 0; r < WIDE; r++)
                c[o * WIDE + r] = bias ? bias[first + o] : 0;
        struct block t = {.a = w + (size_t)first * in,
                          .a_row = in,
                          .a_col = 1,
                          .b = s.shared,
                          .b_row = WIDE,
                          .start = c,
                          .start_row = WIDE,
                          .c = c,
                          .c_row = WIDE,
                          .outer = 1,
                          .depth = in};
        FN(block_run)(&t, count, rows > VEC ? WIDE : VEC);
        for (int r = 0; r < rows; r++)
            for (int o = 0; o < count; o++)
                y[(size_t)r * out + first + o] = c[o * WIDE + r];
    }
}

void FN(fast_linear)(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, int rows, int in, int out)
{
    if (rows <= WIDE) {
        linear_few(y.data, x.data, w.data, bias.data, rows, in, out);
        return;
    }
    struct scratch s = FN(scratch)(pack_size(in, out), 0);
    struct pack p = {w.data, 1, in, in, out};
    pack_all(s.shared, &p);
    product(y.data, bias.data, 0, x.data, in, 1, s.shared, rows, out, in);
}

/* The gradient of weights sums over all rows. Few weights: the rows are cut into parts, each summed by itself, and the
 * parts added in order. Many: each thread has its own rows of weights, and no sum is cut. */
enum {
    FEW_WEIGHTS = 16384,
    MOST_PARTS = 32,
    PART_ROWS = 512,     /* at least */
    GRADIENT_ROWS = 256, /* summed at a time, from the near caches */
    GRADIENT_BLOCK = 128 /* rows of weights */
};

/* sums [out, in] = dy^T x over `rows` rows. `packed` has room for GRADIENT_ROWS packed rows. */
static void gradient_part(float *sums, const float *dy, const float *x, int rows, int in, int out, float *packed)
{
    for (int r = 0; r < rows; r += GRADIENT_ROWS) {
        int count = smaller(GRADIENT_ROWS, rows - r);
        struct block t = {.a = dy + (size_t)r * out,
                          .a_row = 1,
                          .a_col = out,
                          .b = x + (size_t)r * in,
                          .b_panel = WIDE,
                          .b_row = in,
                          .start = r > 0 ? sums : NULL,
                          .start_row = in,
                          .c = sums,
                          .c_row = in,
                          .outer = 1,
                          .depth = count};
        if (whole_columns(in) != in) {
            struct pack p = {t.b, in, 1, count, in};
            FN(pack_panels)(packed, &p, 0, ceil_div(in, WIDE));
            t.b = packed;
            t.b_panel = (ptrdiff_t)count * WIDE;
            t.b_row = WIDE;
        }
        FN(block_run)(&t, out, in);
    }
}

static void gradient_of_few(float *dw, const float *dy, const float *x, int rows, int in, int out)
{
    int parts = smaller(MOST_PARTS, ceil_div(rows, PART_ROWS)), weights = in * out;
    struct scratch s = FN(scratch)((size_t)parts * weights, pack_size(GRADIENT_ROWS, in));
    PARALLEL_FOR((size_t)rows * in * out / 8)
    for (int part = 0; part < parts; part++) {
        int first = part_start(rows, part, parts), last = part_start(rows, part + 1, parts);
        gradient_part(s.shared + (size_t)part * weights, dy + (size_t)first * out, x + (size_t)first * in, last - first,
                      in, out, scratch_mine(&s));
    }
    for (int part = 0; part < parts; part++)
        for (int i = 0; i < weights; i++)
            dw[i] += s.shared[(size_t)part * weights + i];
}

/* One thread's rows of weights, first .. first + count - 1. Both operands are packed: rows that lie a power of two
 * apart would fall out of the caches. */
static void gradient_share(float *dw, const float *dy, const float *x, int rows, int in, int out, int first, int count,
                           float *memory)
{
    float *x_packed = memory, *dy_packed = memory + pack_size(GRADIENT_ROWS, in);
    for (int r = 0; r < rows; r += GRADIENT_ROWS) {
        int depth = smaller(GRADIENT_ROWS, rows - r);
        struct pack p = {x + (size_t)r * in, in, 1, depth, in};
        FN(pack_panels)(x_packed, &p, 0, ceil_div(in, WIDE));
        for (int i = 0; i < depth; i++)
            for (int o = 0; o < count; o += GRADIENT_BLOCK) {
                int block = smaller(GRADIENT_BLOCK, count - o);
                memcpy(dy_packed + (size_t)o * depth + i * block, dy + (size_t)(r + i) * out + first + o,
                       block * sizeof(float));
            }
        for (int o = 0; o < count; o += GRADIENT_BLOCK) {
            int block = smaller(GRADIENT_BLOCK, count - o);
            float *c = dw + (size_t)(first + o) * in;
            struct block t = {.a = dy_packed + (size_t)o * depth,
                              .a_row = 1,
                              .a_col = block,
                              .b = x_packed,
                              .b_panel = (ptrdiff_t)depth * WIDE,
                              .b_row = WIDE,
                              .start = c,
                              .start_row = in,
                              .c = c,
                              .c_row = in,
                              .outer = 1,
                              .depth = depth};
            FN(block_run)(&t, block, in);
        }
    }
}

static void gradient_of_many(float *dw, const float *dy, const float *x, int rows, int in, int out)
{
    int shares = kernels_threads();
    struct scratch s = FN(scratch)(0, pack_size(GRADIENT_ROWS, in) + GRADIENT_ROWS * ceil_div(out, shares));
    PARALLEL_FOR((size_t)rows * in * out / 8)
    for (int share = 0; share < shares; share++) {
        int first = part_start(out, share, shares), count = part_start(out, share + 1, shares) - first;
        gradient_share(dw, dy, x, rows, in, out, first, count, scratch_mine(&s));
    }
}

void FN(fast_linear_backward)(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy,
                              struct tensor x, struct tensor w, int rows, int in, int out)
{
    if (dx.data) {
        struct scratch s = FN(scratch)(pack_size(out, in), 0);
        struct pack p = {w.data, in, 1, out, in};
        pack_all(s.shared, &p);
        product(dx.data, NULL, 0, dy.data, out, 1, s.shared, rows, in, out);
    }
    if ((size_t)in * out <= FEW_WEIGHTS)
        gradient_of_few(dw.data, dy.data, x.data, rows, in, out);
    else
        gradient_of_many(dw.data, dy.data, x.data, rows, in, out);
    if (dbias.data)
        FN(add_column_sums)(dbias.data, dy.data, rows, out, FN(scratch)(column_sums_size(out), 0).shared);
}

void FN(fast_products)(struct kernels *k)
{
    k->matmul = matmul;
    k->linear = FN(fast_linear);
    k->linear_backward = FN(fast_linear_backward);
}
