/*
 * The micro-kernel of all products: a few rows times one or two vectors of columns, held in registers while the summed
 * index runs. 8 x 2 vectors of AVX-512 or 6 x 2 of AVX2 keep the multipliers busy; nothing is gained by more.
 */
#include "common/mem.h"
#include "kernels/cpu/isa/fast.h"
#include <stdlib.h>
#include <string.h>

typedef float half __attribute__((vector_size(4 * HALF), aligned(4), may_alias));

enum { MOST_ROWS = 8 };
#ifdef __AVX512F__
enum { WIDE_ROWS = 8 };
#else
enum { WIDE_ROWS = 6 }; /* 16 registers */
#endif

/* rows and vecs are constants where this is expanded, so that sum lives in registers. */
static inline __attribute__((always_inline)) void tile(const int rows, const int vecs, const struct block *t,
                                                       const float *a, const float *b, const float *start, float *c)
{
    vec sum[MOST_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            sum[i][v] = start ? *(const vec *)(start + i * t->start_row + v * VEC) : (vec){0};
    const ptrdiff_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    for (int o = 0; o < t->outer; o++) {
        const float *x = a + o * t->a_outer;
        for (int k = 0; k < t->depth; k++, x += a_col, b += b_row) {
            vec y[2];
#pragma GCC unroll 2
            for (int v = 0; v < vecs; v++)
                y[v] = *(const vec *)(b + v * VEC);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
                for (int v = 0; v < vecs; v++)
                    sum[i][v] += x[i * a_row] * y[v];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < vecs; v++)
            *(vec *)(c + i * t->c_row + v * VEC) = sum[i][v];
}

/* The same for one vector of half the length: eight columns of AVX-512 would leave half a vector idle. */
static inline __attribute__((always_inline)) void half_tile(const int rows, const struct block *t, const float *a,
                                                            const float *b, const float *start, float *c)
{
    half sum[MOST_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sum[i] = start ? *(const half *)(start + i * t->start_row) : (half){0};
    const ptrdiff_t a_row = t->a_row, a_col = t->a_col, b_row = t->b_row;
    for (int o = 0; o < t->outer; o++) {
        const float *x = a + o * t->a_outer;
        for (int k = 0; k < t->depth; k++, x += a_col, b += b_row) {
            half y = *(const half *)b;
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                sum[i] += x[i * a_row] * y;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        *(half *)(c + i * t->c_row) = sum[i];
}

static void run_half(int rows, const struct block *t, const float *a, const float *b, const float *start, float *c)
{
    switch (rows) {
    case 1:
        return half_tile(1, t, a, b, start, c);
    case 2:
        return half_tile(2, t, a, b, start, c);
    case 3:
        return half_tile(3, t, a, b, start, c);
    case 4:
        return half_tile(4, t, a, b, start, c);
    case 5:
        return half_tile(5, t, a, b, start, c);
    case 6:
        return half_tile(6, t, a, b, start, c);
    case 7:
        return half_tile(7, t, a, b, start, c);
    default:
        return half_tile(MOST_ROWS, t, a, b, start, c);
    }
}

static void run_narrow(int rows, const struct block *t, const float *a, const float *b, const float *start, float *c)
{
    switch (rows) {
    case 1:
        return tile(1, 1, t, a, b, start, c);
    case 2:
        return tile(2, 1, t, a, b, start, c);
    case 3:
        return tile(3, 1, t, a, b, start, c);
    case 4:
        return tile(4, 1, t, a, b, start, c);
    case 5:
        return tile(5, 1, t, a, b, start, c);
    case 6:
        return tile(6, 1, t, a, b, start, c);
    case 7:
        return tile(7, 1, t, a, b, start, c);
    default:
        return tile(MOST_ROWS, 1, t, a, b, start, c);
    }
}

static void run_wide(int rows, const struct block *t, const float *a, const float *b, const float *start, float *c)
{
    switch (rows) {
    case 1:
        return tile(1, 2, t, a, b, start, c);
    case 2:
        return tile(2, 2, t, a, b, start, c);
    case 3:
        return tile(3, 2, t, a, b, start, c);
    case 4:
        return tile(4, 2, t, a, b, start, c);
    case 5:
        return tile(5, 2, t, a, b, start, c);
#ifdef __AVX512F__
    case 6:
        return tile(6, 2, t, a, b, start, c);
    case 7:
        return tile(7, 2, t, a, b, start, c);
#endif
    default:
        return tile(WIDE_ROWS, 2, t, a, b, start, c);
    }
}

/* rows <= most_rows(columns), columns a whole number of vectors or half a one. */
static void run_tile(int rows, int columns, const struct block *t, const float *a, const float *b, const float *start,
                     float *c)
{
    if (columns == HALF)
        run_half(rows, t, a, b, start, c);
    else if (columns == VEC)
        run_narrow(rows, t, a, b, start, c);
    else
        run_wide(rows, t, a, b, start, c);
}

/* A tile whose last columns lie past n: its results go through a full one beside. */
static void run_edge(int rows, int columns, const struct block *t, const float *a, const float *b, const float *start,
                     float *c)
{
    float full[MOST_ROWS * WIDE] = {0};
    struct block beside = *t;
    beside.c_row = WIDE;
    beside.start_row = WIDE;
    for (int i = 0; start && i < rows; i++)
        memcpy(full + i * WIDE, start + i * t->start_row, columns * sizeof(float));
    run_tile(rows, whole_columns(columns), &beside, a, b, full, full);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * t->c_row, full + i * WIDE, columns * sizeof(float));
}

void FN(block_run)(const struct block *t, int m, int n)
{
    for (int j = 0; j < n; j += WIDE) {
        int columns = smaller(WIDE, n - j), whole = whole_columns(columns);
        int tiles = ceil_div(m, whole == WIDE ? WIDE_ROWS : MOST_ROWS), least = m / tiles, more = m % tiles;
        const float *b = t->b + j / WIDE * t->b_panel;
        for (int i = 0, rows; i < m; i += rows) {
            rows = least + (more-- > 0);
            const float *start = t->start ? t->start + i * t->start_row + j : NULL;
            if (columns == whole)
                run_tile(rows, columns, t, t->a + i * t->a_row, b, start, t->c + i * t->c_row + j);
            else
                run_edge(rows, columns, t, t->a + i * t->a_row, b, start, t->c + i * t->c_row + j);
        }
    }
}

/* Rows k .. k + run - 1 of one panel. */
static void pack_run(float *to, const struct pack *p, int panel, int k, int run)
{
    int columns = smaller(WIDE, p->n - panel * WIDE);
    const float *x = p->b + panel * WIDE * p->col + k * p->row;
    if (columns < WIDE)
        memset(to, 0, (size_t)run * WIDE * sizeof(float));
    if (p->col == 1 && columns == WIDE)
        for (int i = 0; i < run; i++)
            memcpy(to + i * WIDE, x + i * p->row, WIDE * sizeof(float));
    else if (p->col == 1)
        for (int i = 0; i < run; i++)
            memcpy(to + i * WIDE, x + i * p->row, columns * sizeof(float));
    else
        for (int j = 0; j < columns; j++)
            for (int i = 0; i < run; i++)
                to[i * WIDE + j] = x[i * p->row + j * p->col];
}

void FN(pack_panels)(float *to, const struct pack *p, int first, int last)
{
    enum { RUN = 16 }; /* rows at a time: what is strided on one side stays in the nearest cache */
    for (int k = 0; k < p->depth; k += RUN)
        for (int panel = first; panel < last; panel++)
            pack_run(to + ((size_t)panel * p->depth + k) * WIDE, p, panel, k, smaller(RUN, p->depth - k));
}

struct scratch FN(scratch)(size_t shared, size_t each)
{
    enum { LINE = 16 }; /* floats in 64 bytes */
    static float *memory;
    static size_t size;
    shared = round_up(shared, LINE);
    each = round_up(each, LINE) + LINE; /* threads' ends apart */
    size_t wanted = shared + each * kernels_threads();
    if (wanted > size) {
        free(memory);
        memory = xmalloc((wanted + LINE) * sizeof(float));
        size = wanted;
    }
    float *aligned = (float *)round_up((uintptr_t)memory, LINE * sizeof(float));
    return (struct scratch){aligned, aligned + shared, each};
}

void FN(add_column_sums)(float *to, const float *x, int rows, int n, float *partial)
{
    PARALLEL_FOR
    for (int part = 0; part < COLUMN_PARTS; part++) {
        float *sum = partial + (size_t)part * n;
        int first = part_start(rows, part, COLUMN_PARTS), last = part_start(rows, part + 1, COLUMN_PARTS);
        memset(sum, 0, n * sizeof(float));
        for (int r = first; r < last; r++)
            for (int j = 0; j < n; j++)
                sum[j] += x[(size_t)r * n + j];
    }
    for (int part = 0; part < COLUMN_PARTS; part++)
        for (int j = 0; j < n; j++)
            to[j] += partial[(size_t)part * n + j];
}
