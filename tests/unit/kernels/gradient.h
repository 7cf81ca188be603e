/*
 * Checks backward kernels by finite differences. An operation y = f(x0, x1, ...) is reduced to one number, the sum of
 * y times a fixed random dy; its central difference along each element of each input must be what the backward kernel
 * says.
 */
#ifndef ATELIER_TESTS_UNIT_KERNELS_GRADIENT_H
#define ATELIER_TESTS_UNIT_KERNELS_GRADIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/random.h"
#include "kernels/kernels.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GRADIENT_INPUTS = 3, GRADIENT_SAVED = 2, GRADIENT_SHAPES = 12, GRADIENT_SIZES = 8 };

/* How an input is drawn. */
enum gradient_fill {
    FILL_UNIFORM, /* -1 .. 1 */
    FILL_WIDE,    /* -3 .. 3 */
    FILL_SPACED,  /* odd multiples of 0.05, each once, shuffled: no two within a step, none near zero */
};

struct gradient {
    const struct kernels *k;
    const int *s;                                          /* the shape, as the operation reads it */
    size_t x_count[GRADIENT_INPUTS], y_count;              /* 0: no such input */
    struct tensor x[GRADIENT_INPUTS], dx[GRADIENT_INPUTS]; /* F32 */
    struct tensor y, dy;
    struct tensor saved[GRADIENT_SAVED]; /* what forward keeps for backward; [y_count] each */
    struct tensor ids;                   /* I32 [y_count], 0 .. 3 and sometimes -1 */
    float scale;                         /* of losses, whose dy is this constant */
};

struct differentiable {
    const char *name;
    void (*sizes)(struct gradient *g); /* sets x_count, y_count */
    void (*forward)(struct gradient *g);
    void (*backward)(struct gradient *g);
    enum gradient_fill fill;
    bool is_loss;                                    /* dy is a constant */
    bool adds[GRADIENT_INPUTS];                      /* dx += rather than = */
    double tolerance;                                /* of the gradient's largest value */
    int shapes[GRADIENT_SHAPES + 1][GRADIENT_SIZES]; /* ends with a shape that starts with 0 */
};

static inline struct tensor gradient_tensor(const struct gradient *g, size_t count, enum dtype dtype)
{
    struct tensor t = g->k->alloc(count, dtype);
    assert_non_null(t.data);
    return t;
}

static inline void gradient_fill(float *x, size_t count, enum gradient_fill fill, uint64_t seed)
{
    float middle = floorf((float)count / 2);
    for (size_t i = 0; i < count; i++) {
        float u = 2 * random_uniform(seed, 1, i) - 1;
        x[i] = fill == FILL_SPACED ? 0.1f * ((float)i - middle) + 0.05f : fill == FILL_WIDE ? 3 * u : u;
    }
    for (size_t i = count; fill == FILL_SPACED && i > 1; i--) {
        size_t j = (size_t)(random_uniform(seed, 2, i) * (float)i);
        float kept = x[i - 1];
        x[i - 1] = x[j];
        x[j] = kept;
    }
}

static inline double gradient_value(const struct differentiable *d, struct gradient *g)
{
    double sum = 0;
    d->forward(g);
    for (size_t i = 0; i < g->y_count; i++)
        sum += (double)((float *)g->y.data)[i] * ((float *)g->dy.data)[i];
    return sum;
}

/* Compares dx[which], which held `base` before, with central differences. */
static inline void gradient_compare(const struct differentiable *d, struct gradient *g, int which, float base,
                                    const char *what)
{
    const double STEP = 1e-2;
    size_t n = g->x_count[which];
    float *x = g->x[which].data, *dx = g->dx[which].data;
    double largest = 0, worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < n; i++) {
        float kept = x[i];
        x[i] = (float)(kept + STEP);
        double above = x[i], up = gradient_value(d, g);
        x[i] = (float)(kept - STEP);
        double below = x[i], down = gradient_value(d, g);
        x[i] = kept;
        double numeric = (up - down) / (above - below), error = fabs(numeric - (dx[i] - base));
        largest = fmax(largest, fabs(numeric));
        if (!(error <= worst)) {
            worst = error;
            where = i;
        }
    }
    if (!(worst <= d->tolerance * largest))
        fail_msg("%s: gradient of input %d is off by %.3g at [%zu] (largest gradient %.3g)", what, which, worst, where,
                 largest);
}

static inline void gradient_check(const struct differentiable *d, const struct kernels *k, const int *shape)
{
    const float BASE = 0.25f;
    struct gradient g = {.k = k, .s = shape, .scale = 0.5f};
    char what[128];
    int length = snprintf(what, sizeof what, "%s, %s", d->name, k->name);
    for (int i = 0; i < GRADIENT_SIZES; i++)
        length += snprintf(what + length, sizeof what - length, " %d", shape[i]);
    d->sizes(&g);
    g.y = gradient_tensor(&g, g.y_count, F32);
    g.dy = gradient_tensor(&g, g.y_count, F32);
    g.ids = gradient_tensor(&g, g.y_count, I32);
    gradient_fill(g.dy.data, g.y_count, FILL_UNIFORM, 100);
    for (size_t i = 0; i < g.y_count; i++)
        ((int32_t *)g.ids.data)[i] = (int32_t)(5 * random_uniform(200, 0, i)) - 1;
    if (d->is_loss)
        k->fill(g.dy, g.scale, g.y_count);
    for (int i = 0; i < GRADIENT_SAVED; i++)
        g.saved[i] = gradient_tensor(&g, g.y_count, F32);
    for (int i = 0; i < GRADIENT_INPUTS; i++) {
        g.x[i] = gradient_tensor(&g, g.x_count[i], F32);
        g.dx[i] = gradient_tensor(&g, g.x_count[i], F32);
        gradient_fill(g.x[i].data, g.x_count[i], d->fill, i + 1);
        k->fill(g.dx[i], BASE, g.x_count[i]);
    }
    d->forward(&g);
    d->backward(&g);
    for (int i = 0; i < GRADIENT_INPUTS; i++)
        gradient_compare(d, &g, i, d->adds[i] ? BASE : 0, what);
    for (int i = 0; i < GRADIENT_INPUTS; i++) {
        k->free(g.x[i]);
        k->free(g.dx[i]);
    }
    for (int i = 0; i < GRADIENT_SAVED; i++)
        k->free(g.saved[i]);
    k->free(g.y);
    k->free(g.dy);
    k->free(g.ids);
}

static inline void gradient_test(void **state)
{
    const struct differentiable *d = *state;
    for (int i = 0; d->shapes[i][0]; i++)
        gradient_check(d, kernels_plain(), d->shapes[i]);
}

/* Runs the checks as a group of tests; the result is main's. */
static inline int gradient_all(const struct differentiable *d, int count)
{
    struct CMUnitTest tests[count];
    for (int i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){d[i].name, gradient_test, NULL, NULL, (void *)(uintptr_t)&d[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
