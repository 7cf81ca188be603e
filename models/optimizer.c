/*
 * AdamW with clipping by global norm, and the scales of gradients.
 */
#include "models/optimizer.h"
#include "common/err.h"
#include "common/mem.h"
#include "common/random.h"

#include <math.h>
#include <stdlib.h>

/* MODELS.md, 2. */
#define SCALE_LEAST 0x1p7f
#define SCALE_MOST 0x1p24f
#define SCALE_COOLDOWN 125 /* updates */

int optimizer_new(struct optimizer *o, const struct params *p)
{
    *o = (struct optimizer){.params = p};
    o->host_squares = xcalloc((size_t)p->count, sizeof *o->host_squares);
    o->overflowed = xcalloc((size_t)p->groups, sizeof *o->overflowed);
    o->m = params_slab(p, M16);
    o->v = params_slab(p, V16);
    o->squares = p->k->alloc((size_t)p->count, F32);
    if (o->m.data && o->v.data && o->squares.data)
        return 0;
    optimizer_free(o);
    return err_wrap("memory for the optimizer's moments, %zu MiB", p->total >> 17);
}

void optimizer_free(struct optimizer *o)
{
    struct tensor owned[] = {o->m, o->v, o->squares};
    for (int i = 0; i < 3; i++) {
        if (owned[i].data)
            o->params->k->free(owned[i]);
    }
    free(o->host_squares);
    free(o->overflowed);
    *o = (struct optimizer){0};
}

/* Whether the parameter's gradients are left out, and if not, what they must be multiplied by to be true. */
static bool left_out(const struct optimizer *o, int i)
{
    int group = o->params->list[i].group;
    return group >= 0 && o->overflowed[group];
}

static float unscale(const struct params *p, int i)
{
    int group = p->list[i].group;
    return group < 0 ? 1 : 1 / p->scales[group].scale;
}

static void follow_scales(const struct params *p, const bool *overflowed, float replicas)
{
    for (int g = 0; g < p->groups; g++) {
        struct grad_scale *s = &p->scales[g];
        s->cooldown -= s->cooldown > 0;
        if (!overflowed[g]) {
            s->scale = fminf(s->scale * powf(2, 1 / 1000.0f), SCALE_MOST * replicas);
        } else if (s->cooldown == 0) {
            s->scale = fmaxf(s->scale / sqrtf(2), SCALE_LEAST * replicas);
            s->cooldown = SCALE_COOLDOWN;
        }
    }
}

/* The global norm of all true gradients that are not left out. */
static float global_norm(struct optimizer *o)
{
    const struct params *p = o->params;
    for (int i = 0; i < p->count; i++)
        p->k->dot(tensor_at(o->squares, (size_t)i), param_grad(p, i), param_grad(p, i), p->list[i].count);
    p->k->download(o->host_squares, o->squares, (size_t)p->count);
    for (int g = 0; g < p->groups; g++)
        o->overflowed[g] = false;
    for (int i = 0; i < p->count; i++) {
        if (p->k->compute == F16 && p->list[i].group >= 0 && !isfinite(o->host_squares[i]))
            o->overflowed[p->list[i].group] = true;
    }
    double sum = 0;
    for (int i = 0; i < p->count; i++) {
        double to_true = unscale(p, i);
        sum += left_out(o, i) ? 0 : to_true * to_true * o->host_squares[i];
    }
    return (float)sqrt(sum);
}

float optimizer_step(struct optimizer *o, const struct optimizer_settings *s)
{
    const struct params *p = o->params;
    float norm = global_norm(o);
    if (!isfinite(norm))
        return norm;
    o->step++;
    float clip = norm > s->clip_norm ? s->clip_norm / norm : 1;
    struct adamw h = {
        .lr = s->lr, .beta1 = s->beta1, .beta2 = s->beta2, .eps = s->eps, .v_max = s->v_max, .step = o->step};
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        if (left_out(o, i))
            continue;
        h.decay = q->decay ? s->decay : 0;
        h.grad_scale = clip * unscale(p, i);
        h.key = random_key((uint64_t)o->step << 16 | (uint64_t)i, RANDOM_UPDATE);
        p->k->adamw(param_value(p, i), param_in(p, o->m, i), param_in(p, o->v, i), param_grad(p, i), q->count, &h);
    }
    if (p->k->compute == F16)
        follow_scales(p, o->overflowed, s->replicas > 0 ? s->replicas : 1);
    return norm;
}
