/*
 * Fast kernels: attention, forward, and what it shares with the backward pass (attention.h). A thread takes one head
 * of one sample at a time.
 */
#include "kernels/cpu/isa/attention.h"
#include "kernels/cpu/isa/vecmath.h"
#include <string.h>

enum { TEXT_QUERIES = 24 }; /* of a tile outside the picture */

static bool has_picture(const struct attention_shape *s)
{
    return s->mask != MASK_NONE && s->mask != MASK_CAUSAL;
}

/* States outside the picture, and of the picture. */
static int text_states(const struct attention_shape *s)
{
    return has_picture(s) ? smaller(s->prefix, s->states) : s->states;
}
static int picture_states(const struct attention_shape *s)
{
    return s->states - text_states(s);
}

int FN(attention_tiles)(const struct attention_shape *s)
{
    int text = ceil_div(text_states(s), TEXT_QUERIES), picture = picture_states(s);
    return text + (s->mask == MASK_COLUMN ? smaller(s->grid, picture) : picture ? ceil_div(picture, s->grid) : 0);
}

struct attention_tile FN(attention_tile)(const struct attention_shape *s, int index)
{
    int text = text_states(s), text_tiles = ceil_div(text, TEXT_QUERIES), picture = picture_states(s);
    if (index < text_tiles) {
        int query = index * TEXT_QUERIES, queries = smaller(TEXT_QUERIES, text - query);
        return (struct attention_tile){query, queries, 0, 0, s->mask == MASK_NONE ? s->states : query + queries};
    }
    int line = index - text_tiles, query = s->prefix + line * s->grid;
    if (s->mask == MASK_COLUMN) {
        int queries = ceil_div(picture - line, s->grid);
        return (struct attention_tile){query, queries, s->prefix, query, queries};
    }
    int queries = smaller(s->grid, picture - line * s->grid), half = s->kernel / 2;
    int back = s->mask == MASK_ROW ? s->grid : half * s->grid + half;
    int window = larger(s->prefix, query - back);
    return (struct attention_tile){query, queries, s->prefix, window, query + queries - window};
}

void FN(attention_hide)(float *scores, const struct attention_tile *t, int query, const struct attention_shape *s)
{
    /* The query sees middle - left .. middle + right in each of its rows, and nothing past `last`. */
    int rows_back = 0, left = query, right = 0, last = query;
    if (s->mask == MASK_NONE)
        right = last = s->states - 1;
    if (query >= text_states(s) && s->mask == MASK_ROW)
        left = s->grid;
    if (query >= text_states(s) && s->mask == MASK_CONV)
        rows_back = left = right = s->kernel / 2;
    int next = t->window;
    for (int row = rows_back; row >= 0; row--) {
        int middle = query - row * s->grid, first = middle - left, end = smaller(middle + right, last) + 1;
        for (; next < first; next++)
            scores[next - t->window] = -INFINITY;
        next = larger(next, end);
    }
    for (; next < t->window + attention_whole(t) - t->prefix; next++)
        scores[next - t->window] = -INFINITY;
}

int FN(attention_slots)(const struct attention_shape *s)
{
    return s->mask == MASK_COLUMN ? s->prefix + s->grid * s->grid : s->states;
}

enum { AHEAD = 6 }; /* a head's vectors lie far apart: no prefetcher follows */

void FN(attention_gather)(float *to, const float *from, size_t stride, float scale, const struct attention_shape *s)
{
    int row = attention_row(s), slots = FN(attention_slots)(s);
    if (row != s->head_dim || slots != s->states)
        memset(to, 0, (size_t)slots * row * sizeof(float));
    for (int state = 0; state < s->states; state++, from += stride) {
        float *restrict vector = to + (size_t)attention_slot(s, state) * row;
        for (int i = 0; i < s->head_dim; i += 16)
            __builtin_prefetch(from + AHEAD * stride + i);
        for (int i = 0; i < s->head_dim; i++)
            vector[i] = scale * from[i];
    }
}

void FN(attention_scatter)(float *to, size_t stride, const float *from, float scale, const struct attention_shape *s)
{
    int row = attention_row(s);
    for (int state = 0; state < s->states; state++, to += stride) {
        const float *restrict vector = from + (size_t)attention_slot(s, state) * row;
        for (int i = 0; i < s->head_dim; i += 16)
            __builtin_prefetch(to + AHEAD * stride + i, 1);
        for (int i = 0; i < s->head_dim; i++)
            to[i] = scale * vector[i];
    }
}

void FN(attention_transpose)(float *to, const float *from, const struct attention_shape *s)
{
    int row = attention_row(s), slots = FN(attention_slots)(s);
    size_t columns = attention_columns(s);
    for (int i = 0; i < s->head_dim; i++) {
        for (int j = 0; j < slots; j++)
            to[i * columns + j] = from[(size_t)j * row + i];
        for (size_t j = slots; j < columns; j++)
            to[i * columns + j] = 0;
    }
}

size_t FN(attention_score_row)(const struct attention_shape *s)
{
    return (size_t)FN(attention_slots)(s) + VEC;
}

int FN(attention_most_queries)(const struct attention_shape *s)
{
    return has_picture(s) ? larger(TEXT_QUERIES, s->grid) : TEXT_QUERIES;
}

void FN(attention_scores)(float *scores, const float *queries, const float *keys_transposed,
                          const struct attention_tile *t, const struct attention_shape *s)
{
    struct block b = {.a = queries,
                      .a_row = attention_row(s),
                      .a_col = 1,
                      .b = keys_transposed,
                      .b_panel = WIDE,
                      .b_row = (ptrdiff_t)attention_columns(s),
                      .c = scores,
                      .c_row = (ptrdiff_t)FN(attention_score_row)(s),
                      .outer = 1,
                      .depth = s->head_dim};
    /* Whole vectors: what lies past the prefix is overwritten by the window, what lies past the window is not read. */
    FN(block_run)(&b, t->queries, (int)round_up(t->prefix, VEC));
    b.b += t->window;
    b.c += t->prefix;
    FN(block_run)(&b, t->queries, (int)round_up(t->keys, VEC));
}

void FN(attention_mix)(float *c, const float *weights, const float *vectors, const struct attention_tile *t,
                       const struct attention_shape *s)
{
    int row = attention_row(s);
    struct block b = {.a = weights,
                      .a_row = (ptrdiff_t)FN(attention_score_row)(s),
                      .a_col = 1,
                      .b = vectors,
                      .b_panel = WIDE,
                      .b_row = row,
                      .start = NULL,
                      .start_row = row,
                      .c = c,
                      .c_row = row,
                      .outer = 1,
                      .depth = t->prefix};
    FN(block_run)(&b, t->queries, row);
    b.a += t->prefix;
    b.b += (size_t)t->window * row;
    b.start = c;
    b.depth = t->keys;
    FN(block_run)(&b, t->queries, row);
}

static bool row_finite(const float *x, int n)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int i = 0; i < n; i++)
        sum += x[i] * 0;
    return sum == 0;
}

/* One query's part of attention_mix, leaving out the keys of no weight: the hidden ones, whose vectors, where they are
 * not finite, times zero are no zeros. */
static void mix_weighted(float *c, const float *weights, const float *vectors, const struct attention_tile *t, int row)
{
    memset(c, 0, row * sizeof(float));
    for (int j = 0; j < t->prefix + t->keys; j++) {
        const float *vector = vectors + (size_t)(j < t->prefix ? j : j - t->prefix + t->window) * row;
        for (int i = 0; weights[j] != 0 && i < row; i++)
            c[i] = fmaf(weights[j], vector[i], c[i]);
    }
}

/* One head: out and lse of all states. `memory` as attention() lays it out. */
static void attend(float *out, float *lse, const float *qkv, float *memory, const struct attention_shape *s)
{
    int row = attention_row(s);
    size_t vectors = (size_t)FN(attention_slots)(s) * row, part = (size_t)s->heads * s->head_dim;
    size_t score_row = FN(attention_score_row)(s);
    float *q = memory, *k = q + vectors, *v = k + vectors, *keys_transposed = v + vectors;
    float *logs = keys_transposed + attention_columns(s) * s->head_dim, *total = logs + FN(attention_slots)(s);
    float *scores = total + FN(attention_most_queries)(s);
    FN(attention_gather)(q, qkv, 3 * part, 1 / sqrtf((float)s->head_dim), s);
    FN(attention_gather)(k, qkv + part, 3 * part, 1, s);
    FN(attention_gather)(v, qkv + 2 * part, 3 * part, 1, s);
    FN(attention_transpose)(keys_transposed, k, s);
    for (int index = 0; index < FN(attention_tiles)(s); index++) {
        struct attention_tile t = FN(attention_tile)(s, index);
        float *mixed = q + (size_t)t.query * row; /* the tile's queries have done their work when this is written */
        FN(attention_scores)(scores, mixed, keys_transposed, &t, s);
        for (int i = 0; i < t.queries; i++) {
            float *x = scores + i * score_row;
            FN(attention_hide)(x + t.prefix, &t, t.query + i, s);
            float most = row_max(x, attention_whole(&t));
            total[i] = row_exp(x, x, most, attention_whole(&t));
            logs[t.query + i] = most + fast_log(total[i]);
        }
        FN(attention_mix)(mixed, scores, v, &t, s);
        for (int i = 0; i < t.queries; i++) {
            float *x = mixed + (size_t)i * row;
            if (!row_finite(x, row))
                mix_weighted(x, scores + i * score_row, v, &t, row);
            row_scale(x, 1 / total[i], row);
        }
    }
    FN(attention_scatter)(out, part, q, 1, s);
    for (int state = 0; state < s->states; state++)
        lse[state] = logs[attention_slot(s, state)];
}

static void attention(struct tensor out, struct tensor lse, struct tensor qkv, const struct attention_shape *s)
{
    size_t slots = FN(attention_slots)(s), vectors = slots * attention_row(s), part = (size_t)s->heads * s->head_dim;
    size_t scores = (FN(attention_score_row)(s) + 1) * FN(attention_most_queries)(s);
    struct scratch scratch = FN(scratch)(0, 3 * vectors + attention_columns(s) * s->head_dim + slots + scores);
    PARALLEL_FOR((size_t)s->batch * s->heads * s->states * s->head_dim * 16)
    for (int task = 0; task < s->batch * s->heads; task++) {
        size_t sample = task / s->heads, head = task % s->heads;
        attend((float *)out.data + sample * s->states * part + head * s->head_dim,
               (float *)lse.data + task * (size_t)s->states,
               (const float *)qkv.data + sample * s->states * 3 * part + head * s->head_dim, scratch_mine(&scratch), s);
    }
}

void FN(fast_attention)(struct kernels *k)
{
    k->attention = attention;
}
