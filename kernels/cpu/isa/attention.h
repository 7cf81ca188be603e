/*
 * What the forward and the backward pass of attention share: one head's vectors gathered side by side, and the tiles
 * that its queries are cut into.
 *
 * Vectors are gathered in an order that makes a query's keys two runs: the prefix, and a window of the picture. For
 * MASK_COLUMN the picture is transposed, which turns a column's strides into such a run; for all others the order is
 * that of the states. A tile is a run of queries with one window: a row or column of the grid, or a piece of the text.
 */
#ifndef ATELIER_KERNELS_CPU_ISA_ATTENTION_H
#define ATELIER_KERNELS_CPU_ISA_ATTENTION_H

#include "kernels/cpu/isa/fast.h"

struct attention_tile {
    int query, queries;
    int prefix;       /* keys 0 .. prefix - 1 are seen by all its queries */
    int window, keys; /* keys window .. window + keys - 1 by those that hide_keys leaves */
};

int FN(attention_tiles)(const struct attention_shape *s);
struct attention_tile FN(attention_tile)(const struct attention_shape *s, int index);

/* Scores of a query in whole vectors, so that loops over them end with no odd elements. */
static inline int attention_whole(const struct attention_tile *t)
{
    return (int)round_up(t->prefix + t->keys, VEC);
}

/* scores, the window's, = -INFINITY where the mask hides the key from `query`, and from the last key on. */
void FN(attention_hide)(float *scores, const struct attention_tile *t, int query, const struct attention_shape *s);

/* Slots of the gathered order (a picture cut short leaves holes in the transposed one, which hold zeros), and floats of
 * one vector there: head_dim in whole vectors. */
int FN(attention_slots)(const struct attention_shape *s);
static inline int attention_slot(const struct attention_shape *s, int state)
{
    int p = state - s->prefix;
    return s->mask == MASK_COLUMN && p >= 0 ? s->prefix + p % s->grid * s->grid + p / s->grid : state;
}
static inline int attention_row(const struct attention_shape *s)
{
    return (int)round_up(s->head_dim, VEC);
}

/* to [slots, attention_row] = scale * the vectors of the states at from + state * stride, zeros elsewhere; scatter goes
 * back. */
void FN(attention_gather)(float *to, const float *from, size_t stride, float scale, const struct attention_shape *s);
void FN(attention_scatter)(float *to, size_t stride, const float *from, float scale, const struct attention_shape *s);

/* to [head_dim, attention_columns] = the transpose of gathered vectors. */
static inline size_t attention_columns(const struct attention_shape *s)
{
    return round_up(FN(attention_slots)(s), VEC) + VEC;
}
void FN(attention_transpose)(float *to, const float *from, const struct attention_shape *s);

/* Floats of a row of scores, and the most queries of a tile. */
size_t FN(attention_score_row)(const struct attention_shape *s);
int FN(attention_most_queries)(const struct attention_shape *s);

/* scores [queries, attention_score_row] = the queries' products with the tile's keys, prefix first. */
void FN(attention_scores)(float *scores, const float *queries, const float *keys_transposed,
                          const struct attention_tile *t, const struct attention_shape *s);
/* c [queries, attention_row] = (c +) weights times the vectors of the tile's keys. */
void FN(attention_mix)(float *c, const float *weights, const float *vectors, const struct attention_tile *t,
                       const struct attention_shape *s);

#endif
