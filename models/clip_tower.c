/*
 * What CLIP's two towers have in common, forward and backward.
 */
#include "models/clip_private.h"

#include <math.h>
#include <stdio.h>

static const char *const block_names[BLOCK_PARAMS] = {
    "ln_1.weight",          "ln_1.bias",          "attn.in_proj_weight", "attn.in_proj_bias",
    "attn.out_proj.weight", "attn.out_proj.bias", "ln_2.weight",         "ln_2.bias",
    "mlp.c_fc.weight",      "mlp.c_fc.bias",      "mlp.c_proj.weight",   "mlp.c_proj.bias",
};

void clip_tower_add(struct clip_tower *t, struct params *p, bool visual)
{
    const int64_t d = t->width, e = t->embed;
    float attention = powf((float)t->width, -0.5f), residual = attention * powf(2 * (float)t->layers, -0.5f);
    struct block_init init = {attention, residual, powf(2 * (float)t->width, -0.5f), residual};
    char prefix[64];
    t->blocks = p->count;
    for (int i = 0; i < t->layers; i++) {
        snprintf(prefix, sizeof prefix, "%stransformer.resblocks.%d.", visual ? "visual." : "", i);
        block_add(p, prefix, block_names, t->width, 4 * t->width, &init);
    }
    const char *norm = visual ? "visual.ln_post" : "ln_final";
    t->norm = params_add(p, false, INIT_ONE, 0, 1, (const int64_t[]){d}, "%s.weight", norm);
    params_add(p, false, INIT_ZERO, 0, 1, (const int64_t[]){d}, "%s.bias", norm);
    t->projection = params_add(p, true, INIT_NORMAL, attention, 2, (const int64_t[]){d, e}, "%s",
                               visual ? "visual.proj" : "text_projection");
}

static struct block_shape shape_of(const struct clip_tower *t, int n)
{
    return (struct block_shape){
        .rows = n * t->states,
        .width = t->width,
        .hidden = 4 * t->width,
        .act = ACT_QUICK_GELU,
        .attention = {t->mask, n, t->states, t->heads, t->width / t->heads, 0, 0, 0},
    };
}

void clip_tower_layout(struct clip_tower *t, struct arena *a, int batch, bool train)
{
    size_t n = (size_t)batch, d = (size_t)t->width, e = (size_t)t->embed, states = n * (size_t)t->states * d;
    struct block_shape s = shape_of(t, batch);
    t->state[0] = arena_take(a, states, a->k->compute);
    for (int i = 0; i < t->layers; i++) {
        t->state[i + 1] = train ? arena_take(a, states, a->k->compute) : t->state[0];
        if (train || i == 0)
            block_layout_acts(&t->acts[i], &s, train, a);
        else
            t->acts[i] = t->acts[0];
    }
    t->pick = arena_take(a, n, I32);
    t->picked = arena_take(a, n * d, F32);
    t->normed = arena_take(a, n * d, F32);
    t->mean = arena_take(a, n, F32);
    t->rstd = arena_take(a, n, F32);
    t->features = arena_take(a, n * e, F32);
    t->length = arena_take(a, n, F32);
    t->unit = arena_take(a, n * e, F32);
    if (!train)
        return;
    t->dstate = arena_take(a, states, F32);
    t->dpicked = arena_take(a, n * d, F32);
    t->dnormed = arena_take(a, n * d, F32);
    t->dfeatures = arena_take(a, n * e, F32);
    t->dunit = arena_take(a, n * e, F32);
    block_layout_scratch(&t->scratch, &s, a);
}

void clip_tower_forward(struct clip_tower *t, const struct params *p, int n)
{
    const struct kernels *k = p->k;
    struct block_shape s = shape_of(t, n);
    for (int i = 0; i < t->layers; i++) {
        struct block_tensors w = block_tensors(p, p->values, t->blocks + i * BLOCK_PARAMS);
        block_forward(k, &s, &w, &t->acts[i], t->state[i + 1], t->state[i]);
    }
    k->embed(t->picked, t->state[t->layers], t->pick, n, t->width, false);
    k->layernorm(t->normed, t->mean, t->rstd, t->picked, param_value(p, t->norm), param_value(p, t->norm + 1), n,
                 t->width);
    k->matmul(t->features, t->normed, param_value(p, t->projection), n, t->embed, t->width, false, false, 1, 0);
    k->l2norm(t->unit, t->length, t->features, n, t->embed);
}

void clip_tower_backward(struct clip_tower *t, const struct params *p, int n)
{
    const struct kernels *k = p->k;
    size_t d = (size_t)t->width;
    struct block_shape s = shape_of(t, n);
    k->l2norm_backward(t->dfeatures, t->dunit, t->unit, t->length, n, t->embed);
    k->matmul(param_grad(p, t->projection), t->normed, t->dfeatures, t->width, t->embed, n, true, false, 1, 1);
    k->matmul(t->dnormed, t->dfeatures, param_value(p, t->projection), n, t->width, t->embed, false, true, 1, 0);
    k->fill(t->dpicked, 0, (size_t)n * d);
    k->layernorm_backward(t->dpicked, param_grad(p, t->norm), param_grad(p, t->norm + 1), t->dnormed, t->picked,
                          t->mean, t->rstd, param_value(p, t->norm), n, t->width, 1);
    k->fill(t->dstate, 0, (size_t)n * (size_t)t->states * d);
    k->embed_backward(t->dstate, t->dpicked, t->pick, n, t->width);
    for (int i = t->layers - 1; i >= 0; i--) {
        struct block_tensors w = block_tensors(p, p->values, t->blocks + i * BLOCK_PARAMS);
        struct block_tensors g = block_tensors(p, p->grads, t->blocks + i * BLOCK_PARAMS);
        struct block_scales scales = block_scales(p, t->blocks + i * BLOCK_PARAMS);
        block_backward(k, &s, &w, &g, &t->acts[i], &t->scratch, &scales, t->dstate, t->state[i]);
    }
}
