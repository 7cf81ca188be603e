/*
 * Compares the CUDA table with the plain one, operation by operation (kernels/compare.h), in F32, BF16 and F16. The
 * reference computes in F32 from the same inputs, rounded to the type; an output of 16 bits may be off by as many of
 * its last bits as the operation rounds on its way.
 */
#ifndef ATELIER_TESTS_UNIT_CUDA_COMPARE_CUDA_H
#define ATELIER_TESTS_UNIT_CUDA_COMPARE_CUDA_H

#include "on_device.h"
#include "tests/unit/kernels/compare.h"

static inline void compare_cuda_shape(const struct operation *o, enum dtype dtype, const int *shape)
{
    char what[128];
    compare_describe(what, o, shape);
    const struct kernels *k = device_table(dtype);
    struct trial reference = {.k = kernels_plain(), .round = dtype}, trials[3];
    double tolerance = 2 * o->tolerance + o->roundings * trial_unit(dtype); /* sums are one chain of F32, at worst */
    compare_trial(&reference, o, shape, what);
    bool same_bits = true;
    for (int i = 0; i < 3; i++) { /* at odd addresses, which may go another way, and twice at even ones */
        trials[i] = (struct trial){.k = k, .dtype = dtype, .round = dtype, .aligned = i > 0};
        same_bits = device_vary(i == 1);
        compare_trial(&trials[i], o, shape, what);
        trial_compare(&trials[i], &reference, tolerance, what);
    }
    if (same_bits)
        trial_compare(&trials[2], &trials[1], 0, what);
    for (int i = 0; i < 3; i++)
        trial_free(&trials[i]);
    trial_free(&reference);
}

struct cuda_comparison {
    const struct operation *operation;
    enum dtype dtype;
    char name[64];
};

static inline void compare_cuda_test(void **state)
{
    const struct cuda_comparison *c = *state;
    for (int i = 0; c->operation->shapes[i][0]; i++)
        compare_cuda_shape(c->operation, c->dtype, c->operation->shapes[i]);
}

/* Runs the operations in each type as a group of tests; the result is main's. */
static inline int compare_cuda_all(const struct operation *operations, int count)
{
    static const enum dtype TYPES[] = {F32, BF16, F16};
    static const char *const NAMES[] = {"f32", "bf16", "f16"};
    struct cuda_comparison comparisons[3 * count];
    struct CMUnitTest tests[3 * count];
    for (int i = 0; i < 3 * count; i++) {
        struct cuda_comparison *c = &comparisons[i];
        *c = (struct cuda_comparison){&operations[i / 3], TYPES[i % 3], ""};
        snprintf(c->name, sizeof c->name, "%s, cuda, %s", c->operation->name, NAMES[i % 3]);
        tests[i] = (struct CMUnitTest){c->name, compare_cuda_test, NULL, NULL, c};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
