/*
 * A model's tensors as one table: {name, shape, decay, initialisation}. It drives allocation (one slab for values, one
 * for gradients), initialisation, loading, saving, the optimizer and gradient checks. Also the slab allocator that
 * activations come from.
 */
#ifndef ATELIER_MODELS_PARAMS_H
#define ATELIER_MODELS_PARAMS_H

#include "common/weights.h"
#include "kernels/comm.h"

enum init { INIT_ZERO, INIT_ONE, INIT_CONSTANT /* `scale` */, INIT_NORMAL /* times `scale` */ };

struct param {
    char name[96];
    int ndim;
    int64_t shape[4];
    size_t count, offset; /* elements; place in the slabs, in units of 4 bytes */
    bool decay;           /* weight decay applies */
    bool compute;         /* held in the table's compute type, not in F32 */
    int group;            /* of gradients that share a scale; -1: unscaled */
    enum init init;
    float scale;
};

/* Gradients that pass through F16 states are kept in its range by a scale for each group of parameters (a residual
 * branch); the optimizer follows it. 1 where states are of another type. */
struct grad_scale {
    float scale;  /* the group's gradients are that many times too large */
    int cooldown; /* updates until it may be divided again */
};

struct params {
    const struct kernels *k;
    struct param *list;
    int count;
    size_t total;                /* of a slab, in units of 4 bytes; a parameter starts at a multiple of 16 */
    struct tensor values, grads; /* slabs; grads.data is NULL for inference */
    struct grad_scale *scales;   /* [groups] */
    int groups;
};

/* Building the table: returns the new parameter's index. `shape` ends at ndim. */
int params_add(struct params *p, bool decay, enum init init, float scale, int ndim, const int64_t *shape,
               const char *name_format, ...) __attribute__((format(printf, 7, 8)));
/* Begins a group: returns its number for param.group. */
int params_add_group(struct params *p);
/* Places the parameters (offset, total), then allocates the slabs, zeroed. 0 or -1. */
int params_alloc(struct params *p, const struct kernels *k, bool with_grads);
void params_free(struct params *p);

/* A zeroed slab laid out like the values. Its 16-bit parts are of `narrow`: F32 for the table's compute type, M16 or
 * V16 for moments. data is NULL with err_set when there is no memory. */
struct tensor params_slab(const struct params *p, enum dtype narrow);
/* Parameter i in a slab. */
static inline struct tensor param_in(const struct params *p, struct tensor slab, int i)
{
    enum dtype narrow = slab.dtype == F32 ? p->k->compute : slab.dtype;
    bool wide = !p->list[i].compute || p->k->compute == F32;
    return (struct tensor){(char *)slab.data + p->list[i].offset * 4, wide ? F32 : narrow};
}
static inline struct tensor param_value(const struct params *p, int i)
{
    return param_in(p, p->values, i);
}
static inline struct tensor param_grad(const struct params *p, int i)
{
    return param_in(p, p->grads, i);
}

/* Draws initial values: parameter i, element e is a function of (seed, i, e) alone. */
void params_init(struct params *p, uint64_t seed);

/* Whether every parameter is in `w`, called `prefix` + name, with its shape: asked before params_alloc, so that a
 * file's claims cost no memory. 0, or -1 with an error that names the first that is not. */
int params_check(const struct params *p, const struct weights *w, const char *prefix);
/* Copies every parameter from `w`, where it is called `prefix` + name; a missing one, or another shape, is an error
 * that names it. 0 or -1. */
int params_load(struct params *p, const struct weights *w, const char *prefix);
/* For files with names of their own: the tensor called `name`, or NULL with an error when it is missing or has another
 * shape. */
const struct weight *params_tensor(const struct weights *w, const char *name, int ndim, const int64_t *shape);
/* Gradients = their sums over all processes. 0 or -1. */
int params_sum_grads(const struct params *p, const struct comm *comm);
/* A slab = rank 0's, bit by bit. 0 or -1. */
int params_share(const struct params *p, struct tensor slab, const struct comm *comm);
/* slab += (1 - keep) (values - slab): the average of the weights after `step` updates. */
void params_average(const struct params *p, struct tensor slab, float keep, uint64_t step);
/* Writes all parameters of a slab (values, averages, moments), as F32, with metadata (key, value, ..., NULL). 0 or -1.
 */
int params_save(const struct params *p, struct tensor slab, const char *path, const char *const *meta);

/* A slab with a bump pointer. With base NULL it only counts, so the same layout function runs twice: to size the slab,
 * then to place in it. */
struct arena {
    const struct kernels *k;
    struct tensor base;
    size_t used, size; /* units of 4 bytes */
};
struct tensor arena_take(struct arena *a, size_t count, enum dtype dtype);
/* Runs layout(self, arena) to count, allocates, and runs it again to place. 0 or -1. */
int arena_build(struct arena *a, const struct kernels *k, void (*layout)(void *self, struct arena *a), void *self);
void arena_free(struct arena *a);

#endif
