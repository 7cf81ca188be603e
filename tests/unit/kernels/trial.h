/*
 * A trial calls one operation of one table on generated arguments. Each argument lies between guards, at an odd
 * address; afterwards the guards and the inputs must be as they were. Trials of one seed generate the same arguments,
 * so the results of two tables, or of one table under two numbers of threads, can be compared.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_TRIAL_H
#define ATELIER_TESTS_UNIT_KERNELS_TRIAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/mem.h"
#include "common/random.h"
#include "kernels/kernels.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TRIAL_GUARD = 80 /* elements on either side */, TRIAL_ARGUMENTS = 12, TRIAL_PATTERN = 0xA5 };

struct trial_argument {
    unsigned char *base; /* guard, data, guard */
    struct tensor tensor;
    size_t count, lead; /* elements of data, and of the guard before it */
    void *before;       /* an input's contents; NULL: an output */
};

struct trial {
    const struct kernels *k;
    uint64_t seed;
    uint64_t drawn;
    double least; /* the least that errors are measured against, where outputs may all be tiny beside inputs */
    int arguments;
    struct trial_argument argument[TRIAL_ARGUMENTS];
};

static inline double trial_uniform(struct trial *t, double low, double high)
{
    return low + (high - low) * random_uniform(t->seed, 0, t->drawn++);
}

/* An argument of `count` elements that hold a pattern which is a NaN as a number. */
static inline struct tensor trial_argument(struct trial *t, size_t count, enum dtype dtype)
{
    assert_true(t->arguments < TRIAL_ARGUMENTS);
    struct trial_argument *a = &t->argument[t->arguments];
    a->lead = TRIAL_GUARD + (t->arguments * 5 + 1) % 16;
    size_t bytes = (a->lead + count + TRIAL_GUARD) * 4;
    a->base = xmalloc(bytes);
    memset(a->base, TRIAL_PATTERN, bytes);
    a->tensor = (struct tensor){a->base + a->lead * 4, dtype};
    a->count = count;
    a->before = NULL;
    t->arguments++;
    for (size_t i = 0; dtype == F32 && i < count; i++)
        ((float *)a->tensor.data)[i] = NAN;
    return a->tensor;
}

/* Declares that the last argument, now filled, is an input. */
static inline struct tensor trial_seal(struct trial *t)
{
    struct trial_argument *a = &t->argument[t->arguments - 1];
    a->before = xmalloc(a->count * 4 + 1);
    memcpy(a->before, a->tensor.data, a->count * 4);
    return a->tensor;
}

/* An output whose present contents do not count. */
static inline struct tensor trial_out(struct trial *t, size_t count)
{
    return trial_argument(t, count, F32);
}

static inline struct tensor trial_out_ids(struct trial *t, size_t count)
{
    return trial_argument(t, count, I32);
}

/* An output that is added to or changed: its contents are given. */
static inline struct tensor trial_change(struct trial *t, size_t count, double low, double high)
{
    struct tensor x = trial_argument(t, count, F32);
    for (size_t i = 0; i < count; i++)
        ((float *)x.data)[i] = (float)trial_uniform(t, low, high);
    return x;
}

static inline struct tensor trial_in(struct trial *t, size_t count, double low, double high)
{
    trial_change(t, count, low, high);
    return trial_seal(t);
}

static inline struct tensor trial_in_copy(struct trial *t, const float *from, size_t count)
{
    struct tensor x = trial_argument(t, count, F32);
    memcpy(x.data, from, count * 4);
    return trial_seal(t);
}

/* Whole numbers of low .. high - 1: as floats they tie often. */
static inline struct tensor trial_in_steps(struct trial *t, size_t count, int low, int high)
{
    struct tensor x = trial_argument(t, count, F32);
    for (size_t i = 0; i < count; i++)
        ((float *)x.data)[i] = (float)floor(trial_uniform(t, low, high));
    return trial_seal(t);
}

static inline struct tensor trial_in_ids(struct trial *t, size_t count, int low, int high)
{
    struct tensor x = trial_argument(t, count, I32);
    for (size_t i = 0; i < count; i++)
        ((int32_t *)x.data)[i] = (int32_t)floor(trial_uniform(t, low, high));
    return trial_seal(t);
}

static inline struct tensor trial_in_id(struct trial *t, int32_t id)
{
    struct tensor x = trial_argument(t, 1, I32);
    *(int32_t *)x.data = id;
    return trial_seal(t);
}

/* Fails where the operation wrote outside its outputs. */
static inline void trial_check(const struct trial *t, const char *what)
{
    for (int i = 0; i < t->arguments; i++) {
        const struct trial_argument *a = &t->argument[i];
        size_t end = (a->lead + a->count) * 4;
        for (size_t b = 0; b < a->lead * 4; b++)
            if (a->base[b] != TRIAL_PATTERN)
                fail_msg("%s, %s: argument %d was written %zu bytes before its start", t->k->name, what, i,
                         a->lead * 4 - b);
        for (size_t b = 0; b < (size_t)TRIAL_GUARD * 4; b++)
            if (a->base[end + b] != TRIAL_PATTERN)
                fail_msg("%s, %s: argument %d was written %zu bytes behind its end", t->k->name, what, i, b);
        if (a->before && memcmp(a->before, a->tensor.data, a->count * 4) != 0)
            fail_msg("%s, %s: argument %d, an input, was changed", t->k->name, what, i);
    }
}

/* Fails where an output of `t` is further from `reference` than tolerance times the largest value there, or t->least if
 * that is more (tolerance 0: where any bit differs). */
static inline void trial_compare(const struct trial *t, const struct trial *reference, double tolerance,
                                 const char *what)
{
    for (int i = 0; i < t->arguments; i++) {
        const struct trial_argument *a = &t->argument[i], *b = &reference->argument[i];
        if (a->before)
            continue;
        if (tolerance == 0 || a->tensor.dtype == I32) {
            if (memcmp(a->tensor.data, b->tensor.data, a->count * 4) != 0)
                fail_msg("%s, %s: argument %d differs in bits", t->k->name, what, i);
            continue;
        }
        const float *x = a->tensor.data, *y = b->tensor.data;
        double largest = t->least;
        for (size_t j = 0; j < a->count; j++)
            largest = fmax(largest, fabs(y[j]));
        for (size_t j = 0; j < a->count; j++)
            if (!(fabs((double)x[j] - y[j]) <= tolerance * largest))
                fail_msg("%s, %s: argument %d [%zu] is %.9g, the reference is %.9g (largest %.3g)", t->k->name, what, i,
                         j, x[j], y[j], largest);
    }
}

static inline void trial_free(struct trial *t)
{
    for (int i = 0; i < t->arguments; i++) {
        free(t->argument[i].base);
        free(t->argument[i].before);
    }
    t->arguments = 0;
}

#endif
