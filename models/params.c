/*
 * The table of a model's tensors and the slabs that they and the activations live in.
 */
#include "models/params.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_SCALE 0x1p13f /* MODELS.md, 2 */
#define ALIGN 16            /* units of 4 bytes: a cache line and the widest vector */

/* The place that `count` elements take up, in units of 4 bytes. */
static size_t aligned(size_t count, enum dtype dtype)
{
    size_t units = (count * dtype_size(dtype) + 3) / 4;
    return (units + ALIGN - 1) / ALIGN * ALIGN;
}

int params_add(struct params *p, bool decay, enum init init, float scale, int ndim, const int64_t *shape,
               const char *name_format, ...)
{
    p->list = xrealloc(p->list, (size_t)(p->count + 1) * sizeof *p->list);
    struct param *q = &p->list[p->count];
    *q = (struct param){.ndim = ndim, .count = 1, .decay = decay, .init = init, .scale = scale, .group = -1};
    assert(ndim <= (int)(sizeof q->shape / sizeof *q->shape));
    for (int i = 0; i < ndim; i++) {
        q->shape[i] = shape[i];
        q->count *= (size_t)shape[i];
    }
    va_list args;
    va_start(args, name_format);
    int len = vsnprintf(q->name, sizeof q->name, name_format, args);
    va_end(args);
    assert(len > 0 && (size_t)len < sizeof q->name);
    (void)len;
    return p->count++;
}

int params_add_group(struct params *p)
{
    p->scales = xrealloc(p->scales, (size_t)(p->groups + 1) * sizeof *p->scales);
    return p->groups++;
}

struct tensor params_slab(const struct params *p, enum dtype narrow)
{
    struct tensor slab = p->k->alloc(p->total, F32);
    if (slab.data)
        p->k->fill(slab, 0, p->total);
    slab.dtype = narrow;
    return slab;
}

int params_alloc(struct params *p, const struct kernels *k, bool with_grads)
{
    p->k = k;
    p->total = 0;
    for (int i = 0; i < p->count; i++) {
        struct param *q = &p->list[i];
        q->offset = p->total;
        p->total += aligned(q->count, q->compute ? k->compute : F32);
    }
    for (int g = 0; g < p->groups; g++)
        p->scales[g] = (struct grad_scale){.scale = k->compute == F16 ? FIRST_SCALE : 1};
    p->values = params_slab(p, F32);
    p->grads = with_grads ? params_slab(p, F32) : tensor_none();
    if (!p->values.data || (with_grads && !p->grads.data))
        return err_wrap("memory for parameters, %zu MiB", p->total >> 18);
    return 0;
}

void params_free(struct params *p)
{
    if (p->values.data)
        p->k->free(p->values);
    if (p->grads.data)
        p->k->free(p->grads);
    free(p->list);
    free(p->scales);
    *p = (struct params){0};
}

static void draw_normals(float *out, size_t count, float scale, uint64_t key, int index)
{
    for (size_t i = 0; i < count; i += 4) {
        struct random4 r = random_philox(key, (uint64_t)index, i / 4);
        float n[4];
        random_normal2(r.v[0], r.v[1], n);
        random_normal2(r.v[2], r.v[3], n + 2);
        for (size_t j = 0; j < 4 && i + j < count; j++)
            out[i + j] = scale * n[j];
    }
}

void params_init(struct params *p, uint64_t seed)
{
    uint64_t key = random_key(seed, RANDOM_INIT);
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        if (q->init != INIT_NORMAL) {
            float value = q->init == INIT_ONE ? 1 : q->init == INIT_CONSTANT ? q->scale : 0;
            p->k->fill(param_value(p, i), value, q->count);
            continue;
        }
        float *draws = xmalloc(q->count * sizeof *draws);
        draw_normals(draws, q->count, q->scale, key, i);
        p->k->upload(param_value(p, i), draws, q->count);
        free(draws);
    }
}

static void print_shape(char *out, size_t size, const int64_t *shape, int ndim)
{
    size_t len = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < ndim && len < size; i++)
        len += (size_t)snprintf(out + len, size - len, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (len < size)
        snprintf(out + len, size - len, "]");
}

const struct weight *params_tensor(const struct weights *w, const char *name, int ndim, const int64_t *shape)
{
    const struct weight *t = weights_find(w, name);
    if (!t) {
        err_set(ERR_DATA, "tensor %s is missing; is this a file of another model or version?", name);
        return NULL;
    }
    if (t->ndim == ndim && memcmp(t->shape, shape, (size_t)ndim * sizeof *shape) == 0)
        return t;
    char has[160], needs[160];
    print_shape(has, sizeof has, t->shape, t->ndim);
    print_shape(needs, sizeof needs, shape, ndim);
    err_set(ERR_DATA, "tensor %s has shape %s, but this model needs %s", name, has, needs);
    return NULL;
}

static const struct weight *find(const struct params *p, int i, const struct weights *w, const char *prefix)
{
    char name[sizeof p->list[i].name + 64];
    snprintf(name, sizeof name, "%s%s", prefix, p->list[i].name);
    return params_tensor(w, name, p->list[i].ndim, p->list[i].shape);
}

int params_check(const struct params *p, const struct weights *w, const char *prefix)
{
    for (int i = 0; i < p->count; i++) {
        if (!find(p, i, w, prefix))
            return -1;
    }
    return 0;
}

int params_load(struct params *p, const struct weights *w, const char *prefix)
{
    if (params_check(p, w, prefix) != 0)
        return -1;
    for (int i = 0; i < p->count; i++) {
        float *values = xmalloc(p->list[i].count * sizeof *values);
        weight_to_floats(find(p, i, w, prefix), values);
        p->k->upload(param_value(p, i), values, p->list[i].count);
        free(values);
    }
    return 0;
}

int params_save(const struct params *p, struct tensor slab, const char *path, const char *const *meta)
{
    size_t all = 0;
    for (int i = 0; i < p->count; i++)
        all += p->list[i].count;
    float *values = xmalloc(all * sizeof *values), *next = values;
    struct weight *views = xcalloc((size_t)p->count, sizeof *views);
    for (int i = 0; i < p->count; i++) {
        struct param *q = &p->list[i];
        p->k->download(next, param_in(p, slab, i), q->count);
        views[i] =
            (struct weight){.name = q->name, .type = WEIGHT_F32, .ndim = q->ndim, .count = q->count, .data = next};
        memcpy(views[i].shape, q->shape, sizeof q->shape);
        next += q->count;
    }
    int status = weights_save(path, views, (size_t)p->count, meta);
    free(views);
    free(values);
    return status;
}

/* Neighbours of one type go together; the gaps between them are zero. */
int params_sum_grads(const struct params *p, const struct comm *comm)
{
    for (int i = 0, end; i < p->count; i = end) {
        struct tensor first = param_grad(p, i);
        for (end = i + 1; end < p->count && param_grad(p, end).dtype == first.dtype;)
            end++;
        size_t units = (end < p->count ? p->list[end].offset : p->total) - p->list[i].offset;
        if (comm->sum(first, units * 4 / dtype_size(first.dtype)))
            return err_wrap("gradients");
    }
    return 0;
}

int params_share(const struct params *p, struct tensor slab, const struct comm *comm)
{
    return comm->broadcast((struct tensor){slab.data, F32}, p->total);
}

void params_average(const struct params *p, struct tensor slab, float keep, uint64_t step)
{
    for (int i = 0; i < p->count; i++)
        p->k->lerp(param_in(p, slab, i), param_value(p, i), keep, p->list[i].count,
                   random_key(step << 16 | (uint64_t)i, RANDOM_AVERAGE));
}

struct tensor arena_take(struct arena *a, size_t count, enum dtype dtype)
{
    size_t at = a->used;
    a->used += aligned(count, dtype);
    if (!a->base.data)
        return (struct tensor){NULL, dtype};
    assert(a->used <= a->size);
    struct tensor t = tensor_at(a->base, at);
    t.dtype = dtype;
    return t;
}

int arena_build(struct arena *a, const struct kernels *k, void (*layout)(void *self, struct arena *a), void *self)
{
    *a = (struct arena){.k = k};
    layout(self, a);
    a->size = a->used;
    a->base = k->alloc(a->size, F32);
    if (!a->base.data)
        return err_wrap("memory for activations, %zu MiB", a->size >> 18);
    a->used = 0;
    layout(self, a);
    return 0;
}

void arena_free(struct arena *a)
{
    if (a->base.data)
        a->k->free(a->base);
    *a = (struct arena){0};
}
