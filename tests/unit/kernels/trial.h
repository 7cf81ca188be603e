/*
 * A trial calls one operation of one table on generated arguments. Each argument lies between guards, mostly at an odd
 * address; afterwards the guards and the inputs must be as they were. Trials of one seed generate the same arguments,
 * so the results of two tables, or of one table under two numbers of threads, can be compared. Arguments live in the
 * table's memory; their values are kept here as floats (or ints), those of states rounded to the trial's type.
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

enum { TRIAL_GUARD = 80 /* elements on either side */, TRIAL_ARGUMENTS = 12, TRIAL_ID = 0x2A2A2A2A };
static const float TRIAL_PATTERN = 6.75f; /* which every type holds */

struct trial_argument {
    struct tensor base, tensor; /* the whole with its guards, and what the operation gets */
    size_t count, lead;         /* elements of data, and of the guard before it */
    float *values;              /* of the whole: as given, and after trial_check as they are */
    bool input, state;          /* state: of the trial's type */
};

struct trial {
    const struct kernels *k;
    enum dtype dtype; /* of matrices and states in the table's memory */
    enum dtype round; /* the type that these are rounded to: the same, or a reference's is its counterpart's */
    uint64_t seed;
    uint64_t drawn;
    bool aligned; /* arguments lie at addresses that vectors like, not at odd ones */
    double least; /* the least that errors are measured against, where outputs may all be tiny beside inputs */
    int arguments;
    struct trial_argument argument[TRIAL_ARGUMENTS];
};

/* The nearest value of a type, ties to even. */
static inline float trial_round(float x, enum dtype dtype)
{
    int exponent, bits = dtype == BF16 ? 8 : 11, least = dtype == BF16 ? -125 : -13;
    if ((dtype != BF16 && dtype != F16) || !isfinite(x) || x == 0)
        return x;
    frexpf(x, &exponent);
    double unit = ldexp(1, (exponent > least ? exponent : least) - bits), rounded = nearbyint(x / unit) * unit;
    return dtype == F16 && fabs(rounded) > 65504 ? copysignf(INFINITY, x) : (float)rounded;
}

/* How far apart two values that nearly agree may be rounded to the type, relatively. */
static inline double trial_unit(enum dtype dtype)
{
    return dtype == BF16 ? 0x1p-7 : dtype == F16 ? 0x1p-10 : 0;
}

static inline double trial_uniform(struct trial *t, double low, double high)
{
    return low + (high - low) * random_uniform(t->seed, 0, t->drawn++);
}

static inline size_t trial_whole(const struct trial_argument *a)
{
    return a->lead + a->count + TRIAL_GUARD;
}

static inline void trial_set_id(float *value, int32_t id)
{
    memcpy(value, &id, sizeof id);
}

/* Brings the last argument's values to its memory. */
static inline struct tensor trial_place(struct trial *t, bool input)
{
    struct trial_argument *a = &t->argument[t->arguments - 1];
    for (size_t i = 0; a->state && i < a->count; i++)
        a->values[a->lead + i] = trial_round(a->values[a->lead + i], t->round);
    a->input = input;
    t->k->upload(a->base, a->values, trial_whole(a));
    return a->tensor;
}

/* Begins an argument of `count` elements, of NaN; these are its values, to be filled before it is placed. A state has
 * the trial's type. */
static inline float *trial_begin(struct trial *t, size_t count, enum dtype dtype, bool state)
{
    assert_true(t->arguments < TRIAL_ARGUMENTS);
    struct trial_argument *a = &t->argument[t->arguments];
    a->lead = TRIAL_GUARD + (t->aligned ? 0 : (t->arguments * 5 + 1) % 16);
    a->count = count;
    a->state = state;
    a->base = t->k->alloc(trial_whole(a), state ? t->dtype : dtype);
    assert_non_null(a->base.data);
    a->tensor = tensor_at(a->base, a->lead);
    a->values = xmalloc(trial_whole(a) * sizeof *a->values);
    for (size_t i = 0; i < trial_whole(a); i++)
        if (dtype == I32)
            trial_set_id(&a->values[i], TRIAL_ID);
        else
            a->values[i] = i < a->lead || i >= a->lead + count ? TRIAL_PATTERN : NAN;
    t->arguments++;
    return a->values + a->lead;
}

/* The values of an argument. */
static inline float *trial_values(const struct trial *t, struct tensor x)
{
    for (int i = 0; i < t->arguments; i++)
        if (t->argument[i].tensor.data == x.data)
            return t->argument[i].values + t->argument[i].lead;
    fail_msg("no argument of the trial");
    return NULL;
}

static inline void trial_draw(struct trial *t, float *values, size_t count, double low, double high)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (float)trial_uniform(t, low, high);
}

/* An output whose present contents do not count. */
static inline struct tensor trial_out(struct trial *t, size_t count)
{
    trial_begin(t, count, F32, true);
    return trial_place(t, false);
}

static inline struct tensor trial_out_f32(struct trial *t, size_t count)
{
    trial_begin(t, count, F32, false);
    return trial_place(t, false);
}

static inline struct tensor trial_out_ids(struct trial *t, size_t count)
{
    trial_begin(t, count, I32, false);
    return trial_place(t, false);
}

/* An output that is added to or changed: its contents are given. */
static inline struct tensor trial_change(struct trial *t, size_t count, double low, double high)
{
    trial_draw(t, trial_begin(t, count, F32, true), count, low, high);
    return trial_place(t, false);
}

static inline struct tensor trial_change_f32(struct trial *t, size_t count, double low, double high)
{
    trial_draw(t, trial_begin(t, count, F32, false), count, low, high);
    return trial_place(t, false);
}

static inline struct tensor trial_in(struct trial *t, size_t count, double low, double high)
{
    trial_draw(t, trial_begin(t, count, F32, true), count, low, high);
    return trial_place(t, true);
}

static inline struct tensor trial_in_f32(struct trial *t, size_t count, double low, double high)
{
    trial_draw(t, trial_begin(t, count, F32, false), count, low, high);
    return trial_place(t, true);
}

static inline struct tensor trial_in_copy(struct trial *t, const float *from, size_t count)
{
    memcpy(trial_begin(t, count, F32, true), from, count * sizeof *from);
    return trial_place(t, true);
}

static inline struct tensor trial_in_copy_f32(struct trial *t, const float *from, size_t count)
{
    memcpy(trial_begin(t, count, F32, false), from, count * sizeof *from);
    return trial_place(t, true);
}

static inline void trial_draw_steps(struct trial *t, float *values, size_t count, int low, int high)
{
    for (size_t i = 0; i < count; i++)
        values[i] = (float)floor(trial_uniform(t, low, high));
}

/* Whole numbers of low .. high - 1: as floats they tie often. */
static inline struct tensor trial_in_steps(struct trial *t, size_t count, int low, int high)
{
    trial_draw_steps(t, trial_begin(t, count, F32, true), count, low, high);
    return trial_place(t, true);
}

static inline struct tensor trial_in_steps_f32(struct trial *t, size_t count, int low, int high)
{
    trial_draw_steps(t, trial_begin(t, count, F32, false), count, low, high);
    return trial_place(t, true);
}

static inline struct tensor trial_in_ids(struct trial *t, size_t count, int low, int high)
{
    float *values = trial_begin(t, count, I32, false);
    for (size_t i = 0; i < count; i++)
        trial_set_id(&values[i], (int32_t)floor(trial_uniform(t, low, high)));
    return trial_place(t, true);
}

static inline struct tensor trial_in_id(struct trial *t, int32_t id)
{
    trial_set_id(trial_begin(t, 1, I32, false), id);
    return trial_place(t, true);
}

/* NaNs and zeros of both signs included. */
static inline bool trial_same_bits(float a, float b)
{
    uint32_t x, y;
    memcpy(&x, &a, sizeof x);
    memcpy(&y, &b, sizeof y);
    return x == y;
}

/* Fetches the arguments' values; fails where the operation wrote outside its outputs. */
static inline void trial_check(struct trial *t, const char *what)
{
    for (int i = 0; i < t->arguments; i++) {
        struct trial_argument *a = &t->argument[i];
        float *given = a->values, *now = xmalloc(trial_whole(a) * sizeof *now);
        size_t end = a->lead + a->count;
        t->k->download(now, a->base, trial_whole(a));
        for (size_t j = 0; j < a->lead; j++)
            if (!trial_same_bits(given[j], now[j]))
                fail_msg("%s, %s: argument %d was written %zu elements before its start", t->k->name, what, i,
                         a->lead - j);
        for (size_t j = 0; j < TRIAL_GUARD; j++)
            if (!trial_same_bits(given[end + j], now[end + j]))
                fail_msg("%s, %s: argument %d was written %zu elements behind its end", t->k->name, what, i, j);
        if (a->input && memcmp(given + a->lead, now + a->lead, a->count * sizeof *now) != 0)
            fail_msg("%s, %s: argument %d, an input, was changed", t->k->name, what, i);
        a->values = now;
        free(given);
    }
}

/* Fails where an output of `t` is further from `reference` (rounded to the type of `t`) than tolerance times the
 * largest value there, or t->least if that is more (tolerance 0: where any bit differs). */
static inline void trial_compare(const struct trial *t, const struct trial *reference, double tolerance,
                                 const char *what)
{
    for (int i = 0; i < t->arguments; i++) {
        const struct trial_argument *a = &t->argument[i], *b = &reference->argument[i];
        const float *x = a->values + a->lead, *y = b->values + b->lead;
        double largest = t->least;
        for (size_t j = 0; j < a->count; j++)
            if (isfinite(y[j]))
                largest = fmax(largest, fabs(y[j]));
        for (size_t j = 0; j < a->count && !a->input; j++) {
            float expected = a->state ? trial_round(y[j], t->round) : y[j];
            bool same = trial_same_bits(x[j], expected);
            if (!same && a->tensor.dtype == I32)
                fail_msg("%s, %s: argument %d [%zu] is another id than the reference's", t->k->name, what, i, j);
            if (!same && !(fabs((double)x[j] - expected) <= tolerance * largest && tolerance > 0))
                fail_msg("%s, %s: argument %d [%zu] is %.9g, the reference is %.9g (largest %.3g)", t->k->name, what, i,
                         j, x[j], expected, largest);
        }
    }
}

static inline void trial_free(struct trial *t)
{
    for (int i = 0; i < t->arguments; i++) {
        t->k->free(t->argument[i].base);
        free(t->argument[i].values);
    }
    t->arguments = 0;
}

#endif
