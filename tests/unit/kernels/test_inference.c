/*
 * Convolutions of inference: a picture's results are the same to the bit in any batch, at any place of it, and with any
 * number of threads, for the kinds of layers that a dVAE is made of, on every table.
 */
#include "trial.h"
#include <assert.h>

enum { BATCH = 17 };

static const struct kernels *table(const char *name)
{
    setenv("ATELIER_CPU", name, 1);
    const struct kernels *k = kernels_cpu();
    if (!k)
        skip();
    assert(k); /* skip does not return */
    return k;
}

struct layer {
    struct conv_shape s;
    struct conv_fusion f;
};

/* Each method, at sizes that leave the last blocks of pixels, tiles and channels begun. */
static const struct layer LAYERS[] = {
    {{1, 9, 13, 3, 20, 7}, {0}},
    {{1, 9, 13, 24, 8, 3}, {.relu_in = true, .relu_out = true}},
    {{1, 13, 18, 48, 80, 3}, {.relu_in = true, .relu_out = true}},
    {{1, 6, 6, 32, 272, 3}, {.gain = 0.5f}},
    {{1, 9, 13, 20, 36, 1}, {.gain = 0.25f, .relu_out = true}},
    {{1, 5, 7, 530, 300, 1}, {.relu_in = true}},
};

/* y = the layer's results for `count` pictures of x, which begin as `before`. */
static void call(const struct kernels *k, const struct layer *l, struct tensor y, struct tensor before, struct tensor x,
                 struct tensor packed, struct tensor bias, int count)
{
    struct conv_shape s = l->s;
    s.batch = count;
    k->copy(y, before, (size_t)count * s.height * s.width * s.out);
    k->conv_infer(y, x, packed, bias, &s, &l->f);
}

static void check_layer(struct trial *t, const struct layer *l)
{
    const struct kernels *k = t->k;
    const struct conv_shape *s = &l->s;
    size_t pixels = (size_t)s->height * s->width, in = pixels * s->in, out = pixels * s->out;
    struct tensor x = trial_in(t, BATCH * in, -1, 1), before = trial_in(t, BATCH * out, -1, 1);
    struct tensor w = trial_in(t, (size_t)s->out * s->in * s->kernel * s->kernel, -1, 1);
    struct tensor bias = trial_in(t, s->out, -1, 1), y = trial_out(t, BATCH * out), alone = trial_out(t, BATCH * out);
    struct tensor packed = k->alloc(k->conv_packed_size(s), F32);
    k->conv_pack(packed, w, s);
    kernels_set_threads(1);
    for (int i = 0; i < BATCH; i++)
        call(k, l, tensor_at(alone, i * out), tensor_at(before, i * out), tensor_at(x, i * in), packed, bias, 1);
    for (int count = 1; count <= BATCH; count++) {
        int first = BATCH - count;
        kernels_set_threads(1 + count % 5);
        call(k, l, y, tensor_at(before, first * out), tensor_at(x, first * in), packed, bias, count);
        if (memcmp(y.data, tensor_at(alone, first * out).data, count * out * sizeof(float)) != 0)
            fail_msg("%s, %d -> %d, %dx%d: %d pictures on %d threads differ from each alone", k->name, s->in, s->out,
                     s->kernel, s->kernel, count, 1 + count % 5);
    }
    kernels_set_threads(1);
    k->free(packed);
    trial_check(t, "conv_infer");
    trial_free(t);
}

static void conv_is_the_same_in_any_batch(void **state)
{
    struct trial t = {.k = table(*state), .seed = 1};
    for (size_t i = 0; i < sizeof LAYERS / sizeof *LAYERS; i++)
        check_layer(&t, &LAYERS[i]);
}

static void codes_are_the_same_in_any_batch(void **state)
{
    struct trial t = {.k = table(*state), .seed = 2};
    struct conv_shape s = {1, 7, 9, 37, 523, 1};
    enum { PIXELS = 63 };
    struct tensor x = trial_in(&t, (size_t)BATCH * PIXELS * s.in, -1, 1), w = trial_in(&t, (size_t)s.in * s.out, -1, 1);
    struct tensor ids = trial_out_ids(&t, BATCH * PIXELS), alone = trial_out_ids(&t, PIXELS);
    struct tensor packed = t.k->alloc(t.k->conv_packed_size(&s), F32);
    t.k->conv_pack(packed, w, &s);
    for (int count = 1; count <= BATCH; count++) {
        kernels_set_threads(1 + count % 5);
        s.batch = count;
        t.k->conv_argmax(ids, x, packed, tensor_none(), &s);
        kernels_set_threads(1);
        s.batch = 1;
        t.k->conv_argmax(alone, tensor_at(x, (size_t)(count - 1) * PIXELS * s.in), packed, tensor_none(), &s);
        assert_memory_equal(alone.data, tensor_at(ids, (size_t)(count - 1) * PIXELS).data, PIXELS * sizeof(int32_t));
    }
    t.k->free(packed);
    trial_check(&t, "conv_argmax");
    trial_free(&t);
}

#define EACH_TABLE(test)                                                                                               \
    {#test ", plain", test, NULL, NULL, tables[0]}, {#test ", avx2", test, NULL, NULL, tables[1]},                     \
    {                                                                                                                  \
#test ", avx512", test, NULL, NULL, tables[2]                                                                  \
    }

int main(void)
{
    static char tables[][8] = {"plain", "avx2", "avx512"};
    const struct CMUnitTest tests[] = {EACH_TABLE(conv_is_the_same_in_any_batch),
                                       EACH_TABLE(codes_are_the_same_in_any_batch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
