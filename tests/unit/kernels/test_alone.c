/*
 * A row's, a picture's or a sequence's result is the same to the bit whatever else is in the batch, on every table: a
 * record processed again, among others, must give the same record.
 */
#include "trial.h"

enum { BATCH = 5 };

static const struct kernels *table(const char *name)
{
    setenv("ATELIER_CPU", name, 1);
    const struct kernels *k = kernels_cpu();
    if (!k)
        skip();
    return k;
}

/* Calls the operation on `count` items of `x`; each has `in` elements of x and `out` of y. */
struct batched {
    const char *name;
    size_t in, out;
    void (*call)(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count);
};

static void linear(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count)
{
    k->linear(y, x, w, w, count, 67, 35);
}

static void conv(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count)
{
    struct conv_shape s = {count, 7, 5, 6, 19, 3};
    k->conv(y, x, w, w, &s);
}

static void pointwise_conv(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count)
{
    struct conv_shape s = {count, 3, 3, 20, 33, 1};
    k->conv(y, x, w, w, &s);
}

static void layernorm(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count)
{
    float mean[BATCH], rstd[BATCH];
    k->layernorm(y, (struct tensor){mean, F32}, (struct tensor){rstd, F32}, x, w, w, count, 37);
}

static void attention(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count)
{
    (void)w;
    struct attention_shape s = {MASK_ROW, count, 21, 2, 9, 5, 4, 3};
    float lse[BATCH * 2 * 21];
    k->attention(y, (struct tensor){lse, F32}, x, &s);
}

/* The cache of earlier positions comes from the weights: all candidates have the same. */
static void attention_step(const struct kernels *k, struct tensor y, struct tensor x, struct tensor w, int count)
{
    struct attention_shape s = {MASK_ROW, count, 0, 2, 9, 5, 4, 3};
    size_t per_candidate = (size_t)attention_window(s.mask, s.grid, s.kernel) * 2 * 18;
    struct tensor cache = {xmalloc(count * per_candidate * sizeof(float)), F32};
    for (int i = 0; i < count; i++)
        memcpy((float *)cache.data + i * per_candidate, w.data, per_candidate * sizeof(float));
    int32_t position = 9;
    k->attention_step(y, x, w, cache, (struct tensor){&position, I32}, &s);
    free(cache.data);
}

static const struct batched OPERATIONS[] = {
    {"linear", 67, 35, linear},
    {"conv", 7 * 5 * 6, 7 * 5 * 19, conv},
    {"conv 1x1", 9 * 20, 9 * 33, pointwise_conv},
    {"layernorm", 37, 37, layernorm},
    {"attention", 21 * 54, 21 * 18, attention},
    {"attention_step", 54, 18, attention_step},
};

static void is_the_same_alone(void **state)
{
    struct trial t = {.k = table(*state), .seed = 1};
    kernels_set_threads(1);
    for (size_t i = 0; t.k && i < sizeof OPERATIONS / sizeof *OPERATIONS; i++) {
        const struct batched *o = &OPERATIONS[i];
        struct tensor x = trial_in(&t, BATCH * o->in, -1, 1), w = trial_in(&t, 4000, -1, 1);
        struct tensor y = trial_out(&t, BATCH * o->out), alone = trial_out(&t, o->out);
        o->call(t.k, y, x, w, BATCH);
        for (int n = 0; n < BATCH; n++) {
            o->call(t.k, alone, tensor_at(x, n * o->in), w, 1);
            if (memcmp(alone.data, tensor_at(y, n * o->out).data, o->out * sizeof(float)) != 0)
                fail_msg("%s, %s: item %d of %d differs from itself alone", t.k->name, o->name, n, BATCH);
        }
        trial_check(&t, o->name);
        trial_free(&t);
    }
}

int main(void)
{
    static char tables[][8] = {"plain", "avx2", "avx512"};
    const struct CMUnitTest tests[] = {
        {"is_the_same_alone, plain", is_the_same_alone, NULL, NULL, tables[0]},
        {"is_the_same_alone, avx2", is_the_same_alone, NULL, NULL, tables[1]},
        {"is_the_same_alone, avx512", is_the_same_alone, NULL, NULL, tables[2]},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
