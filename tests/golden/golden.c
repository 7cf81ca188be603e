/*
 * What the checks of golden vectors share: reading, comparing, printing.
 */
#include "tests/golden/golden.h"
#include "common/err.h"
#include "common/mem.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count(struct golden *g, const char *name, bool ok, const char *measured)
{
    g->compared++;
    g->failed += !ok;
    printf("  %-4s  %-58s %s\n", ok ? "ok" : "FAIL", name, measured);
}

void golden_floats(struct golden *g, const char *name, const float *got, const float *want, size_t n, float tolerance)
{
    double error = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)got[i] - (double)want[i]);
        if (!(e <= error)) /* keeps a NaN */
            error = e;
        largest = fmax(largest, fabs((double)want[i]));
    }
    if (largest > 0)
        error /= largest;
    char measured[64];
    snprintf(measured, sizeof measured, "error %8.2e  tolerance %.0e", error, (double)tolerance);
    count(g, name, error <= (double)tolerance, measured);
}

void golden_exact(struct golden *g, const char *name, size_t differ, size_t n)
{
    char measured[64];
    snprintf(measured, sizeof measured, "%zu of %zu differ  tolerance 0", differ, n);
    count(g, name, differ == 0, measured);
}

void golden_ints(struct golden *g, const char *name, const int32_t *got, const int32_t *want, size_t n)
{
    size_t differ = 0;
    for (size_t i = 0; i < n; i++)
        differ += got[i] != want[i];
    golden_exact(g, name, differ, n);
}

const struct weight *golden_find(const struct golden *g, const char *name, int ndim, const int64_t *shape)
{
    const struct weight *t = weights_find(g->w, name);
    if (!t) {
        err_set(ERR_DATA, "tensor %s is missing", name);
        return NULL;
    }
    if (t->ndim != ndim) {
        err_set(ERR_DATA, "tensor %s has %d dimensions, not %d", name, t->ndim, ndim);
        return NULL;
    }
    for (int i = 0; i < ndim; i++) {
        if (t->shape[i] < 1 || (shape[i] != 0 && t->shape[i] != shape[i])) {
            err_set(ERR_DATA, "tensor %s has size %" PRId64 " in dimension %d, not %" PRId64, name, t->shape[i], i,
                    shape[i]);
            return NULL;
        }
    }
    return t;
}

int golden_expect(struct golden *g, const char *name, const float *got, size_t n, float tolerance)
{
    const struct weight *t = weights_find(g->w, name);
    if (!t)
        return err_set(ERR_DATA, "tensor %s is missing", name);
    if (t->count != n)
        return err_set(ERR_DATA, "tensor %s has %zu elements, not %zu", name, t->count, n);
    float *want = golden_read(t);
    golden_floats(g, name, got, want, n, tolerance);
    free(want);
    return 0;
}

int golden_gradients(struct golden *g, const struct params *p)
{
    int status = 0;
    for (int i = 0; i < p->count && status == 0; i++) {
        const struct param *q = &p->list[i];
        char name[sizeof q->name + 8];
        snprintf(name, sizeof name, "grad.%s", q->name);
        float *got = xmalloc(q->count * sizeof *got);
        p->k->download(got, param_grad(p, i), q->count);
        status = golden_expect(g, name, got, q->count, GOLDEN_GRADIENT);
        free(got);
    }
    return status;
}

float *golden_read(const struct weight *t)
{
    float *values = xmalloc((t->count + 1) * sizeof *values);
    weight_to_floats(t, values);
    return values;
}

int32_t *golden_read_ints(const struct weight *t)
{
    if (t->type != WEIGHT_I32) {
        err_set(ERR_DATA, "tensor %s does not hold 32-bit integers", t->name);
        return NULL;
    }
    int32_t *values = xmalloc((t->count + 1) * sizeof *values);
    memcpy(values, t->data, t->count * sizeof *values);
    return values;
}

void golden_transpose(float *out, const float *in, size_t n, size_t rows, size_t cols)
{
    for (size_t i = 0; i < n * rows * cols; i++) {
        size_t matrix = i / (rows * cols), row = i / cols % rows, col = i % cols;
        out[(matrix * cols + col) * rows + row] = in[i];
    }
}

int golden_number(const struct golden *g, const char *key, double low, double high, double *value)
{
    const char *text = weights_meta(g->w, key);
    if (!text)
        return err_set(ERR_DATA, "the metadata has no \"%s\"", key);
    char *end;
    *value = strtod(text, &end);
    if (end == text || *end || !(*value >= low && *value <= high))
        return err_set(ERR_DATA, "\"%s\" is \"%.40s\" in the metadata, but must be a number of %g to %g", key, text,
                       low, high);
    return 0;
}

char *golden_beside(const struct golden *g, const char *name)
{
    const char *slash = strrchr(g->path, '/');
    return slash ? xasprintf("%.*s/%s", (int)(slash - g->path), g->path, name) : xstrdup(name);
}
