/* Plans: the paper's largest prior in 16 bits, and that recomputation keeps little but the layers' inputs. */
#include "tests/unit/models/test_prior.h"

#include "kernels/plan.h"
#include "models/optimizer.h"

static const struct prior_config paper = {.layers = 64,
                                          .heads = 62,
                                          .head_dim = 64,
                                          .text_vocab = 16384,
                                          .text_len = 256,
                                          .image_vocab = 8192,
                                          .grid = 32,
                                          .kernel = 11};

static size_t planned(const struct prior_config *c, enum dtype compute, enum prior_use use, size_t *parameters)
{
    struct prior *p;
    struct optimizer o;
    assert_int_equal(prior_new(&p, plan_begin(compute), c, 1, use), 0);
    assert_int_equal(optimizer_new(&o, prior_params(p)), 0);
    *parameters = 0;
    for (int i = 0; i < prior_params(p)->count; i++)
        *parameters += prior_params(p)->list[i].count;
    optimizer_free(&o);
    prior_free(&p);
    return plan_bytes();
}

static void test_paper_fits_one_gpu(void **state)
{
    (void)state;
    size_t parameters, bytes = planned(&paper, BF16, PRIOR_RECOMPUTE, &parameters);
    assert_in_range(parameters, 11900000000, 12500000000);
    assert_true(bytes < (size_t)139 << 30);
    /* Weights, gradients and two moments, nearly all of them in 16 bits, and a picture's activations. */
    assert_true(bytes > parameters * 8);
    assert_true(planned(&paper, F32, PRIOR_RECOMPUTE, &parameters) > parameters * 16);
}

static void test_recomputation_saves(void **state)
{
    (void)state;
    struct prior_config c = paper;
    c.heads = 8;
    size_t parameters, kept = planned(&c, BF16, PRIOR_TRAIN, &parameters);
    size_t again = planned(&c, BF16, PRIOR_RECOMPUTE, &parameters), rows = 1280, width = 512;
    /* A block's states beside its input: normed twice, queries, keys and values, attended, between, hidden twice. */
    size_t block = rows * width * 2 * (2 + 3 + 1 + 1 + 2 * 4);
    assert_in_range(kept - again, 63 * block, 63 * (block + block / 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paper_fits_one_gpu),
        cmocka_unit_test(test_recomputation_saves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
