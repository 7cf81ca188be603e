/*
 * The micro-kernel of all products: a few rows times one or two vectors of columns, held in registers while the summed
 * index runs. 8 x 2 vectors of AVX-512 or 6 x 2 of AVX2 keep the multipliers busy; nothing is gained by more. Few
 * columns (the bottlenecks of small dVAEs) have tiles of shorter vectors, which would be partly idle.
 */
#include "common/mem.h"
#include "kernels/cpu/isa/fast.h"
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 8 };
#ifdef __AVX512F__
enum { WIDE_ROWS = 8 };
#else
enum { WIDE_ROWS = 6 }; /* 16 registers */
#endif

/* Where a tile's operands start, and what is called into the second cache meanwhile: of slow memory the processor
 * foresees too little. */
struct tile_at {
    const float *a, *b, *start;
    float *c;
    const float *ahead;
    ptrdiff_t ahead_step; /* from one step of the summed index to the next */
};

#define TILE tile_4
#define LANES 4
#define VECTORS 1
#define ROWS 8
#include "kernels/cpu/isa/tile_template.h"

#define TILE tile_8
#define LANES 8
#define VECTORS 1
#define ROWS 8
#include "kernels/cpu/isa/tile_template.h"

#ifdef __AVX512F__
#define TILE tile_16
#define LANES 16
#define VECTORS 1
#define ROWS 8
#include "kernels/cpu/isa/tile_template.h"

#define TILE tile_wide
#define LANES 16
#define VECTORS 2
#define ROWS 8
#include "kernels/cpu/isa/tile_template.h"
#else
#define TILE tile_wide
#define LANES 8
#define VECTORS 2
#define ROWS 6
#include "kernels/cpu/isa/tile_template.h"
#endif

/* `columns` is a value of whole_columns. */
static void run_tile(int rows, int columns, const struct block *t, const struct tile_at *at)
{
    if (columns == WIDE)
        tile_wide(rows, t, at);
#ifdef __AVX512F__
    else if (columns == 16)
        tile_16(rows, t, at);
#endif
    else if (columns == 8)
        tile_8(rows, t, at);
    else
        tile_4(rows, t, at);
}

/* A tile whose last columns lie past n: what it begins with and its results go through full ones beside. */
static void run_edge(int rows, int columns, const struct block *t, const struct tile_at *at)
{
    float begun[MOST_ROWS * WIDE] = {0}, done[MOST_ROWS * WIDE] = {0}, *c = at->c;
    const struct tile_at full = {at->a, at->b, begun, done, at->ahead, at->ahead_step};
    struct block beside = *t;
    beside.c_row = WIDE;
    beside.start_row = WIDE;
    for (int i = 0; at->start && i < rows; i++)
        memcpy(begun + i * WIDE, at->start + i * t->start_row, columns * sizeof(float));
    for (int i = 0; t->fusion && t->fusion->gain != 0 && i < rows; i++)
        memcpy(done + i * WIDE, c + i * t->c_row, columns * sizeof(float));
    run_tile(rows, whole_columns(columns), &beside, &full);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * t->c_row, done + i * WIDE, columns * sizeof(float));
}

void FN(block_run)(const struct block *t, int m, int n)
{
    const ptrdiff_t steps = (ptrdiff_t)t->outer * t->depth;
    for (int j = 0; j < n; j += WIDE) {
        int columns = smaller(WIDE, n - j), whole = whole_columns(columns);
        int tiles = ceil_div(m, whole == WIDE ? WIDE_ROWS : MOST_ROWS), least = m / tiles, more = m % tiles;
        const float *b = t->b + j / WIDE * t->b_panel;
        /* The next panel, in equal shares of the tiles of this one. */
        struct tile_at at = {.b = b, .ahead = b + t->b_panel, .ahead_step = larger(1, WIDE / tiles)};
        if (t->b_row != WIDE)
            at.ahead = b, at.ahead_step = 0;
        for (int i = 0, rows; i < m; i += rows, at.ahead += steps * at.ahead_step) {
            rows = least + (more-- > 0);
            at.a = t->a + i * t->a_row;
            at.start = t->start ? t->start + i * t->start_row + j : NULL;
            at.c = t->c + i * t->c_row + j;
            if (columns == whole)
                run_tile(rows, columns, t, &at);
            else
                run_edge(rows, columns, t, &at);
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
    int group = larger(1, COLUMN_GROUP / n), wide = group * n; /* rows side by side make up whole vectors */
    PARALLEL_FOR((size_t)rows * n)
    for (int part = 0; part < COLUMN_PARTS; part++) {
        float *restrict sum = partial + (size_t)part * wide;
        int r = part_start(rows, part, COLUMN_PARTS), last = part_start(rows, part + 1, COLUMN_PARTS);
        memset(sum, 0, wide * sizeof(float));
        for (; r + group <= last; r += group)
            for (int j = 0; j < wide; j++)
                sum[j] += x[(size_t)r * n + j];
        for (; r < last; r++)
            for (int j = 0; j < n; j++)
                sum[j] += x[(size_t)r * n + j];
    }
    for (int row = 0; row < COLUMN_PARTS * group; row++)
        for (int j = 0; j < n; j++)
            to[j] += partial[(size_t)row * n + j];
}
