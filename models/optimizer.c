/*
 * AdamW with clipping by global norm.
 */
#include "models/optimizer.h"
#include "common/err.h"

#include <math.h>

int optimizer_new(struct optimizer *o, const struct params *p)
{
    const struct kernels *k = p->k;
    *o = (struct optimizer){.params = p};
    o->m = k->alloc(p->total, F32);
    o->v = k->alloc(p->total, F32);
    o->norm = k->alloc(1, F32);
    if (!o->m.data || !o->v.data || !o->norm.data) {
        optimizer_free(o);
        return err_wrap("memory for the optimizer's moments of %zu parameters", p->total);
    }
    k->fill(o->m, 0, p->total);
    k->fill(o->v, 0, p->total);
    return 0;
}

void optimizer_free(struct optimizer *o)
{
    struct tensor owned[] = {o->m, o->v, o->norm};
    for (int i = 0; i < 3; i++) {
        if (owned[i].data)
            o->params->k->free(owned[i]);
    }
    *o = (struct optimizer){0};
}

float optimizer_step(struct optimizer *o, const struct optimizer_settings *s)
{
    const struct params *p = o->params;
    const struct kernels *k = p->k;
    float squared;
    k->dot(o->norm, p->grads, p->grads, p->total); /* the gaps between parameters are zero */
    k->download(&squared, o->norm, 1);
    float norm = sqrtf(squared);
    if (!isfinite(norm))
        return norm;
    o->step++;
    struct adamw h = {.lr = s->lr,
                      .beta1 = s->beta1,
                      .beta2 = s->beta2,
                      .eps = s->eps,
                      .v_max = s->v_max,
                      .grad_scale = norm > s->clip_norm ? s->clip_norm / norm : 1,
                      .step = o->step};
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        h.decay = q->decay ? s->decay : 0;
        k->adamw(tensor_at(p->values, q->offset), tensor_at(o->m, q->offset), tensor_at(o->v, q->offset),
                 tensor_at(p->grads, q->offset), q->count, &h);
    }
    return norm;
}
