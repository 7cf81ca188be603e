/*
 * Compares the fast tables with the plain one, operation by operation: every shape of a list; guards and inputs
 * untouched; and the same bits under one, two and three threads. Little work is done by one thread whatever their
 * number (threads_for in kernels/cpu/isa/fast.h), so each list has shapes large enough for every loop to be shared out.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_COMPARE_H
#define ATELIER_TESTS_UNIT_KERNELS_COMPARE_H

#include "trial.h"
#include <stdio.h>
#include <unistd.h>

enum { COMPARE_SHAPES = 20, COMPARE_SIZES = 8 };

struct operation {
    const char *name;
    void (*call)(struct trial *t, const int *s);   /* generates the arguments and calls the operation */
    double tolerance;                              /* of the largest value of the output, in F32 */
    double roundings;                              /* to 16 bits, where the table uses them, that lead to an output */
    int shapes[COMPARE_SHAPES + 1][COMPARE_SIZES]; /* ends with a shape that starts with 0 */
};

struct comparison {
    const struct operation *operation;
    const char *table;
    char name[64];
};

static inline void compare_trial(struct trial *t, const struct operation *o, const int *shape, const char *what)
{
    t->seed = (uint64_t)shape[0] * 131 + shape[1];
    o->call(t, shape);
    trial_check(t, what);
}

static inline void compare_describe(char what[128], const struct operation *o, const int *shape)
{
    int n = snprintf(what, 128, "%s", o->name);
    for (int i = 0; i < COMPARE_SIZES; i++)
        n += snprintf(what + n, 128 - n, " %d", shape[i]);
}

static inline void compare_shape(const struct kernels *k, const struct operation *o, const int *shape)
{
    char what[128];
    compare_describe(what, o, shape);
    struct trial reference = {.k = kernels_plain()}, single = {.k = k};
    compare_trial(&reference, o, shape, what);
    kernels_set_threads(1);
    compare_trial(&single, o, shape, what);
    trial_compare(&single, &reference, o->tolerance, what);
    for (int threads = 2; threads <= 3; threads++) {
        struct trial parallel = {.k = k};
        kernels_set_threads(threads);
        compare_trial(&parallel, o, shape, what);
        trial_compare(&parallel, &single, 0, what);
        trial_free(&parallel);
    }
    trial_free(&single);
    trial_free(&reference);
}

static inline void compare_test(void **state)
{
    const struct comparison *c = *state;
    setenv("ATELIER_CPU", c->table, 1);
    const struct kernels *k = kernels_cpu();
    if (!k)
        skip();
    for (int i = 0; k && c->operation->shapes[i][0]; i++)
        compare_shape(k, c->operation, c->operation->shapes[i]);
}

/* Runs the operations on each fast table as a group of tests; the result is main's. */
static inline int compare_all(const struct operation *operations, int count)
{
    /* Waiting threads spin by default, which is slow where tests share their cores; OpenMP reads this at start alone.
     */
    if (!getenv("OMP_WAIT_POLICY")) {
        setenv("OMP_WAIT_POLICY", "passive", 1);
        execl("/proc/self/exe", "test", (char *)NULL);
    }
    static const char *const TABLES[] = {"avx2", "avx512"};
    struct comparison comparisons[2 * count];
    struct CMUnitTest tests[2 * count];
    for (int i = 0; i < 2 * count; i++) {
        struct comparison *c = &comparisons[i];
        *c = (struct comparison){&operations[i / 2], TABLES[i % 2], ""};
        snprintf(c->name, sizeof c->name, "%s, %s", c->operation->name, c->table);
        tests[i] = (struct CMUnitTest){c->name, compare_test, NULL, NULL, c};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
