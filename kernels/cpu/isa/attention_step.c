/*
 * Fast kernels: attention of one image position, for many candidates of one caption. Scores and values of the shared
 * prefix are dense products over the candidates; each has its own window in its cache.
 */
#include "kernels/cpu/isa/fast.h"
#include "kernels/cpu/isa/vecmath.h"
#include <string.h>

enum { CANDIDATES = 16 }; /* of one task */

/* slots = the cache's slots of the positions that p sees; their number. */
static int seen_slots(int *slots, int p, const struct attention_shape *s)
{
    int n = 0, window = attention_window(s->mask, s->grid, s->kernel), half = s->kernel / 2;
    int rows = s->mask == MASK_CONV ? half : s->mask == MASK_COLUMN ? p / s->grid : 0, next = 0;
    int left = s->mask == MASK_ROW ? s->grid : s->mask == MASK_CONV ? half : 0;
    int right = s->mask == MASK_CONV ? half : 0;
    for (int row = rows; row >= 0; row--) {
        int middle = p - row * s->grid;
        for (next = larger(next, middle - left); next <= smaller(middle + right, p); next++)
            slots[n++] = next % window;
    }
    return n;
}

/* What all tasks read. */
struct step {
    const struct attention_shape *shape;
    const float *qkv, *prefix, *cache;
    float *out;
    const int *slots;
    int seen;
};

static int score_row(const struct step *t)
{
    return (int)round_up(t->shape->prefix, VEC) + t->seen;
}

/* Floats of a task's memory: a head's prefix keys transposed and values, queries, mixed values, scores. */
static size_t step_size(const struct step *t)
{
    int d = t->shape->head_dim, prefix = t->shape->prefix;
    return pack_size(d, prefix) + pack_size(prefix, d) + 2 * CANDIDATES * round_up(d, VEC) +
           (size_t)CANDIDATES * score_row(t);
}

/* The window's part of one candidate's scores, the softmax, and the window's part of its values. The result is the
 * softmax's denominator; `mixed` holds the window's values, not yet divided by it. */
static float attend_window(float *mixed, float *scores, const float *query, const float *cache, const struct step *t)
{
    int d = t->shape->head_dim, prefix = t->shape->prefix;
    size_t width = (size_t)t->shape->heads * d;
    for (int j = 0; j < t->seen; j++)
        scores[prefix + j] = row_dot(query, cache + t->slots[j] * 2 * width, d);
    float total = row_exp(scores, scores, row_max(scores, prefix + t->seen), prefix + t->seen);
    memset(mixed, 0, d * sizeof(float));
    for (int j = 0; j < t->seen; j++) {
        const float *value = cache + (t->slots[j] * 2 + 1) * width;
        for (int i = 0; i < d; i++)
            mixed[i] += scores[prefix + j] * value[i];
    }
    return total;
}

static void attend(const struct step *t, int head, int first, int count, float *memory)
{
    const struct attention_shape *s = t->shape;
    int d = s->head_dim, row = (int)round_up(d, VEC), scores_row = score_row(t);
    size_t width = (size_t)s->heads * d, window = attention_window(s->mask, s->grid, s->kernel);
    const float *keys = t->prefix + width + head * d, *values = keys + width;
    float *keys_packed = memory, *values_packed = keys_packed + pack_size(d, s->prefix);
    float *queries = values_packed + pack_size(s->prefix, d), *mixed = queries + CANDIDATES * row;
    float *scores = mixed + CANDIDATES * row, total[CANDIDATES], scale = 1 / sqrtf((float)d);
    for (int n = 0; n < count; n++)
        for (int i = 0; i < d; i++)
            queries[n * row + i] = scale * t->qkv[(first + n) * 3 * width + head * d + i];
    struct pack pack_keys = {keys, 1, (ptrdiff_t)(3 * width), d, s->prefix};
    struct pack pack_values = {values, (ptrdiff_t)(3 * width), 1, s->prefix, d};
    FN(pack_panels)(keys_packed, &pack_keys, 0, ceil_div(s->prefix, WIDE));
    FN(pack_panels)(values_packed, &pack_values, 0, ceil_div(d, WIDE));
    struct block b = {.a = queries,
                      .a_row = row,
                      .a_col = 1,
                      .b = keys_packed,
                      .b_panel = (ptrdiff_t)d * WIDE,
                      .b_row = WIDE,
                      .c = scores,
                      .c_row = scores_row,
                      .outer = 1,
                      .depth = d};
    FN(block_run)(&b, count, (int)round_up(s->prefix, VEC));
    for (int n = 0; n < count; n++)
        total[n] = attend_window(mixed + n * row, scores + n * scores_row, queries + n * row,
                                 t->cache + (first + n) * window * 2 * width + head * d, t);
    b = (struct block){.a = scores,
                       .a_row = scores_row,
                       .a_col = 1,
                       .b = values_packed,
                       .b_panel = (ptrdiff_t)s->prefix * WIDE,
                       .b_row = WIDE,
                       .start = mixed,
                       .start_row = row,
                       .c = mixed,
                       .c_row = row,
                       .outer = 1,
                       .depth = s->prefix};
    FN(block_run)(&b, count, d);
    for (int n = 0; n < count; n++)
        for (int i = 0; i < d; i++)
            t->out[(first + n) * width + head * d + i] = mixed[n * row + i] / total[n];
}

static void attention_step(struct tensor out, struct tensor qkv_t, struct tensor prefix, struct tensor cache_t,
                           struct tensor position, const struct attention_shape *s)
{
    int p = *(const int32_t *)position.data;
    size_t window = attention_window(s->mask, s->grid, s->kernel), width = (size_t)s->heads * s->head_dim;
    const float *qkv = qkv_t.data;
    float *cache = cache_t.data;
    for (int n = 0; n < s->batch; n++)
        memcpy(cache + (n * window + p % window) * 2 * width, qkv + (n * 3 + 1) * width, 2 * width * sizeof(float));
    int slots[window];
    struct step t = {s, qkv, prefix.data, cache, out.data, slots, seen_slots(slots, p, s)};
    int groups = ceil_div(s->batch, CANDIDATES);
    struct scratch scratch = FN(scratch)(0, step_size(&t));
    PARALLEL_FOR((size_t)s->batch * width * (t.seen + CANDIDATES))
    for (int task = 0; task < s->heads * groups; task++) {
        int first = task % groups * CANDIDATES;
        attend(&t, task / groups, first, smaller(CANDIDATES, s->batch - first), scratch_mine(&scratch));
    }
}

void FN(fast_attention_step)(struct kernels *k)
{
    k->attention_step = attention_step;
}
