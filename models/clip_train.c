/*
 * CLIP's training step: the symmetric cross-entropy over a batch of pairs.
 */
#include "common/mem.h"
#include "models/clip_private.h"

#include <assert.h>
#include <stdlib.h>

/* Scores of pictures with captions and of captions with pictures, losses and their gradients. */
static void score(struct clip *c, int n, float scale)
{
    const struct kernels *k = c->k;
    struct tensor unit[2] = {c->image.unit, c->text.unit};
    for (int i = 0; i < 2; i++) {
        k->matmul(c->logits[i], unit[i], unit[1 - i], n, n, c->config.embed, false, true, scale, 0);
        k->softmax_xent(c->losses[i], c->dlogits[i], c->logits[i], c->targets, n, n, 0.5f / (float)n);
    }
}

static void score_backward(struct clip *c, int n, float scale)
{
    const struct kernels *k = c->k;
    struct tensor unit[2] = {c->image.unit, c->text.unit}, dunit[2] = {c->image.dunit, c->text.dunit};
    int embed = c->config.embed;
    for (int i = 0; i < 2; i++) {
        k->matmul(dunit[i], c->dlogits[i], unit[1 - i], n, embed, n, false, false, scale, 0);
        k->matmul(dunit[i], c->dlogits[1 - i], unit[1 - i], n, embed, n, true, false, scale, 1);
        /* A score is proportional to exp(logit_scale), so it is its own derivative by logit_scale. */
        k->dot(c->scalar, c->dlogits[i], c->logits[i], (size_t)n * (size_t)n);
        k->axpy(param_grad(&c->params, c->logit_scale), 1, c->scalar, 1);
    }
}

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

static int count_correct(struct clip *c, int n)
{
    int correct = 0;
    int32_t *best = xmalloc((size_t)n * sizeof *best);
    c->k->argmax(c->best, c->logits[0], n, n);
    c->k->download(best, c->best, (size_t)n);
    for (int i = 0; i < n; i++)
        correct += best[i] == i;
    free(best);
    return correct;
}

float clip_train(struct clip *c, const float *pictures, const int32_t *text, int n, int *correct)
{
    assert(c->train && n <= c->batch);
    float scale = clip_logit_scale(c);
    clip_image_forward(c, pictures, n);
    clip_text_forward(c, text, n);
    score(c, n, scale);
    score_backward(c, n, scale);
    image_backward(c, n);
    text_backward(c, n);
    if (correct)
        *correct = count_correct(c, n);
    double sum = 0;
    float *losses = xmalloc((size_t)n * sizeof *losses);
    for (int i = 0; i < 2; i++) {
        c->k->download(losses, c->losses[i], (size_t)n);
        for (int j = 0; j < n; j++)
            sum += losses[j];
    }
    free(losses);
    return (float)(sum / (2.0 * n));
}
