/*
 * AdamW over a parameter table, against the formulas said again in double; what is skipped and what decays.
 */
#include "models/optimizer.h"
#include "tests/unit/models/model_checks.h"

enum { N = 37 };

static const struct optimizer_settings settings = {
    .lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.96f, .eps = 1e-8f, .decay = 0.1f, .v_max = 0.002f, .clip_norm = 0.5f};

static struct params table(const struct kernels *k)
{
    struct params p = {0};
    params_add(&p, true, INIT_NORMAL, 1, 1, (const int64_t[]){N}, "matrix");
    params_add(&p, false, INIT_NORMAL, 1, 1, (const int64_t[]){N}, "bias");
    assert_int_equal(params_alloc(&p, k, true), 0);
    params_init(&p, 3);
    return p;
}

static void set_gradients(struct params *p, uint64_t step, float scale)
{
    float g[2][N];
    for (size_t i = 0; i < 2 * N; i++)
        g[i / N][i % N] = scale * (random_uniform(4, step, i) - 0.5f);
    for (int i = 0; i < 2; i++)
        p->k->upload(param_grad(p, i), g[i], N);
}

static void formulas(const struct kernels *k)
{
    struct params p = table(k);
    struct optimizer o;
    assert_int_equal(optimizer_new(&o, &p), 0);
    double w[2 * N], m[2 * N] = {0}, v[2 * N] = {0};
    float *start = downloaded(k, p.values, p.total);
    for (int i = 0; i < 2 * N; i++)
        w[i] = start[p.list[i / N].offset + (size_t)(i % N)];
    free(start);
    for (int step = 1; step <= 5; step++) {
        set_gradients(&p, (uint64_t)step, step % 2 ? 1 : 0.1f); /* clipped and not */
        float *g = downloaded(k, p.grads, p.total);
        double norm = 0;
        for (size_t i = 0; i < p.total; i++)
            norm += (double)g[i] * (double)g[i];
        norm = sqrt(norm);
        assert_float_equal(optimizer_step(&o, &settings), norm, 1e-5 * norm);
        for (int i = 0; i < 2 * N; i++) {
            double gi = g[p.list[i / N].offset + (size_t)(i % N)] * (norm > 0.5 ? 0.5 / norm : 1);
            m[i] = 0.9 * m[i] + 0.1 * gi;
            v[i] = fmin(0.96 * v[i] + 0.04 * gi * gi, 0.002);
            if (i < N)
                w[i] -= 0.01 * 0.1 * w[i];
            w[i] -= 0.01 * m[i] / (1 - pow(0.9, step)) / (sqrt(v[i] / (1 - pow(0.96, step))) + 1e-8);
        }
        free(g);
    }
    float *got = downloaded(k, p.values, p.total);
    for (int i = 0; i < 2 * N; i++)
        assert_float_equal(got[p.list[i / N].offset + (size_t)(i % N)], w[i], 1e-5);
    free(got);
    optimizer_free(&o);
    params_free(&p);
}

static void test_not_finite(void **state)
{
    (void)state;
    const struct kernels *k = kernels_cpu();
    struct params p = table(k);
    struct optimizer o;
    assert_int_equal(optimizer_new(&o, &p), 0);
    set_gradients(&p, 1, 1);
    optimizer_step(&o, &settings);
    float *before = downloaded(k, p.values, p.total), *m = downloaded(k, o.m, p.total);
    k->upload(param_grad(&p, 1), &(float){NAN}, 1);
    assert_false(isfinite(optimizer_step(&o, &settings)));
    assert_int_equal(o.step, 1);
    float *after = downloaded(k, p.values, p.total), *m_after = downloaded(k, o.m, p.total);
    assert_memory_equal(after, before, p.total * sizeof *after);
    assert_memory_equal(m_after, m, p.total * sizeof *m);
    free(m_after);
    free(after);
    free(m);
    free(before);
    optimizer_free(&o);
    params_free(&p);
}

/* Scales at work, as where states are fp16: gradients that many times too large give the same update; a group whose
 * gradients overflowed is left out, and its scale falls, but not twice within 125 updates. The parameters are F32. */
static void test_scales(void **state)
{
    (void)state;
    struct kernels half = *kernels_cpu();
    struct params plain = table(&half), p = {0};
    half.compute = F16;
    for (int i = 0; i < 2; i++) {
        params_add(&p, i == 0, INIT_NORMAL, 1, 1, (const int64_t[]){N}, "%d", i);
        p.list[i].group = params_add_group(&p);
    }
    assert_int_equal(params_alloc(&p, &half, true), 0);
    params_init(&p, 3);
    assert_true(p.scales[0].scale == 8192 && p.scales[1].scale == 8192);
    struct optimizer a, b;
    assert_int_equal(optimizer_new(&a, &plain), 0);
    assert_int_equal(optimizer_new(&b, &p), 0);
    set_gradients(&plain, 1, 1);
    set_gradients(&p, 1, 8192);
    float norm = optimizer_step(&a, &settings);
    assert_float_equal(optimizer_step(&b, &settings), norm, 1e-6 * norm);
    float *want = downloaded(&half, plain.values, plain.total), *got = downloaded(&half, p.values, p.total);
    for (size_t i = 0; i < plain.total; i++)
        assert_float_equal(got[i], want[i], 1e-6);
    float grown = 8192 * powf(2, 1 / 1000.0f);
    assert_true(p.scales[0].scale == grown && p.scales[1].scale == grown);

    float *moved = NULL;
    for (int update = 0; update < 127; update++) {
        set_gradients(&p, 2, grown);
        half.upload(param_grad(&p, 1), &(float){INFINITY}, 1);
        assert_true(isfinite(optimizer_step(&b, &settings)));
        int falls = update < 125 ? 1 : 2;
        assert_float_equal(p.scales[1].scale, grown / powf(2, 0.5f * (float)falls), 1e-2);
    }
    moved = downloaded(&half, p.values, p.total);
    assert_memory_equal(moved + p.list[1].offset, got + p.list[1].offset, N * sizeof *got);
    assert_memory_not_equal(moved + p.list[0].offset, got + p.list[0].offset, N * sizeof *got);
    free(moved);
    free(got);
    free(want);
    optimizer_free(&b);
    optimizer_free(&a);
    params_free(&p);
    params_free(&plain);
}

EACH_TABLE(formulas)

int main(void)
{
    const struct CMUnitTest tests[] = {UNIT_EACH_TABLE(formulas), cmocka_unit_test(test_not_finite),
                                       cmocka_unit_test(test_scales)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
