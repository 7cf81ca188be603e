/*
 * What the tables are compared on: attention under each mask.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_OPERATIONS_ATTENTION_H
#define ATELIER_TESTS_UNIT_KERNELS_OPERATIONS_ATTENTION_H

#include "attention_shape.h"
#include "compare.h"

static void attention(struct trial *t, const int *s)
{
    struct attention_shape a = attention_shape(s);
    size_t queries = (size_t)a.batch * a.states * a.heads;
    struct tensor qkv = trial_in(t, queries * 3 * a.head_dim, -2, 2);
    struct tensor out = trial_out(t, queries * a.head_dim), lse = trial_out_f32(t, queries);
    t->k->attention(out, lse, qkv, &a);
}

static void attention_backward(struct trial *t, const int *s)
{
    struct attention_shape a = attention_shape(s);
    size_t queries = (size_t)a.batch * a.states * a.heads, n = queries * a.head_dim;
    struct tensor qkv = trial_in(t, 3 * n, -2, 2), dout = trial_in(t, n, -1, 1);
    struct tensor out = {xmalloc(n * sizeof(float)), F32}, lse = {xmalloc(queries * sizeof(float)), F32};
    kernels_plain()->attention(out, lse, (struct tensor){trial_values(t, qkv), F32}, &a);
    struct tensor out_in = trial_in_copy(t, out.data, n), lse_in = trial_in_copy_f32(t, lse.data, queries);
    t->k->attention_backward(trial_out(t, 3 * n), dout, qkv, out_in, lse_in, &a);
    free(out.data);
    free(lse.data);
}

/* The cache comes filled, as if all earlier positions had been written; the position is the last of the states. */
static void attention_step(struct trial *t, const int *s)
{
    struct attention_shape a = attention_shape(s);
    size_t width = (size_t)a.heads * a.head_dim;
    size_t cache_count = a.batch * 2 * width * attention_window(a.mask, a.grid, a.kernel);
    struct tensor qkv = trial_in(t, a.batch * 3 * width, -2, 2), prefix = trial_in(t, a.prefix * 3 * width, -2, 2);
    struct tensor cache = trial_change(t, cache_count, -2, 2), out = trial_out(t, a.batch * width);
    t->k->attention_step(out, qkv, prefix, cache, trial_in_id(t, a.states - a.prefix - 1), &a);
}

#define NONE (MASK_NONE + 1)
#define CAUSAL (MASK_CAUSAL + 1)
#define ROW (MASK_ROW + 1)
#define COLUMN (MASK_COLUMN + 1)
#define CONV (MASK_CONV + 1)

/* Whole grids, and grids cut short: the last state is never an input of the prior. */
#define MASKED_SHAPES(mask)                                                                                            \
    {                                                                                                                  \
        {mask, 1, 2, 1, 1, 1, 1, 1}, {mask, 1, 9, 3, 7, 5, 2, 3}, {mask, 2, 12, 2, 8, 4, 3, 3},                        \
            {mask, 3, 40, 1, 17, 5, 6, 5}, {mask, 1, 31, 2, 16, 7, 5, 11}, {mask, 1, 80, 2, 32, 17, 8, 11},            \
            {mask, 2, 65, 1, 64, 3, 8, 3}, {mask, 1, 20, 1, 33, 19, 4, 5}, {mask, 1, 272, 1, 9, 17, 16, 7},            \
            {mask, 1, 6, 2, 5, 6, 3, 3}, {mask, 3, 149, 4, 24, 20, 12, 7},                                             \
    }

#define STEP_SHAPES(mask)                                                                                              \
    {                                                                                                                  \
        {mask, 1, 2, 1, 1, 1, 1, 1}, {mask, 2, 9, 3, 7, 5, 2, 3}, {mask, 3, 12, 2, 8, 4, 3, 3},                        \
            {mask, 17, 40, 1, 17, 5, 6, 5}, {mask, 5, 31, 2, 16, 7, 5, 11}, {mask, 4, 81, 2, 32, 17, 8, 11},           \
            {mask, 33, 60, 1, 64, 3, 8, 3}, {mask, 1, 20, 1, 33, 19, 4, 5}, {mask, 2, 250, 1, 9, 17, 16, 7},           \
            {mask, 35, 149, 4, 24, 20, 12, 7},                                                                         \
    }

#define FULL_SHAPES(mask)                                                                                              \
    {                                                                                                                  \
        {mask, 1, 1, 1, 1}, {mask, 1, 3, 3, 7}, {mask, 3, 17, 2, 8}, {mask, 2, 33, 1, 17}, {mask, 1, 65, 2, 64},       \
            {mask, 1, 130, 1, 33}, {mask, 2, 77, 2, 16},                                                               \
    }

static const struct operation ATTENTION_OPERATIONS[] = {
    {"attention without a mask", attention, 1e-5, 4, FULL_SHAPES(NONE)},
    {"attention, causal", attention, 1e-5, 4, FULL_SHAPES(CAUSAL)},
    {"attention, row", attention, 1e-5, 4, MASKED_SHAPES(ROW)},
    {"attention, column", attention, 1e-5, 4, MASKED_SHAPES(COLUMN)},
    {"attention, conv", attention, 1e-5, 4, MASKED_SHAPES(CONV)},
    {"attention_backward without a mask", attention_backward, 1e-5, 4, FULL_SHAPES(NONE)},
    {"attention_backward, causal", attention_backward, 1e-5, 4, FULL_SHAPES(CAUSAL)},
    {"attention_backward, row", attention_backward, 1e-5, 4, MASKED_SHAPES(ROW)},
    {"attention_backward, column", attention_backward, 1e-5, 4, MASKED_SHAPES(COLUMN)},
    {"attention_backward, conv", attention_backward, 1e-5, 4, MASKED_SHAPES(CONV)},
    {"attention_step, row", attention_step, 1e-5, 4, STEP_SHAPES(ROW)},
    {"attention_step, column", attention_step, 1e-5, 4, STEP_SHAPES(COLUMN)},
    {"attention_step, conv", attention_step, 1e-5, 4, STEP_SHAPES(CONV)},
};

#endif
