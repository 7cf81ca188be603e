/*
 * The plain kernels against their definitions in kernels.h, and the choice of a table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/random.h"
#include "kernels/kernels.h"
#include "near.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static struct tensor floats(const float *x)
{
    return (struct tensor){(void *)(uintptr_t)x, F32};
}

static struct tensor ids(const int32_t *x)
{
    return (struct tensor){(void *)(uintptr_t)x, I32};
}

static void randomise(float *x, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        x[i] = 2 * random_uniform(seed, 0, i) - 1;
}

static void assert_floats(const float *x, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_near(x[i], expected[i], 1e-5);
}

static void tables_are_full(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"plain", "avx2", "avx512"};
    for (size_t n = 0; n < COUNT(NAMES); n++) {
        setenv("ATELIER_CPU", NAMES[n], 1);
        const struct kernels *k = kernels_cpu();
        if (!k)
            continue;
        assert_string_equal(k->name, NAMES[n]);
        void *const *entries = (void *const *)(const void *)k;
        const size_t optional = offsetof(struct kernels, linear_add),
                     last = offsetof(struct kernels, linear_act_backward);
        for (size_t at = offsetof(struct kernels, alloc); at < sizeof *k; at += sizeof *entries)
            if (at < optional || at > last)
                assert_non_null(entries[at / sizeof *entries]);
    }
}

static void unknown_table_is_an_error(void **state)
{
    (void)state;
    setenv("ATELIER_CPU", "sse9", 1);
    assert_null(kernels_cpu());
    assert_int_equal(err_code(), ERR_USAGE);
    assert_non_null(strstr(err_text(), "sse9"));
    unsetenv("ATELIER_CPU");
    assert_non_null(kernels_cpu());
}

static void alloc_aligns_and_refuses(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    for (size_t n = 0; n < 40; n++) {
        struct tensor t = k->alloc(n, F32);
        assert_non_null(t.data);
        assert_int_equal((uintptr_t)t.data % 64, 0);
        k->fill(t, 1, n);
        k->free(t);
    }
    assert_null(k->alloc(SIZE_MAX, F32).data);
    assert_null(k->alloc(SIZE_MAX / 4, F32).data);
    assert_int_equal(err_code(), ERR_AGAIN);
}

static void matmul_follows_its_formula(void **state)
{
    (void)state;
    enum { M = 3, N = 5, K = 7 };
    float a[M * K], b[K * N], c[M * N], expected[M * N];
    randomise(a, M * K, 1);
    randomise(b, K * N, 2);
    for (int way = 0; way < 4; way++) {
        bool ta = way & 1, tb = way & 2;
        randomise(c, M * N, 3);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double sum = 0;
                for (int p = 0; p < K; p++)
                    sum += (double)(ta ? a[p * M + i] : a[i * K + p]) * (tb ? b[j * K + p] : b[p * N + j]);
                expected[i * N + j] = (float)(1.5 * sum + 0.5 * c[i * N + j]);
            }
        kernels_plain()->matmul(floats(c), floats(a), floats(b), M, N, K, ta, tb, 1.5f, 0.5f);
        assert_floats(c, expected, M * N);
    }
    c[0] = NAN; /* with beta 0, what was there does not count */
    kernels_plain()->matmul(floats(c), floats(a), floats(b), 1, 1, 1, false, false, 1, 0);
    assert_near(c[0], a[0] * b[0], 1e-6);
}

/* y at one place, by the formula. */
static double conv_at(const float *x, const float *w, const struct conv_shape *s, int n, int row, int column, int o)
{
    double sum = 0;
    for (int i = 0; i < s->in; i++)
        for (int ky = 0; ky < s->kernel; ky++)
            for (int kx = 0; kx < s->kernel; kx++) {
                int y = row + ky - s->kernel / 2, z = column + kx - s->kernel / 2;
                if (y >= 0 && y < s->height && z >= 0 && z < s->width)
                    sum += (double)x[((n * s->height + y) * s->width + z) * s->in + i] *
                           w[((o * s->in + i) * s->kernel + ky) * s->kernel + kx];
            }
    return sum;
}

static void conv_follows_its_formula(void **state)
{
    (void)state;
    struct conv_shape s = {2, 4, 3, 2, 5, 3};
    enum { PIXELS = 2 * 4 * 3 };
    float x[PIXELS * 2], w[5 * 2 * 9], bias[5], y[PIXELS * 5];
    randomise(x, COUNT(x), 1);
    randomise(w, COUNT(w), 2);
    randomise(bias, COUNT(bias), 3);
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        kernels_plain()->conv(floats(y), floats(x), floats(w), with_bias ? floats(bias) : tensor_none(), &s);
        for (int at = 0; at < PIXELS * 5; at++) {
            int o = at % 5, column = at / 5 % 3, row = at / 15 % 4, n = at / 60;
            assert_near(y[at], conv_at(x, w, &s, n, row, column, o) + (with_bias ? bias[o] : 0), 1e-5);
        }
    }
}

static void pictures_are_cut_and_resized(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    /* 2 x 4 pixels of 2 channels, channel 1 a hundred more */
    static const float X[] = {0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105, 6, 106, 7, 107};
    static const float PATCHES[] = {0, 1, 4, 5, 100, 101, 104, 105, 2, 3, 6, 7, 102, 103, 106, 107};
    static const float POOLED[] = {5, 105, 7, 107};
    static const float DOUBLED[] = {0, 100, 0, 100, 1, 101, 1, 101, 0, 100, 0, 100, 1, 101, 1, 101};
    float y[16];
    k->patches(floats(y), floats(X), 1, 2, 4, 2, 2);
    assert_floats(y, PATCHES, 16);
    k->maxpool(floats(y), floats(X), 1, 2, 4, 2);
    assert_floats(y, POOLED, 4);
    k->upsample(floats(y), floats(X), 1, 1, 2, 2);
    assert_floats(y, DOUBLED, 16);
}

static void maxpool_gradient_goes_to_the_first_of_equals(void **state)
{
    (void)state;
    static const float X[] = {1, 2, 2, 2}, DY[] = {5}, EXPECTED[] = {0, 5, 0, 0};
    float dx[4];
    kernels_plain()->maxpool_backward(floats(dx), floats(DY), floats(X), 1, 2, 2, 1);
    assert_floats(dx, EXPECTED, 4);
}

static void negative_ids_and_targets_are_nothing(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    static const float TABLE[] = {1, 2, 3, 4};
    static const int32_t IDS[] = {1, -1, 0};
    float y[] = {9, 9, 9, 9, 9, 9}, dtable[] = {0, 0, 0, 0}, loss[3], dlogits[6];
    k->embed(floats(y), floats(TABLE), ids(IDS), 3, 2, true);
    assert_floats(y, (float[]){12, 13, 9, 9, 10, 11}, 6);
    k->embed(floats(y), floats(TABLE), ids(IDS), 3, 2, false);
    assert_floats(y, (float[]){3, 4, 0, 0, 1, 2}, 6);
    k->embed_backward(floats(dtable), floats((float[]){1, 2, 4, 8, 16, 32}), ids(IDS), 3, 2);
    assert_floats(dtable, (float[]){16, 32, 1, 2}, 4);
    k->softmax_xent(floats(loss), floats(dlogits), floats((float[]){0, 0, 5, 6, 1, 1}), ids(IDS), 3, 2, 2);
    assert_floats(loss, (float[]){0.693147f, 0, 0.693147f}, 3);
    assert_floats(dlogits, (float[]){1, -1, 0, 0, -1, 1}, 6);
}

static void losses_hold_known_values(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    float kl[2], use[2], loss[1];
    k->kl_uniform(floats(kl), tensor_none(), floats((float[]){3, 3, 0, 2000}), 2, 2, 1);
    assert_floats(kl, (float[]){0, 0.693147f}, 2);
    k->code_use(floats(use), floats((float[]){3, 3, 0, 2000}), 2, 2);
    assert_floats(use, (float[]){0.25f, 0.75f}, 2);
    /* -ln of exp(-|logit x - mu| / b) / (2 b x (1 - x)) */
    float mu[] = {0, 1, -2}, ln_b[] = {0, 0.5f, -1}, x[] = {0.5f, 0.3f, 0.9f}, stats[6];
    double expected = 0;
    for (int c = 0; c < 3; c++) {
        double b = exp(ln_b[c]), logit = log(x[c] / (1 - x[c]));
        expected -= log(exp(-fabs(logit - mu[c]) / b) / (2 * b * x[c] * (1 - x[c])));
        stats[c] = mu[c];
        stats[3 + c] = ln_b[c];
    }
    k->logit_laplace(floats(loss), tensor_none(), floats(stats), floats(x), 1, -INFINITY, 1);
    assert_near(loss[0], expected, 1e-4);
    /* Below the floor ln b counts as the floor; it is let go only upwards. mu is 0.1 off, then 3 off. */
    float near[6] = {0.1f, 3, 0, -5, -5, 0}, half[] = {0.5f, 0.5f, 0.5f}, d[6];
    k->logit_laplace(floats(loss), floats(d), floats(near), floats(half), 1, -1, 1);
    assert_near(d[3], 0, 1e-6);
    assert_near(d[4], 1 - 3 * exp(1), 1e-5);
    assert_near(d[5], 1, 1e-6);
    assert_near(d[0], exp(1), 1e-5);
}

static void gumbel_draws_have_their_distribution(void **state)
{
    (void)state;
    enum { N = 20001 };
    static float noise[N], tail[8];
    const struct kernels *k = kernels_plain();
    k->gumbel(floats(noise), 11, 3, N);
    double mean = 0, variance = 0;
    for (int i = 0; i < N; i++)
        mean += noise[i] / N;
    for (int i = 0; i < N; i++)
        variance += (noise[i] - mean) * (noise[i] - mean) / N;
    assert_near(mean, 0.5772, 0.03); /* Euler's constant and pi^2 / 6 */
    assert_near(variance, 1.6449, 0.08);
    float u = random_unit(random_philox(11, 3, 1).v[2]);
    assert_near(noise[6], -log(-log(u)), 1e-5);
    k->gumbel(floats(tail), 11, 3, 7);
    assert_memory_equal(noise, tail, 7 * sizeof(float));
}

static int32_t draw_one(const float *logits, int classes, float u, struct draw d)
{
    int32_t id;
    kernels_plain()->draw(ids(&id), floats(logits), floats(&u), 1, classes, &d);
    return id;
}

static void draw_inverts_in_the_order_of_classes(void **state)
{
    (void)state;
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    const struct draw all = {1, 0, 1};
    static const struct {
        float u;
        int32_t id;
    } CASES[] = {{0.01f, 0}, {0.09f, 0}, {0.11f, 1}, {0.49f, 1}, {0.51f, 2}, {0.69f, 2}, {0.71f, 3}, {0.999f, 3}};
    for (size_t i = 0; i < COUNT(CASES); i++)
        assert_int_equal(draw_one(logits, 4, CASES[i].u, all), CASES[i].id);
    /* temperature 1/2 squares the probabilities: 1, 16, 4, 9 of 30 */
    assert_int_equal(draw_one(logits, 4, 0.9f / 30, (struct draw){0.5f, 0, 1}), 0);
    assert_int_equal(draw_one(logits, 4, 1.1f / 30, (struct draw){0.5f, 0, 1}), 1);
    assert_int_equal(draw_one(logits, 4, 20.9f / 30, (struct draw){0.5f, 0, 1}), 2);
    assert_int_equal(draw_one(logits, 4, 0.999f, (struct draw){0, 0, 1}), 1);
}

static void draw_cuts_by_rank_then_by_mass(void **state)
{
    (void)state;
    const float logits[] = {logf(0.1f), logf(0.4f), logf(0.2f), logf(0.3f)};
    for (int i = 0; i < 100; i++) {
        float u = ((float)i + 0.5f) / 100;
        int two = u < 4.0f / 7 ? 1 : 3;
        assert_int_equal(draw_one(logits, 4, u, (struct draw){1, 1, 1}), 1);
        assert_int_equal(draw_one(logits, 4, u, (struct draw){1, 2, 1}), two);
        assert_int_equal(draw_one(logits, 4, u, (struct draw){1, 0, 0.3f}), 1);
        assert_int_equal(draw_one(logits, 4, u, (struct draw){1, 0, 0.6f}), two);
        /* of the two that top_k leaves, the first has 4/7 of the mass */
        assert_int_equal(draw_one(logits, 4, u, (struct draw){1, 2, 0.57f}), 1);
        assert_int_equal(draw_one(logits, 4, u, (struct draw){1, 2, 0.58f}), two);
    }
    static const float EQUAL[] = {1, 1, 1, 1};
    for (int i = 0; i < 100; i++) {
        float u = ((float)i + 0.5f) / 100;
        assert_true(draw_one(EQUAL, 4, u, (struct draw){1, 2, 1}) < 2);
        assert_true(draw_one(EQUAL, 4, u, (struct draw){1, 0, 0.6f}) < 3);
    }
}

static void argmax_takes_the_first_of_equals(void **state)
{
    (void)state;
    int32_t best[2];
    kernels_plain()->argmax(ids(best), floats((float[]){1, 3, 3, -5, -7, -5}), 2, 3);
    assert_int_equal(best[0], 1);
    assert_int_equal(best[1], 0);
}

static void adamw_follows_the_paper(void **state)
{
    (void)state;
    const struct adamw h = {0.1f, 0.9f, 0.96f, 1e-8f, 0.5f, 0.01f, 0.5f, 3, 0};
    float w = 2, m = 0.3f, v = 0.2f, g = 4;
    double gradient = 4 * 0.5, mean = 0.9 * 0.3 + 0.1 * gradient;
    double clipped = fmin(0.96 * 0.2 + 0.04 * gradient * gradient, 0.01);
    double step = mean / (1 - pow(0.9, 3)) / (sqrt(clipped / (1 - pow(0.96, 3))) + 1e-8);
    kernels_plain()->adamw(floats(&w), floats(&m), floats(&v), floats(&g), 1, &h);
    assert_near(m, mean, 1e-5);
    assert_near(v, clipped, 1e-6);
    assert_near(w, 2 * (1 - 0.1 * 0.5) - 0.1 * step, 1e-4);
}

static void small_operations_follow_their_formulas(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    float y[] = {1, 2, 3}, sum[1], rows[] = {0, 1, 2, 3}, norm[1], unit[2];
    const float x[] = {10, 20, 30};
    k->axpy(floats(y), 0.5f, floats(x), 3);
    assert_floats(y, (float[]){6, 12, 18}, 3);
    k->scale(floats(y), 2, 3);
    assert_floats(y, (float[]){12, 24, 36}, 3);
    k->lerp(floats(y), floats(x), 0.75f, 3, 0);
    assert_floats(y, (float[]){11.5f, 23, 34.5f}, 3);
    k->cast(floats(y), floats(x), 0.5f, 3);
    assert_floats(y, (float[]){5, 10, 15}, 3);
    k->dot(floats(sum), floats(x), floats((float[]){1, 2, 3}), 3);
    assert_near(sum[0], 140, 1e-5);
    k->add_rows(floats(rows), floats(x), 2, 2);
    assert_floats(rows, (float[]){10, 21, 12, 23}, 4);
    k->l2norm(floats(unit), floats(norm), floats((float[]){3, -4}), 1, 2);
    assert_floats(unit, (float[]){0.6f, -0.8f}, 2);
    assert_near(norm[0], 5, 1e-5);
}

static void layers_hold_known_values(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    const float x[] = {-1, 0, 1, 2};
    float y[4], mean[1], rstd[1];
    k->act(ACT_RELU, floats(y), floats(x), 4);
    assert_floats(y, (float[]){0, 0, 1, 2}, 4);
    k->act(ACT_GELU, floats(y), floats(x), 4);
    assert_floats(y, (float[]){-0.158808f, 0, 0.841192f, 1.954598f}, 4);
    k->act(ACT_QUICK_GELU, floats(y), floats(x), 4);
    assert_floats(y, (float[]){-0.154204f, 0, 0.845796f, 1.935659f}, 4);
    k->layernorm(floats(y), floats(mean), floats(rstd), floats(x), floats((float[]){1, 1, 2, 2}),
                 floats((float[]){0, 1, 0, 0}), 1, 4);
    assert_near(mean[0], 0.5, 1e-6);
    assert_near(rstd[0], 1 / sqrt(1.25 + 1e-5), 1e-6);
    assert_floats(y, (float[]){-1.5f * rstd[0], 1 - 0.5f * rstd[0], rstd[0], 3 * rstd[0]}, 4);
}

static void absent_gradients_are_skipped(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    struct conv_shape s = {1, 1, 2, 1, 1, 1};
    float dw[] = {1};
    k->linear_backward(tensor_none(), floats(dw), tensor_none(), floats((float[]){1, 2}), floats((float[]){3, 4}),
                       floats((float[]){5}), 2, 1, 1);
    assert_near(dw[0], 12, 1e-5);
    k->conv_backward(tensor_none(), floats(dw), tensor_none(), floats((float[]){1, 2}), floats((float[]){3, 4}),
                     floats((float[]){5}), &s);
    assert_near(dw[0], 23, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_full),
        cmocka_unit_test(unknown_table_is_an_error),
        cmocka_unit_test(alloc_aligns_and_refuses),
        cmocka_unit_test(matmul_follows_its_formula),
        cmocka_unit_test(conv_follows_its_formula),
        cmocka_unit_test(pictures_are_cut_and_resized),
        cmocka_unit_test(maxpool_gradient_goes_to_the_first_of_equals),
        cmocka_unit_test(negative_ids_and_targets_are_nothing),
        cmocka_unit_test(losses_hold_known_values),
        cmocka_unit_test(gumbel_draws_have_their_distribution),
        cmocka_unit_test(draw_inverts_in_the_order_of_classes),
        cmocka_unit_test(draw_cuts_by_rank_then_by_mass),
        cmocka_unit_test(argmax_takes_the_first_of_equals),
        cmocka_unit_test(adamw_follows_the_paper),
        cmocka_unit_test(small_operations_follow_their_formulas),
        cmocka_unit_test(layers_hold_known_values),
        cmocka_unit_test(absent_gradients_are_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
