/*
 * Fast kernels: convolutions of inference, by one of three methods: 1x1 as a matrix product (here), 3x3 of many
 * channels by Winograd's method, the rest directly. Weights are packed once for their method. Activation, gain and sum
 * are done to results that are still in the near caches.
 */
#include "kernels/cpu/isa/inference.h"
#include <string.h>

enum {
    ROW_BLOCK = 64,
    COLUMN_BLOCK = 8 * WIDE,
    DEPTH_BLOCK = 512, /* of a block's rows and of its panels: in the second cache */
    PADDING = 16       /* floats between rows, which could lie a power of two apart and share cache lines */
};

void FN(relu_block)(float *x, size_t n)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] > 0 ? x[i] : 0;
}

void FN(fuse_block)(float *y, ptrdiff_t y_row, const float *from, ptrdiff_t from_row, int rows, int columns,
                    const struct conv_fusion *f)
{
    const float gain = f->gain;
    for (int r = 0; r < rows; r++, y += y_row, from += from_row) {
        if (gain != 0) {
#pragma omp simd
            for (int i = 0; i < columns; i++)
                y[i] += gain * from[i];
        } else if (y != from) {
            memcpy(y, from, columns * sizeof(float));
        }
        if (f->relu_out)
            FN(relu_block)(y, columns);
    }
}

/* A 1x1 convolution's block of rows and columns. */
struct part {
    const float *x, *panels, *bias;
    int in, row, rows, column, columns;
};

static size_t part_floats(void)
{
    return ROW_BLOCK * (DEPTH_BLOCK + PADDING + COLUMN_BLOCK);
}

/* The results [rows, COLUMN_BLOCK], in `memory`. */
static const float *part_run(const struct part *p, bool relu_in, float *memory)
{
    float *sums = memory, *copy = memory + ROW_BLOCK * COLUMN_BLOCK;
    for (int k = 0; k < p->in; k += DEPTH_BLOCK) {
        int depth = smaller(DEPTH_BLOCK, p->in - k), row = depth + PADDING;
        for (int i = 0; i < p->rows; i++) {
            memcpy(copy + i * row, p->x + (size_t)(p->row + i) * p->in + k, depth * sizeof(float));
            if (relu_in)
                FN(relu_block)(copy + i * row, depth);
        }
        struct block t = {.a = copy,
                          .a_row = row,
                          .a_col = 1,
                          .b = p->panels + (size_t)p->column * p->in + (size_t)k * WIDE,
                          .b_panel = (ptrdiff_t)p->in * WIDE,
                          .b_row = WIDE,
                          .start = k > 0     ? sums
                                   : p->bias ? p->bias + p->column
                                             : NULL,
                          .start_row = k > 0 ? COLUMN_BLOCK : 0,
                          .c = sums,
                          .c_row = COLUMN_BLOCK,
                          .outer = 1,
                          .depth = depth};
        FN(block_run)(&t, p->rows, p->columns);
    }
    return sums;
}

/* Part `index` in an order that keeps a block of weights while all rows pass it. */
static struct part part_at(int index, const float *x, const float *panels, const float *bias, int rows, int in, int out)
{
    int blocks = ceil_div(rows, ROW_BLOCK), block = index % blocks, column = index / blocks * COLUMN_BLOCK;
    struct part p = {
        x, panels, bias, in, part_start(rows, block, blocks), 0, column, smaller(COLUMN_BLOCK, out - column)};
    p.rows = part_start(rows, block + 1, blocks) - p.row;
    return p;
}
static int part_count(int rows, int out)
{
    return ceil_div(rows, ROW_BLOCK) * ceil_div(out, COLUMN_BLOCK);
}

static void pointwise(float *y, const float *x, const float *panels, const float *bias, const struct conv_shape *s,
                      const struct conv_fusion *f)
{
    int rows = s->batch * s->height * s->width;
    struct scratch scratch = FN(scratch)(0, part_floats());
    PARALLEL_PARTS((size_t)rows * s->in * s->out / 8)
    for (int i = 0; i < part_count(rows, s->out); i++) {
        struct part p = part_at(i, x, panels, bias, rows, s->in, s->out);
        const float *sums = part_run(&p, f->relu_in, scratch_mine(&scratch));
        FN(fuse_block)(y + (size_t)p.row * s->out + p.column, s->out, sums, COLUMN_BLOCK, p.rows, p.columns, f);
    }
}

static size_t packed_size(const struct conv_shape *s)
{
    if (FN(winograd_suits)(s))
        return FN(winograd_size)(s);
    return pack_size(s->kernel * s->kernel * s->in, s->out);
}

static void pack(struct tensor packed, struct tensor w, const struct conv_shape *s)
{
    if (FN(winograd_suits)(s))
        FN(winograd_pack)(packed.data, w.data, s);
    else
        FN(direct_pack)(packed.data, w.data, s);
}

static void infer(struct tensor y, struct tensor x, struct tensor packed, struct tensor bias,
                  const struct conv_shape *s, const struct conv_fusion *f)
{
    if (s->kernel == 1)
        pointwise(y.data, x.data, packed.data, bias.data, s, f);
    else if (FN(winograd_suits)(s))
        FN(winograd)(y.data, x.data, packed.data, bias.data, s, f);
    else
        FN(direct)(y.data, x.data, packed.data, bias.data, s, f);
}

/* Each part's largest, then the largest of those, in the order of columns. */
static void infer_argmax(struct tensor ids_t, struct tensor x, struct tensor packed, struct tensor bias,
                         const struct conv_shape *s)
{
    int rows = s->batch * s->height * s->width, blocks = ceil_div(s->out, COLUMN_BLOCK);
    struct scratch scratch = FN(scratch)((size_t)2 * rows * blocks, part_floats());
    float *largest = scratch.shared;
    int32_t *where = (void *)(largest + (size_t)rows * blocks), *ids = ids_t.data;
    PARALLEL_PARTS((size_t)rows * s->in * s->out / 8)
    for (int i = 0; i < part_count(rows, s->out); i++) {
        struct part p = part_at(i, x.data, packed.data, bias.data, rows, s->in, s->out);
        const float *sums = part_run(&p, false, scratch_mine(&scratch));
        for (int r = 0; r < p.rows; r++, sums += COLUMN_BLOCK) {
            int best = 0;
            for (int c = 1; c < p.columns; c++)
                best = sums[c] > sums[best] ? c : best;
            size_t at = (size_t)(p.row + r) * blocks + p.column / COLUMN_BLOCK;
            largest[at] = sums[best];
            where[at] = p.column + best;
        }
    }
    for (int r = 0; r < rows; r++, largest += blocks, where += blocks) {
        int best = 0;
        for (int b = 1; b < blocks; b++)
            best = largest[b] > largest[best] ? b : best;
        ids[r] = where[best];
    }
}

void FN(fast_inference)(struct kernels *k)
{
    k->conv_packed_size = packed_size;
    k->conv_pack = pack;
    k->conv_infer = infer;
    k->conv_argmax = infer_argmax;
}
