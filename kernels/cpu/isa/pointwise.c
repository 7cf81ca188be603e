/*
 * Fast kernels: 1x1 convolution for inference, a matrix product of pixels and weights. A task takes a block of pixels
 * and of output channels; what is done to a result is done in its registers.
 */
#include "kernels/cpu/isa/inference.h"
#include <math.h>
#include <string.h>

enum {
    ROW_BLOCK = 64,
    COLUMN_BLOCK = 8 * WIDE,
    DEPTH_BLOCK = 512, /* of a panel and of a block of rows: in the second cache */
    PADDING = 16       /* floats between rows of a copy, which could lie a power of two apart and share cache lines */
};

struct part {
    const float *x, *panels, *bias;
    int in, row, rows, column, columns;
    bool relu_in;
};

/* Where the weights of a part start from input channel k on, in the order in which it reads them:
 * [column block][depth block][panel][channel][WIDE]. */
static size_t panels_at(int in, int column, int columns, int k)
{
    return (size_t)column * in + (size_t)k * round_up(columns, WIDE);
}

void FN(pointwise_pack)(float *to, const float *w, int in, int out)
{
    PARALLEL_FOR((size_t)in * out * 8)
    for (int column = 0; column < out; column += COLUMN_BLOCK)
        for (int k = 0; k < in; k += DEPTH_BLOCK) {
            int columns = smaller(COLUMN_BLOCK, out - column);
            struct pack p = {w + (size_t)column * in + k, 1, in, smaller(DEPTH_BLOCK, in - k), columns};
            FN(pack_panels)(to + panels_at(in, column, columns, k), &p, 0, ceil_div(columns, WIDE));
        }
}

/* Floats of sums, and of a copy of pixels. */
static size_t part_floats(void)
{
    return ROW_BLOCK * (COLUMN_BLOCK + DEPTH_BLOCK + PADDING);
}

/* to = max(x, 0), rows of `depth` floats. */
static void copy_positive(float *to, const float *x, const struct part *p, int depth)
{
    for (int i = 0; i < p->rows; i++, to += depth + PADDING, x += p->in)
#pragma omp simd
        for (int k = 0; k < depth; k++)
            to[k] = x[k] > 0 ? x[k] : 0;
}

/* y [rows, y_row] = the results, or what f makes of them. Sums that are not whole yet are in `memory`. */
static void part_run(float *y, ptrdiff_t y_row, const struct part *p, const struct conv_fusion *f, float *memory)
{
    float *copy = memory + ROW_BLOCK * COLUMN_BLOCK;
    for (int k = 0; k < p->in; k += DEPTH_BLOCK) {
        int depth = smaller(DEPTH_BLOCK, p->in - k);
        bool last = k + depth == p->in;
        const float *x = p->x + (size_t)p->row * p->in + k;
        if (p->relu_in)
            copy_positive(copy, x, p, depth);
        struct block t = {.a = p->relu_in ? copy : x,
                          .a_row = p->relu_in ? depth + PADDING : p->in,
                          .a_col = 1,
                          .b = p->panels + panels_at(p->in, p->column, p->columns, k),
                          .b_panel = (ptrdiff_t)depth * WIDE,
                          .b_row = WIDE,
                          .start = k > 0     ? memory
                                   : p->bias ? p->bias + p->column
                                             : NULL,
                          .start_row = k > 0 ? COLUMN_BLOCK : 0,
                          .c = last ? y : memory,
                          .c_row = last ? y_row : COLUMN_BLOCK,
                          .outer = 1,
                          .depth = depth,
                          .fusion = last ? f : NULL};
        FN(block_run)(&t, p->rows, p->columns);
    }
}

/* Part `index` in an order that keeps a block of weights while all rows pass it. */
static struct part part_at(int index, const float *x, const float *panels, const float *bias, int rows, int in, int out)
{
    int blocks = ceil_div(rows, ROW_BLOCK), block = index % blocks, column = index / blocks * COLUMN_BLOCK;
    int row = part_start(rows, block, blocks);
    return (struct part){.x = x,
                         .panels = panels,
                         .bias = bias,
                         .in = in,
                         .row = row,
                         .rows = part_start(rows, block + 1, blocks) - row,
                         .column = column,
                         .columns = smaller(COLUMN_BLOCK, out - column)};
}
static int part_count(int rows, int out)
{
    return ceil_div(rows, ROW_BLOCK) * ceil_div(out, COLUMN_BLOCK);
}

void FN(pointwise)(float *y, const float *x, const float *packed, const float *bias, const struct conv_shape *s,
                   const struct conv_fusion *f)
{
    int rows = s->batch * s->height * s->width;
    struct scratch scratch = FN(scratch)(0, part_floats());
    PARALLEL_PARTS((size_t)rows * s->in * s->out / 8)
    for (int i = 0; i < part_count(rows, s->out); i++) {
        struct part p = part_at(i, x, packed, bias, rows, s->in, s->out);
        p.relu_in = f->relu_in;
        part_run(y + (size_t)p.row * s->out + p.column, s->out, &p, f, scratch_mine(&scratch));
    }
}

/* The first largest of n numbers. */
static int first_largest(const float *x, int n)
{
    typedef int32_t bits __attribute__((vector_size(4 * VEC)));
    int best = 0, c = 0;
    if (n >= VEC) {
        /* Lane by lane, then the lanes. */
        lanes most = *(const lanes *)x;
        bits at = {0};
        for (c = VEC; c + VEC <= n; c += VEC) {
            lanes now = *(const lanes *)(x + c);
            bits more = now > most;
            most = (lanes)((more & (bits)now) | (~more & (bits)most));
            at = (more & c) | (~more & at);
        }
        best = at[0];
        for (int lane = 1; lane < VEC; lane++) {
            int place = at[lane] + lane;
            bool before = place < best && x[place] == x[best];
            best = before || x[place] > x[best] ? place : best;
        }
    }
    for (; c < n; c++)
        best = x[c] > x[best] ? c : best;
    return best;
}

/* Each part's largest, then the largest of those, in the order of columns. */
void FN(pointwise_argmax)(int32_t *ids, const float *x, const float *packed, const float *bias,
                          const struct conv_shape *s)
{
    int rows = s->batch * s->height * s->width, blocks = ceil_div(s->out, COLUMN_BLOCK);
    struct scratch scratch = FN(scratch)((size_t)2 * rows * blocks, part_floats());
    float *largest = scratch.shared;
    int32_t *where = (void *)(largest + (size_t)rows * blocks);
    PARALLEL_PARTS((size_t)rows * s->in * s->out / 8)
    for (int i = 0; i < part_count(rows, s->out); i++) {
        struct part p = part_at(i, x, packed, bias, rows, s->in, s->out);
        const float *sums = scratch_mine(&scratch);
        part_run(scratch_mine(&scratch), COLUMN_BLOCK, &p, NULL, scratch_mine(&scratch));
        for (int r = 0; r < p.rows; r++, sums += COLUMN_BLOCK) {
            int best = first_largest(sums, p.columns);
            size_t at = (size_t)(p.row + r) * blocks + p.column / COLUMN_BLOCK;
            largest[at] = sums[best];
            where[at] = p.column + best;
        }
    }
    for (int r = 0; r < rows; r++, largest += blocks, where += blocks) {
        int best = first_largest(largest, blocks);
        ids[r] = isfinite(largest[best]) ? where[best] : -1;
    }
}
