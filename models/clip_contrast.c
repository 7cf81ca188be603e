/*
 * CLIP's loss: each picture is told from the others by its caption, and each caption by its picture.
 *
 * A process scores its own pictures and captions with those of the whole batch. A unit's gradient has two terms: of its
 * own row of scores, which its process has, and of the rows of the other tower's units, which are spread over all
 * processes and are summed.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/clip_private.h"

#include <stdlib.h>

static void layout(void *self, struct arena *a)
{
    struct clip *c = self;
    struct clip_contrast *t = &c->contrast;
    size_t n = (size_t)c->batch, pairs = (size_t)t->pairs, embed = (size_t)c->config.embed;
    for (int i = 0; i < 2; i++) {
        t->all[i] = arena_take(a, pairs * embed, F32);
        t->dall[i] = arena_take(a, pairs * embed, F32);
        t->logits[i] = arena_take(a, n * pairs, F32);
        t->dlogits[i] = arena_take(a, n * pairs, F32);
        t->losses[i] = arena_take(a, n, F32);
    }
    t->targets = arena_take(a, n, I32);
    t->best = arena_take(a, n, I32);
    t->scalar = arena_take(a, 1, F32);
}

int clip_join(struct clip *c, const struct comm *comm, int pairs)
{
    struct clip_contrast *t = &c->contrast;
    arena_free(&t->arena);
    t->comm = comm;
    t->pairs = pairs;
    t->first = comm_first(comm, (size_t)pairs, comm->rank);
    if (arena_build(&t->arena, c->k, layout, c))
        return err_wrap("the scores of %d pictures with %d captions", c->batch, pairs);
    int32_t *own = xmalloc((size_t)c->batch * sizeof *own);
    for (int i = 0; i < c->batch; i++)
        own[i] = (int32_t)t->first + i;
    c->k->upload(t->targets, own, (size_t)c->batch);
    free(own);
    return 0;
}

/* Units of all processes. */
static int gather(struct clip *c, int n, int pairs)
{
    struct clip_contrast *t = &c->contrast;
    const struct tensor unit[2] = {c->image.unit, c->text.unit};
    size_t embed = (size_t)c->config.embed;
    for (int i = 0; i < 2; i++) {
        c->k->copy(tensor_at(t->all[i], t->first * embed), unit[i], (size_t)n * embed);
        if (t->comm->gather(t->all[i], (size_t)pairs, embed))
            return -1;
    }
    return 0;
}

/* To the towers' dunit, and the scale's gradient. */
static int backward(struct clip *c, int n, int pairs, float scale)
{
    const struct kernels *k = c->k;
    struct clip_contrast *t = &c->contrast;
    const struct tensor unit[2] = {c->image.unit, c->text.unit}, dunit[2] = {c->image.dunit, c->text.dunit};
    int embed = c->config.embed;
    for (int i = 0; i < 2; i++) {
        k->matmul(t->dall[i], t->dlogits[1 - i], unit[1 - i], pairs, embed, n, true, false, scale, 0);
        if (t->comm->sum(t->dall[i], (size_t)pairs * (size_t)embed))
            return -1;
        k->matmul(dunit[i], t->dlogits[i], t->all[1 - i], n, embed, pairs, false, false, scale, 0);
        k->axpy(dunit[i], 1, tensor_at(t->dall[i], t->first * (size_t)embed), (size_t)n * (size_t)embed);
        /* A score is proportional to exp(logit_scale), so it is its own derivative by logit_scale. */
        k->dot(t->scalar, t->dlogits[i], t->logits[i], (size_t)n * (size_t)pairs);
        k->axpy(param_grad(&c->params, c->logit_scale), 1, t->scalar, 1);
    }
    return 0;
}

/* The own terms of the batch's mean. */
static float mean_loss(struct clip *c, int n, int pairs)
{
    double sum = 0;
    float *losses = xmalloc((size_t)n * sizeof *losses);
    for (int i = 0; i < 2; i++) {
        c->k->download(losses, c->contrast.losses[i], (size_t)n);
        for (int j = 0; j < n; j++)
            sum += losses[j];
    }
    free(losses);
    return (float)(sum / (2.0 * pairs));
}

static int count_correct(struct clip *c, int n, int pairs)
{
    const struct clip_contrast *t = &c->contrast;
    int correct = 0;
    int32_t *best = xmalloc((size_t)n * sizeof *best);
    c->k->argmax(t->best, t->logits[0], n, pairs);
    c->k->download(best, t->best, (size_t)n);
    for (int i = 0; i < n; i++)
        correct += best[i] == (int32_t)t->first + i;
    free(best);
    return correct;
}

int clip_contrast(struct clip *c, int n, float *loss, int *correct)
{
    const struct kernels *k = c->k;
    struct clip_contrast *t = &c->contrast;
    int pairs = t->comm->size > 1 ? t->pairs : n;
    float scale = clip_logit_scale(c);
    const struct tensor unit[2] = {c->image.unit, c->text.unit};
    if (gather(c, n, pairs))
        return err_wrap("features");
    for (int i = 0; i < 2; i++) {
        k->matmul(t->logits[i], unit[i], t->all[1 - i], n, pairs, c->config.embed, false, true, scale, 0);
        k->softmax_xent(t->losses[i], t->dlogits[i], t->logits[i], t->targets, n, pairs, 0.5f / (float)pairs);
    }
    if (backward(c, n, pairs, scale))
        return err_wrap("gradients of features");
    *loss = mean_loss(c, n, pairs);
    if (correct)
        *correct = count_correct(c, n, pairs);
    return 0;
}
