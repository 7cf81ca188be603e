/*
 * What the fast kernels share. Each file here is compiled once for each instruction set; FN gives a symbol the suffix
 * of its set, so that both live in one library. Nothing here may run before kernels_cpu() has chosen, so there are no
 * initialisers that compute.
 *
 * Everything rests on one micro-kernel (tile.c): matrix products, convolution and attention differ in how they
 * address its operands. An element of a product is one chain of fused multiply-adds in the order of the summed index,
 * begun from the bias or from what was there. So it depends neither on the tile that it falls in nor on the number of
 * rows or threads; where a long sum is split (gradients of weights), the shapes alone say where.
 */
#ifndef ATELIER_KERNELS_CPU_ISA_FAST_H
#define ATELIER_KERNELS_CPU_ISA_FAST_H

#include "kernels/cpu/isa.h"
#include <omp.h>

#ifndef ISA
#define ISA generic
#endif
#define FN_JOIN(name, isa) name##_##isa
#define FN_EXPAND(name, isa) FN_JOIN(name, isa)
#define FN(name) FN_EXPAND(name, ISA)

#ifdef __AVX512F__
enum { VEC = 16 }; /* floats in a vector */
#else
enum { VEC = 8 };
#endif
enum { WIDE = 2 * VEC }; /* columns of a full tile, and of a packed panel */

/* Shares out a loop among threads. `work` is its length in tenths of a nanosecond or so: waking a thread that waits
 * asleep (which is best where programs share the cores) takes several thousand of them. */
static inline int threads_for(size_t work)
{
    return work < 1 << 16 ? 1 : kernels_threads();
}
#define PRAGMA(text) _Pragma(#text)
#define PARALLEL_FOR(work) PRAGMA(omp parallel for schedule(static) num_threads(threads_for(work)))
/* The same for few, long turns: a thread that other programs hold up gets fewer. */
#define PARALLEL_PARTS(work) PRAGMA(omp parallel for schedule(dynamic) num_threads(threads_for(work)))

static inline int ceil_div(int a, int b)
{
    return (a + b - 1) / b;
}
static inline int smaller(int a, int b)
{
    return a < b ? a : b;
}
static inline int larger(int a, int b)
{
    return a > b ? a : b;
}
/* Where part `index` of `parts` of n things starts. */
static inline int part_start(int n, int index, int parts)
{
    return (int)((int64_t)n * index / parts);
}
static inline size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Columns that tiles of n columns take and read of b: a vector of 4 or 8, or whole ones. */
static inline int whole_columns(int n)
{
    return n <= 4 ? 4 : n <= 8 ? 8 : (int)round_up(n, VEC);
}

/* c[i][j] = start[i][j] + sum over o < outer, k < depth of
 *           a[o * a_outer + i * a_row + k * a_col] * b[j / WIDE * b_panel + (o * depth + k) * b_row + j % WIDE].
 * start: absent for zeros; c itself to accumulate; with start_row 0 one row (a bias) for all. b's rows must be
 * readable up to whole_columns(n) (a packed panel's are). Strides are in floats. With a fusion, its gain and relu_out
 * are done to the sums on their way to c. */
struct block {
    const float *a;
    ptrdiff_t a_outer, a_row, a_col;
    const float *b;
    ptrdiff_t b_panel, b_row;
    const float *start;
    ptrdiff_t start_row;
    float *c;
    ptrdiff_t c_row;
    int outer, depth;
    const struct conv_fusion *fusion; /* or NULL */
};
void FN(block_run)(const struct block *t, int m, int n);

/* Copies b, element (k, j) at b[k * row + j * col], to panels [ceil(n / WIDE)][depth][WIDE], zeros past n: rows from
 * .. to - 1 of `depth` in panels first .. last - 1. */
struct pack {
    const float *b;
    ptrdiff_t row, col;
    int depth, n;
};
void FN(pack_panels)(float *to, const struct pack *p, int first, int last);
static inline size_t pack_size(int depth, int n)
{
    return round_up(n, WIDE) * depth;
}

/* Scratch memory, kept and only ever grown: `shared` floats for all, `each` for every thread, 64-byte aligned. Valid
 * until the next call, so one operation asks once. */
struct scratch {
    float *shared, *threads;
    size_t each;
};
struct scratch FN(scratch)(size_t shared, size_t each);
static inline float *scratch_mine(const struct scratch *s)
{
    return s->threads + (size_t)omp_get_thread_num() * s->each;
}

/* to [n] += sums of the columns of x [rows, n]; `partial` has column_sums_size(n) floats. */
enum { COLUMN_PARTS = 16, COLUMN_GROUP = 64 };
static inline size_t column_sums_size(int n)
{
    return (size_t)COLUMN_PARTS * larger(n, COLUMN_GROUP);
}
void FN(add_column_sums)(float *to, const float *x, int rows, int n, float *partial);

/* Each file's operations into the table. */
void FN(fast_products)(struct kernels *k);
void FN(fast_convolution)(struct kernels *k);
void FN(fast_inference)(struct kernels *k);
void FN(fast_attention)(struct kernels *k);
void FN(fast_attention_backward)(struct kernels *k);
void FN(fast_attention_step)(struct kernels *k);
void FN(fast_elementwise)(struct kernels *k);
void FN(fast_normalisation)(struct kernels *k);
void FN(fast_losses)(struct kernels *k);
void FN(fast_relaxation)(struct kernels *k);
void FN(fast_pictures)(struct kernels *k);

/* For a convolution with a kernel of one pixel. */
void FN(fast_linear)(struct tensor y, struct tensor x, struct tensor w, struct tensor bias, int rows, int in, int out);
void FN(fast_linear_backward)(struct tensor dx, struct tensor dw, struct tensor dbias, struct tensor dy,
                              struct tensor x, struct tensor w, int rows, int in, int out);

#endif
