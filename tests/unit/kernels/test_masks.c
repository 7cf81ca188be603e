/*
 * Attention's masks, on every table that this machine runs: a key that the definition hides never changes an output, by
 * no bit; a key that it shows does; and the cached step gives what the whole gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/random.h"
#include "kernels/kernels.h"
#include "near.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct attention_shape SHAPES[] = {
    {MASK_NONE, 1, 9, 1, 8, 0, 0, 0},       {MASK_CAUSAL, 1, 19, 2, 5, 0, 0, 0},   {MASK_ROW, 1, 14, 1, 8, 5, 3, 3},
    {MASK_ROW, 1, 23, 2, 5, 7, 4, 3},       {MASK_ROW, 1, 37, 1, 16, 2, 6, 5},     {MASK_COLUMN, 1, 14, 1, 8, 5, 3, 3},
    {MASK_COLUMN, 1, 23, 2, 5, 7, 4, 3},    {MASK_COLUMN, 1, 37, 1, 16, 2, 6, 5},  {MASK_CONV, 1, 14, 1, 8, 5, 3, 3},
    {MASK_CONV, 1, 23, 2, 5, 7, 4, 3},      {MASK_CONV, 1, 38, 1, 16, 2, 6, 5},    {MASK_CONV, 1, 38, 1, 8, 2, 6, 3},
    {MASK_CONV, 1, 27, 1, 8, 2, 5, 11},     {MASK_CONV, 1, 100, 1, 4, 19, 9, 7},   {MASK_ROW, 1, 4, 1, 8, 6, 3, 3},
    {MASK_COLUMN, 1, 266, 1, 8, 10, 16, 3}, {MASK_CONV, 1, 266, 1, 8, 10, 16, 11}, {MASK_ROW, 1, 266, 1, 8, 10, 16, 3},
};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

/* MODELS.md, 2, word by word. */
static bool visible(const struct attention_shape *s, int query, int key)
{
    int p = query - s->prefix, q = key - s->prefix, half = s->kernel / 2;
    if (s->mask == MASK_NONE)
        return true;
    if (s->mask == MASK_CAUSAL || p < 0)
        return key <= query;
    if (q < 0)
        return true;
    if (q > p)
        return false;
    if (s->mask == MASK_ROW)
        return q >= p - s->grid;
    if (s->mask == MASK_COLUMN)
        return q % s->grid == p % s->grid;
    for (int dr = 0; dr <= half; dr++)
        for (int dc = -half; dc <= half; dc++)
            if (q == p - dr * s->grid + dc)
                return true;
    return false;
}

static const struct kernels *table(const char *name)
{
    setenv("ATELIER_CPU", name, 1);
    const struct kernels *k = kernels_cpu();
    if (!k)
        skip();
    kernels_set_threads(1);
    return k;
}

static struct tensor tensor(size_t count)
{
    return (struct tensor){xcalloc(count, sizeof(float)), F32};
}

static void randomise(struct tensor x, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        ((float *)x.data)[i] = 2 * random_uniform(seed, 0, i) - 1;
}

/* Changes each state's key and value in turn, and looks at which outputs change. */
static void check_sight(const struct kernels *k, const struct attention_shape *s)
{
    size_t width = (size_t)s->heads * s->head_dim, n = (size_t)s->states * width;
    struct tensor qkv = tensor(3 * n), out = tensor(n), changed = tensor(n), lse = tensor((size_t)s->states * s->heads);
    randomise(qkv, 3 * n, 1);
    k->attention(out, lse, qkv, s);
    for (int key = 0; key < s->states; key++) {
        float *at = (float *)qkv.data + ((size_t)key * 3 + 1) * width, kept[2 * width];
        memcpy(kept, at, sizeof kept);
        for (size_t i = 0; i < 2 * width; i++)
            at[i] = 3 - 2 * at[i];
        k->attention(changed, lse, qkv, s);
        memcpy(at, kept, sizeof kept);
        for (int query = 0; query < s->states; query++) {
            bool same = !memcmp((float *)out.data + query * width, (float *)changed.data + query * width,
                                width * sizeof(float));
            if (same == visible(s, query, key))
                fail_msg("%s, mask %d, prefix %d, grid %d, kernel %d: state %d %s state %d", k->name, s->mask,
                         s->prefix, s->grid, s->kernel, query, same ? "does not see" : "sees", key);
        }
    }
    free(qkv.data);
    free(out.data);
    free(changed.data);
    free(lse.data);
}

/* A head's output of one state, and the logarithm of its denominator. */
struct row {
    const float *out;
    float log;
};

static struct row row_at(struct tensor out, struct tensor lse, int query, int head, const struct attention_shape *s)
{
    return (struct row){(float *)out.data + ((size_t)query * s->heads + head) * s->head_dim,
                        ((float *)lse.data)[head * s->states + query]};
}

/* Not to the bit: a sum that meets what is not finite is made again, and where the compiler does not contract the
 * tile's products (under sanitizers) it rounds otherwise. */
static void check_row(const struct kernels *k, const struct attention_shape *s, int query, int key, float bad,
                      struct row before, struct row after)
{
    bool seen = visible(s, query, key), wrong = !seen && before.log != after.log;
    for (int i = 0; i < s->head_dim; i++)
        wrong |= seen ? isnan(bad) && !isnan(after.out[i]) : !(fabsf(before.out[i] - after.out[i]) <= 1e-5f);
    if (wrong)
        fail_msg("%s, mask %d, prefix %d, grid %d, kernel %d: state %d %s state %d's %g", k->name, s->mask, s->prefix,
                 s->grid, s->kernel, query, seen ? "does not see" : "sees", key, bad);
}

/* Makes each state's key and value in turn a number that times zero is none: where it is hidden nothing changes; a NaN
 * that is seen shows. */
static void check_spoiled(const struct kernels *k, const struct attention_shape *s, float bad)
{
    size_t width = (size_t)s->heads * s->head_dim, n = (size_t)s->states * width, rows = (size_t)s->states * s->heads;
    struct tensor qkv = tensor(3 * n), out = tensor(n), changed = tensor(n), lse = tensor(rows), logs = tensor(rows);
    randomise(qkv, 3 * n, 1);
    k->attention(out, lse, qkv, s);
    for (int key = 0; key < s->states; key++) {
        float *at = (float *)qkv.data + ((size_t)key * 3 + 1) * width, kept[2 * width];
        memcpy(kept, at, sizeof kept);
        for (size_t i = 0; i < 2 * width; i++)
            at[i] = bad;
        k->attention(changed, logs, qkv, s);
        memcpy(at, kept, sizeof kept);
        for (int query = 0; query < s->states; query++)
            for (int head = 0; head < s->heads; head++)
                check_row(k, s, query, key, bad, row_at(out, lse, query, head, s),
                          row_at(changed, logs, query, head, s));
    }
    struct tensor all[] = {qkv, out, changed, lse, logs};
    for (int i = 0; i < 5; i++)
        free(all[i].data);
}

static void hides_what_is_not_finite(void **state)
{
    const struct kernels *k = table(*state);
    static const float BAD[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < N_SHAPES; i++)
        for (int j = 0; j < 3; j++)
            check_spoiled(k, &SHAPES[i], BAD[j]);
}

static void sees_what_the_definition_says(void **state)
{
    const struct kernels *k = table(*state);
    for (int i = 0; i < N_SHAPES; i++)
        check_sight(k, &SHAPES[i]);
}

/* Out and lse are the softmax over the visible keys, by the formula. */
static void check_values(const struct kernels *k, const struct attention_shape *s)
{
    size_t d = s->head_dim, width = s->heads * d, n = (size_t)s->states * width;
    struct tensor qkv = tensor(3 * n), out = tensor(n), lse = tensor((size_t)s->states * s->heads);
    randomise(qkv, 3 * n, 2);
    k->attention(out, lse, qkv, s);
    const float *x = qkv.data;
    for (int h = 0; h < s->heads; h++)
        for (int i = 0; i < s->states; i++) {
            double total = 0, sum[d];
            memset(sum, 0, sizeof sum);
            for (int j = 0; j < s->states; j++) {
                double score = 0;
                for (size_t e = 0; e < d; e++)
                    score += (double)x[3 * i * width + h * d + e] * x[(3 * j + 1) * width + h * d + e];
                double weight = visible(s, i, j) ? exp(score / sqrt((double)d)) : 0;
                total += weight;
                for (size_t e = 0; e < d; e++)
                    sum[e] += weight * x[(3 * j + 2) * width + h * d + e];
            }
            assert_near(exp(((float *)lse.data)[h * s->states + i]), total, 1e-5 * total);
            for (size_t e = 0; e < d; e++)
                assert_near(((float *)out.data)[i * width + h * d + e], sum[e] / total, 1e-5);
        }
    free(qkv.data);
    free(out.data);
    free(lse.data);
}

static void is_softmax_over_visible_keys(void **state)
{
    const struct kernels *k = table(*state);
    for (int i = 0; i < N_SHAPES; i++)
        check_values(k, &SHAPES[i]);
}

/* Three candidates over one prefix, position by position, against one attention over each candidate's whole grid. The
 * cache starts as NaN: a slot that is read before it was written shows. */
static void check_step(const struct kernels *k, struct attention_shape s)
{
    enum { CANDIDATES = 3 };
    size_t width = (size_t)s.heads * s.head_dim;
    s.states = s.prefix + s.grid * s.grid;
    size_t per_candidate = 3 * width * s.states;
    int window = attention_window(s.mask, s.grid, s.kernel);
    struct tensor qkv = tensor(CANDIDATES * per_candidate), out = tensor(CANDIDATES * s.states * width);
    struct tensor lse = tensor((size_t)CANDIDATES * s.heads * s.states), now = tensor(CANDIDATES * 3 * width);
    struct tensor cache = tensor((size_t)CANDIDATES * window * 2 * width), step = tensor(CANDIDATES * width);
    randomise(qkv, CANDIDATES * per_candidate, 3);
    for (int c = 1; c < CANDIDATES; c++)
        memcpy((float *)qkv.data + c * per_candidate, qkv.data, s.prefix * 3 * width * sizeof(float));
    s.batch = CANDIDATES;
    k->attention(out, lse, qkv, &s);
    k->fill(cache, NAN, (size_t)CANDIDATES * window * 2 * width);
    for (int32_t p = 0; p < s.grid * s.grid; p++) {
        for (int c = 0; c < CANDIDATES; c++)
            memcpy((float *)now.data + c * 3 * width,
                   (float *)qkv.data + c * per_candidate + (s.prefix + p) * 3 * width, 3 * width * sizeof(float));
        k->attention_step(step, now, qkv, cache, (struct tensor){&p, I32}, &s);
        for (size_t i = 0; i < CANDIDATES * width; i++) {
            size_t whole = (i / width * s.states + s.prefix + p) * width + i % width;
            assert_near(((float *)step.data)[i], ((float *)out.data)[whole], 1e-5);
        }
    }
    struct tensor all[] = {qkv, out, lse, now, cache, step};
    for (int i = 0; i < 6; i++)
        free(all[i].data);
}

static void step_equals_the_whole(void **state)
{
    const struct kernels *k = table(*state);
    for (int i = 0; i < N_SHAPES; i++)
        if (SHAPES[i].mask >= MASK_ROW)
            check_step(k, SHAPES[i]);
}

/* Scores beyond what an exponential can hold. */
static void survives_large_scores(void **state)
{
    const struct kernels *k = table(*state);
    struct attention_shape s = {MASK_ROW, 1, 14, 1, 8, 5, 3, 3};
    struct tensor qkv = tensor((size_t)s.states * 24), out = tensor((size_t)s.states * 8), lse = tensor(s.states);
    randomise(qkv, (size_t)s.states * 24, 4);
    k->scale(qkv, 100, (size_t)s.states * 24);
    k->attention(out, lse, qkv, &s);
    for (int i = 0; i < s.states * 8; i++)
        assert_true(fabsf(((float *)out.data)[i]) <= 100);
    for (int i = 0; i < s.states; i++)
        assert_true(isfinite(((float *)lse.data)[i]));
    free(qkv.data);
    free(out.data);
    free(lse.data);
}

int main(void)
{
    static char tables[][8] = {"plain", "avx2", "avx512"};
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(sees_what_the_definition_says), cmocka_unit_test(hides_what_is_not_finite),
        cmocka_unit_test(is_softmax_over_visible_keys),  cmocka_unit_test(step_equals_the_whole),
        cmocka_unit_test(survives_large_scores),
    };
    enum { N_TESTS = sizeof TESTS / sizeof *TESTS };
    struct CMUnitTest tests[3 * N_TESTS];
    char names[3 * N_TESTS][64];
    for (int i = 0; i < 3 * N_TESTS; i++) {
        tests[i] = TESTS[i / 3];
        snprintf(names[i], sizeof names[i], "%s, %s", TESTS[i / 3].name, tables[i % 3]);
        tests[i].name = names[i];
        tests[i].initial_state = tables[i % 3];
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
