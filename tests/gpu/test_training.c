/*
 * A small prior on the device: its training in each precision beside the CPU's, with and without recomputation, and
 * its samples.
 */
#include "common/err.h"
#include "models/optimizer.h"
#include "models/prior.h"
#include "tests/unit/cuda/on_device.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { BATCH = 3, STEPS = 6, CANDIDATES = 5, POSITIONS = 64, TEXT = 16 };

static const struct prior_config CONFIG = {.layers = 5,
                                           .heads = 2,
                                           .head_dim = 64,
                                           .text_vocab = 200,
                                           .text_len = TEXT,
                                           .image_vocab = 136,
                                           .grid = 8,
                                           .kernel = 5};
static const struct optimizer_settings SETTINGS = {
    .lr = 1e-3f, .beta1 = 0.9f, .beta2 = 0.96f, .eps = 1e-8f, .decay = 0.045f, .v_max = INFINITY, .clip_norm = 1};

static void make_samples(int32_t *text, int32_t *image)
{
    for (int i = 0; i < BATCH * TEXT; i++)
        text[i] = i % TEXT < 9 ? i * 7 % CONFIG.text_vocab : -1;
    for (int i = 0; i < BATCH * POSITIONS; i++)
        image[i] = i * i % CONFIG.image_vocab;
}

static struct prior *new_prior(const struct kernels *k, enum prior_use use)
{
    struct prior *p;
    if (prior_new(&p, k, &CONFIG, BATCH, use) != 0)
        fail_msg("%s", err_text());
    params_init(prior_params(p), 1);
    return p;
}

static void train(const struct kernels *k, enum prior_use use, float losses[STEPS])
{
    int32_t text[BATCH * TEXT], image[BATCH * POSITIONS];
    make_samples(text, image);
    struct prior *p = new_prior(k, use);
    struct params *params = prior_params(p);
    struct optimizer o;
    assert_int_equal(optimizer_new(&o, params), 0);
    for (int i = 0; i < STEPS; i++) {
        struct prior_losses got;
        k->fill(params->grads, 0, params->total);
        prior_train(p, text, image, BATCH, 1, &got);
        assert_true(isfinite(optimizer_step(&o, &SETTINGS)));
        losses[i] = got.loss;
    }
    optimizer_free(&o);
    prior_free(&p);
}

/* The limits are some times what rounding makes of it; larger steps would make more of it. */
static void train_beside_cpu(enum dtype compute, float limit)
{
    float cpu[STEPS], device[STEPS], again[STEPS];
    const struct kernels *k = device_table(compute);
    train(kernels_cpu(), PRIOR_TRAIN, cpu);
    train(k, PRIOR_TRAIN, device);
    for (int i = 0; i < STEPS; i++)
        if (!(fabsf(device[i] - cpu[i]) <= limit))
            fail_msg("update %d: loss %.6f, the CPU's is %.6f", i, device[i], cpu[i]);
    assert_true(cpu[STEPS - 1] < cpu[0] - 0.3f);
    train(k, PRIOR_RECOMPUTE, again);
    assert_memory_equal(device, again, sizeof again);
}

static void trains_in_f32(void **state)
{
    (void)state;
    train_beside_cpu(F32, 2e-4f);
}

static void trains_in_bf16(void **state)
{
    (void)state;
    train_beside_cpu(BF16, 0.01f);
}

static void trains_in_f16(void **state)
{
    (void)state;
    train_beside_cpu(F16, 0.003f);
}

static void samples_repeat(void **state)
{
    (void)state;
    int32_t text[BATCH * TEXT], image[BATCH * POSITIONS], codes[2][CANDIDATES * POSITIONS];
    make_samples(text, image);
    struct prior *p = new_prior(device_table(BF16), PRIOR_INFER);
    const struct prior_draw draw = {.draw = {1, 0, 1}, .guidance = 1, .seed = 3};
    for (int i = 0; i < 2; i++) {
        struct prior_sampler *s;
        assert_int_equal(prior_sampler_new(&s, p, CANDIDATES), 0);
        assert_int_equal(prior_sample(s, text, CANDIDATES, &draw, codes[i], NULL, NULL), 0);
        prior_sampler_free(&s);
    }
    assert_memory_equal(codes[0], codes[1], sizeof codes[0]);
    for (int i = 0; i < CANDIDATES * POSITIONS; i++)
        assert_true(codes[0][i] >= 0 && codes[0][i] < CONFIG.image_vocab);
    prior_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trains_in_f32),
        cmocka_unit_test(trains_in_bf16),
        cmocka_unit_test(trains_in_f16),
        cmocka_unit_test(samples_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
