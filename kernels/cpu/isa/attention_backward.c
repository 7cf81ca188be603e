/*
 * Fast kernels: attention, backward. The weights come back from the kept logarithms, tile by tile; a head's gradients
 * are gathered beside its vectors and scattered at the end.
 */
#include "kernels/cpu/isa/attention.h"
#include "kernels/cpu/isa/vecmath.h"
#include <string.h>

/* One head's memory: vectors and gradients [slots, row], keys and values transposed, a tile's weights and scores. */
struct head {
    float *q, *k, *v, *dout, *dq, *dk, *dv;
    float *keys_transposed, *values_transposed;
    float *log, *along; /* [slots]: the softmax's logarithm, and dout . out */
    float *weights, *dscores;
};

static size_t head_size(const struct attention_shape *s)
{
    size_t slots = FN(attention_slots)(s);
    return 7 * slots * attention_row(s) + 2 * attention_columns(s) * s->head_dim + 2 * slots +
           2 * FN(attention_score_row)(s) * FN(attention_most_queries)(s);
}

static struct head head_at(float *memory, const struct attention_shape *s)
{
    size_t slots = FN(attention_slots)(s), vectors = slots * attention_row(s);
    size_t transposed = attention_columns(s) * s->head_dim;
    struct head h = {.q = memory};
    h.k = h.q + vectors;
    h.v = h.k + vectors;
    h.dout = h.v + vectors;
    h.dq = h.dout + vectors;
    h.dk = h.dq + vectors;
    h.dv = h.dk + vectors;
    h.keys_transposed = h.dv + vectors;
    h.values_transposed = h.keys_transposed + transposed;
    h.log = h.values_transposed + transposed;
    h.along = h.log + slots;
    h.weights = h.along + slots;
    h.dscores = h.weights + FN(attention_score_row)(s) * FN(attention_most_queries)(s);
    return h;
}

/* c, a gradient of the tile's keys, += weights^T times the vectors of its queries. */
static void give_back(float *c, const float *weights, const float *vectors, const struct attention_tile *t,
                      const struct attention_shape *s)
{
    int row = attention_row(s);
    struct block b = {.a = weights,
                      .a_row = 1,
                      .a_col = (ptrdiff_t)FN(attention_score_row)(s),
                      .b = vectors + (size_t)t->query * row,
                      .b_panel = WIDE,
                      .b_row = row,
                      .start = c,
                      .start_row = row,
                      .c = c,
                      .c_row = row,
                      .outer = 1,
                      .depth = t->queries};
    if (t->prefix > 0)
        FN(block_run)(&b, t->prefix, row);
    b.a += t->prefix;
    b.c += (size_t)t->window * row;
    b.start = b.c;
    FN(block_run)(&b, t->keys, row);
}

static void tile_backward(const struct head *h, const struct attention_tile *t, const struct attention_shape *s)
{
    int row = attention_row(s), whole = attention_whole(t);
    size_t score_row = FN(attention_score_row)(s), first = (size_t)t->query * row;
    FN(attention_scores)(h->weights, h->q + first, h->keys_transposed, t, s);
    FN(attention_scores)(h->dscores, h->dout + first, h->values_transposed, t, s);
    for (int i = 0; i < t->queries; i++) {
        float *restrict weights = h->weights + i * score_row, *restrict dscores = h->dscores + i * score_row;
        float along = h->along[t->query + i], log = h->log[t->query + i];
        FN(attention_hide)(weights + t->prefix, t, t->query + i, s);
        for (int j = 0; j < whole; j++) {
            weights[j] = fast_exp(weights[j] - log);
            dscores[j] = weights[j] * (dscores[j] - along);
        }
    }
    give_back(h->dv, h->weights, h->dout, t, s);
    give_back(h->dk, h->dscores, h->q, t, s);
    FN(attention_mix)(h->dq + first, h->dscores, h->k, t, s);
}

/* One head's part of each tensor. */
static void attend_backward(float *dqkv, const float *dout, const float *qkv, const float *out, const float *lse,
                            const struct head *h, const struct attention_shape *s)
{
    size_t part = (size_t)s->heads * s->head_dim, slots = FN(attention_slots)(s), row = attention_row(s);
    float scale = 1 / sqrtf((float)s->head_dim);
    FN(attention_gather)(h->q, qkv, 3 * part, scale, s);
    FN(attention_gather)(h->k, qkv + part, 3 * part, 1, s);
    FN(attention_gather)(h->v, qkv + 2 * part, 3 * part, 1, s);
    FN(attention_gather)(h->dout, dout, part, 1, s);
    FN(attention_gather)(h->dq, out, part, 1, s); /* until along is known */
    FN(attention_transpose)(h->keys_transposed, h->k, s);
    FN(attention_transpose)(h->values_transposed, h->v, s);
    for (size_t i = 0; i < slots; i++)
        h->along[i] = row_dot(h->dout + i * row, h->dq + i * row, s->head_dim);
    for (int state = 0; state < s->states; state++)
        h->log[attention_slot(s, state)] = lse[state];
    memset(h->dk, 0, 2 * slots * row * sizeof(float)); /* and dv */
    for (int index = 0; index < FN(attention_tiles)(s); index++) {
        struct attention_tile t = FN(attention_tile)(s, index);
        tile_backward(h, &t, s);
    }
    FN(attention_scatter)(dqkv, 3 * part, h->dq, scale, s);
    FN(attention_scatter)(dqkv + part, 3 * part, h->dk, 1, s);
    FN(attention_scatter)(dqkv + 2 * part, 3 * part, h->dv, 1, s);
}

static void attention_backward(struct tensor dqkv, struct tensor dout, struct tensor qkv, struct tensor out,
                               struct tensor lse, const struct attention_shape *s)
{
    struct scratch scratch = FN(scratch)(0, head_size(s));
    size_t part = (size_t)s->heads * s->head_dim;
    PARALLEL_FOR((size_t)s->batch * s->heads * s->states * s->head_dim * 32)
    for (int task = 0; task < s->batch * s->heads; task++) {
        size_t at = (size_t)(task / s->heads) * s->states * part, head = (size_t)(task % s->heads) * s->head_dim;
        struct head h = head_at(scratch_mine(&scratch), s);
        attend_backward((float *)dqkv.data + 3 * at + head, (const float *)dout.data + at + head,
                        (const float *)qkv.data + 3 * at + head, (const float *)out.data + at + head,
                        (const float *)lse.data + (size_t)task * s->states, &h, s);
    }
}

void FN(fast_attention_backward)(struct kernels *k)
{
    k->attention_backward = attention_backward;
}
