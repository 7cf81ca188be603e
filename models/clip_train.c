/*
 * CLIP's training step: both towers forward, the loss (clip_contrast.c), both towers backward.
 */
#include "models/clip_private.h"

#include <assert.h>

static void image_backward(struct clip *c, int n)
{
    const struct kernels *k = c->k;
    const struct params *p = &c->params;
    int width = c->image.width, states = c->image.states, patches = n * (states - 1), patch = c->config.patch;
    size_t values = (size_t)n * (size_t)states * (size_t)width;
    clip_tower_backward(&c->image, p, n);
    k->fill(c->dsum, 0, values);
    k->layernorm_backward(c->dsum, param_grad(p, c->ln_pre), param_grad(p, c->ln_pre + 1), c->image.dstate, c->sum,
                          c->mean, c->rstd, param_value(p, c->ln_pre), n * states, width, 1);
    k->add_rows_backward(param_grad(p, c->image_positions), c->dsum, n, (size_t)states * (size_t)width);
    k->embed_backward(param_grad(p, c->class_embedding), c->dsum, c->from_class, n * states, width);
    k->fill(c->dpatch_states, 0, (size_t)patches * (size_t)width);
    k->embed_backward(c->dpatch_states, c->dsum, c->from_patch, n * states, width);
    k->linear_backward(tensor_none(), param_grad(p, c->conv1), tensor_none(), c->dpatch_states, c->patches,
                       param_value(p, c->conv1), patches, 3 * patch * patch, width);
}

static void text_backward(struct clip *c, int n)
{
    const struct kernels *k = c->k;
    const struct params *p = &c->params;
    int width = c->text.width, context = c->config.context;
    clip_tower_backward(&c->text, p, n);
    k->add_rows_backward(param_grad(p, c->text_positions), c->text.dstate, n, (size_t)context * (size_t)width);
    k->embed_backward(param_grad(p, c->tokens), c->text.dstate, c->ids, n * context, width);
}

int clip_train(struct clip *c, const float *pictures, const int32_t *text, int n, float *loss, int *correct)
{
    assert(c->train && n <= c->batch);
    c->k->upload(c->pictures, pictures, (size_t)n * clip_picture(c));
    clip_image_forward(c, n);
    clip_text_forward(c, text, n);
    if (clip_contrast(c, n, loss, correct))
        return -1;
    image_backward(c, n);
    text_backward(c, n);
    return 0;
}
