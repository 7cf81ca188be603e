/*
 * What the models' tests share: golden vectors, comparison, and gradients against finite differences.
 */
#ifndef ATELIER_TESTS_MODEL_CHECKS_H
#define ATELIER_TESTS_MODEL_CHECKS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"
#include "models/params.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VECTORS "tests/golden/vectors/"
#define LOSS_TOLERANCE 1e-4
#define GRADIENT_TOLERANCE 1e-3
#define HALF_TOLERANCE 2e-3 /* results of weights that were rounded to 11 bits */

static inline struct weights *vectors_open(const char *name)
{
    struct weights *w;
    char *path = xasprintf(VECTORS "%s", name);
    if (weights_load(&w, path) != 0)
        fail_msg("%s", err_text());
    free(path);
    return w;
}

/* A tensor's elements as floats; the caller frees them. */
static inline float *vector_floats(const struct weights *w, const char *name, size_t *count)
{
    const struct weight *t = weights_find(w, name);
    if (!t) {
        fail_msg("no %s", name);
        abort(); /* not reached: fail_msg leaves the test, but does not say so to the compiler */
    }
    float *f = xmalloc(t->count * sizeof *f);
    weight_to_floats(t, f);
    if (count)
        *count = t->count;
    return f;
}

static inline int32_t *vector_ints(const struct weights *w, const char *name)
{
    size_t n;
    float *f = vector_floats(w, name, &n);
    int32_t *ints = xmalloc(n * sizeof *ints);
    for (size_t i = 0; i < n; i++)
        ints[i] = (int32_t)f[i];
    free(f);
    return ints;
}

/* [n, c, pixels] to [n, pixels, c], in place. */
static inline void channels_last(float *x, size_t n, size_t c, size_t pixels)
{
    float *t = xmalloc(n * c * pixels * sizeof *t);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c; j++)
            for (size_t p = 0; p < pixels; p++)
                t[(i * pixels + p) * c + j] = x[(i * c + j) * pixels + p];
    memcpy(x, t, n * c * pixels * sizeof *t);
    free(t);
}

/* Every element within `tolerance` of the largest wanted one. */
static inline void check_close(const char *what, const float *got, const float *want, size_t n, double tolerance)
{
    double largest = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
        error = isfinite(got[i]) ? fmax(error, fabs((double)got[i] - want[i])) : INFINITY;
        if (!isfinite(error))
            break;
    }
    if (!(error <= tolerance * largest))
        fail_msg("%s: off by %g, the largest value is %g", what, error, largest);
}

static inline float *downloaded(const struct kernels *k, struct tensor t, size_t n)
{
    float *f = xmalloc(n * sizeof *f);
    k->download(f, t, n);
    return f;
}

/* All gradients against the file's "grad." tensors. */
static inline void check_gradients(const struct params *p, const struct weights *w)
{
    for (int i = 0; i < p->count; i++) {
        char name[128];
        size_t n;
        snprintf(name, sizeof name, "grad.%s", p->list[i].name);
        float *want = vector_floats(w, name, &n), *got = downloaded(p->k, param_grad(p, i), p->list[i].count);
        assert_int_equal(n, p->list[i].count);
        check_close(name, got, want, n, GRADIENT_TOLERANCE);
        free(got);
        free(want);
    }
}

/* The loss's slope along a direction of one parameter. */
static inline double slope_along(struct params *p, int i, const float *direction, double (*loss)(void *arg), void *arg,
                                 float step)
{
    size_t n = p->list[i].count;
    float *value = downloaded(p->k, param_value(p, i), n), *moved = xmalloc(n * sizeof *moved);
    double slope = 0;
    for (int side = -1; side <= 1; side += 2) {
        for (size_t j = 0; j < n; j++)
            moved[j] = value[j] + (float)side * step * direction[j];
        p->k->upload(param_value(p, i), moved, n);
        slope += side * loss(arg) / (2.0 * step);
    }
    p->k->upload(param_value(p, i), value, n);
    free(moved);
    free(value);
    return slope;
}

/* For each parameter, the loss's slope along a random direction against the gradient's component along it, p->grads
 * being the gradient now. Shorter steps are tried as well, since a long one may meet bends (of ReLUs and the like);
 * then again losses are floats, whose last bits over the step are no slope. `loss` may add to the gradients. */
static inline void check_slopes(struct params *p, double (*loss)(void *arg), void *arg, float step, double tolerance)
{
    float *grads = downloaded(p->k, p->grads, p->total);
    double rounding = 2e-7 * fabs(loss(arg));
    for (int i = 0; i < p->count; i++) {
        size_t n = p->list[i].count;
        float *direction = xmalloc(n * sizeof *direction);
        double along = 0, slope = 0;
        for (size_t j = 0; j < n; j++) {
            direction[j] = (random_uniform(99, (uint64_t)i, j) < 0.5f ? -1 : 1) / sqrtf((float)n);
            along += (double)direction[j] * grads[p->list[i].offset + j];
        }
        bool agrees = false;
        for (float s = step; !agrees && s > step / 100; s /= 4) {
            slope = slope_along(p, i, direction, loss, arg, s);
            agrees = fabs(slope - along) <= tolerance * fabs(along) + rounding / s;
        }
        if (!agrees)
            fail_msg("%s: slope %g, gradient %g", p->list[i].name, slope, along);
        free(direction);
    }
    free(grads);
}

/* A test that runs once with each table of kernels. */
#define EACH_TABLE(test)                                                                                               \
    static void test##_plain(void **state)                                                                             \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        test(kernels_plain());                                                                                         \
    }                                                                                                                  \
    static void test##_cpu(void **state)                                                                               \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        test(kernels_cpu());                                                                                           \
    }
#define UNIT_EACH_TABLE(test) cmocka_unit_test(test##_plain), cmocka_unit_test(test##_cpu)

#endif
