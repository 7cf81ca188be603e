/*
 * The prior: masks, logits, losses, gradients, three steps of AdamW; greedy continuations.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/optimizer.h"
#include "models/prior.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPDATES 3
#define ROUNDING 1e-6f /* of a gradient, as a share of its tensor's largest: see compare_weights */

struct pairs {
    int n;
    int32_t *text, *image; /* [n, T], [n, N] */
};

static void free_pairs(struct pairs *s)
{
    free(s->text);
    free(s->image);
}

static bool in_range(const int32_t *ids, size_t n, int32_t low, int32_t high)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < low || ids[i] > high)
            return false;
    }
    return true;
}

static int read_pairs(const struct golden *g, const struct prior_config *c, struct pairs *s)
{
    int T = c->text_len, positions = c->grid * c->grid;
    const struct weight *text = golden_find(g, "in.text", 2, (const int64_t[]){0, T});
    const struct weight *image =
        text ? golden_find(g, "in.image", 2, (const int64_t[]){text->shape[0], positions}) : NULL;
    if (!image)
        return -1;
    *s = (struct pairs){(int)text->shape[0], golden_read_ints(text), golden_read_ints(image)};
    if (!s->text || !s->image)
        return -1;
    if (!in_range(s->text, text->count, -1, c->text_vocab - 1) ||
        !in_range(s->image, image->count, 0, c->image_vocab - 1))
        return err_set(ERR_DATA, "in.text or in.image holds ids that the vocabularies do not have");
    return 0;
}

/* Which keys each query sees, asked of the attention itself: with all scores alike and each key's value an axis of its
 * own, what comes out is not zero where the query sees the key. */
static int check_mask(struct golden *g, const char *name, enum mask mask, const struct prior_config *c)
{
    enum { HEAD_DIM = 16 };
    int states = c->text_len + 1 + c->grid * c->grid, heads = (states + HEAD_DIM - 1) / HEAD_DIM;
    const struct weight *t = golden_find(g, name, 2, (const int64_t[]){states, states});
    int32_t *want = t ? golden_read_ints(t) : NULL;
    if (!want)
        return -1;
    const struct kernels *k = g->k;
    struct attention_shape shape = {mask, 1, states, heads, HEAD_DIM, c->text_len + 1, c->grid, c->kernel};
    size_t d = (size_t)heads * HEAD_DIM, S = (size_t)states;
    float *host = xcalloc(S * 3 * d, sizeof *host);
    for (size_t i = 0; i < S; i++)
        host[i * 3 * d + 2 * d + i] = 1;
    struct tensor qkv = k->alloc(S * (4 * d + (size_t)heads), F32);
    if (!qkv.data) {
        free(host);
        free(want);
        return -1;
    }
    struct tensor out = tensor_at(qkv, S * 3 * d), lse = tensor_at(out, S * d);
    k->upload(qkv, host, S * 3 * d);
    k->attention(out, lse, qkv, &shape);
    k->download(host, out, S * d);
    int32_t *got = xcalloc(S * S, sizeof *got);
    for (size_t i = 0; i < S * S; i++)
        got[i] = host[i / S * d + i % S] != 0;
    golden_ints(g, name, got, want, S * S);
    k->free(qkv);
    free(got);
    free(host);
    free(want);
    return 0;
}

static int check_masks(struct golden *g, const struct prior_config *c)
{
    if (check_mask(g, "out.mask.full", MASK_CAUSAL, c) != 0 || check_mask(g, "out.mask.row", MASK_ROW, c) != 0 ||
        check_mask(g, "out.mask.col", MASK_COLUMN, c) != 0 || check_mask(g, "out.mask.conv", MASK_CONV, c) != 0)
        return -1;
    return 0;
}

static int check_forward(struct golden *g, struct prior *p, const struct pairs *s)
{
    const struct prior_config *c = prior_config(p);
    size_t text = (size_t)s->n * (size_t)c->text_len * (size_t)(c->text_vocab + c->text_len);
    size_t image = (size_t)s->n * (size_t)c->grid * (size_t)c->grid * (size_t)c->image_vocab;
    float *text_logits = xmalloc(text * sizeof *text_logits), *image_logits = xmalloc(image * sizeof *image_logits);
    struct prior_losses l;
    prior_eval(p, s->text, s->image, s->n, &l, text_logits, image_logits);
    int status = golden_expect(g, "out.text_logits", text_logits, text, GOLDEN_VALUE);
    if (status == 0)
        status = golden_expect(g, "out.image_logits", image_logits, image, GOLDEN_VALUE);
    free(text_logits);
    free(image_logits);
    if (status != 0 || golden_expect(g, "out.loss", &l.loss, 1, GOLDEN_VALUE) != 0 ||
        golden_expect(g, "out.text_loss", &l.text, 1, GOLDEN_VALUE) != 0 ||
        golden_expect(g, "out.image_loss", &l.image, 1, GOLDEN_VALUE) != 0)
        return -1;
    return 0;
}

static int read_settings(const struct golden *g, struct optimizer_settings *s)
{
    const struct {
        const char *key;
        float *to;
    } table[] = {{"lr", &s->lr},
                 {"beta1", &s->beta1},
                 {"beta2", &s->beta2},
                 {"eps", &s->eps},
                 {"weight_decay", &s->decay},
                 {"variance_max", &s->v_max},
                 {"clip_norm", &s->clip_norm}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        double value;
        if (golden_number(g, table[i].key, 0, INFINITY, &value) != 0)
            return -1;
        *table[i].to = (float)value;
    }
    return 0;
}

/* AdamW divides each gradient by its own size, so a move is known no better than its gradient is beside the rounding of
 * the sums that this comes from. Where there is next to no gradient (none at all for the keys' biases, which the
 * softmax cancels), rounding decides which way a weight moves by a whole step, in the peer as here. Each weight's error
 * counts beyond that; one whose gradient is exactly zero has no such allowance. */
static int compare_weights(struct golden *g, const struct param *q, float *got, float lr)
{
    char name[sizeof q->name + 16];
    snprintf(name, sizeof name, "grad.%s", q->name);
    const struct weight *grad = golden_find(g, name, q->ndim, q->shape);
    snprintf(name, sizeof name, "out.after3.%s", q->name);
    const struct weight *after = golden_find(g, name, q->ndim, q->shape);
    if (!grad || !after)
        return -1;
    float *gradient = golden_read(grad), *want = golden_read(after), largest = 0;
    for (size_t i = 0; i < q->count; i++)
        largest = fmaxf(largest, fabsf(gradient[i]));
    for (size_t i = 0; i < q->count; i++) {
        if (gradient[i] == 0)
            continue;
        float allowed = UPDATES * lr * fminf(2, ROUNDING * largest / fabsf(gradient[i]));
        float error = got[i] - want[i];
        got[i] = fabsf(error) <= allowed ? want[i] : got[i] - copysignf(allowed, error);
    }
    golden_floats(g, name, got, want, q->count, GOLDEN_VALUE);
    free(gradient);
    free(want);
    return 0;
}

static int check_weights(struct golden *g, const struct params *p, float lr)
{
    int status = 0;
    for (int i = 0; i < p->count && status == 0; i++) {
        const struct param *q = &p->list[i];
        float *got = xmalloc(q->count * sizeof *got);
        p->k->download(got, param_value(p, i), q->count);
        status = compare_weights(g, q, got, lr);
        free(got);
    }
    return status;
}

/* The gradients of the first step, then whole updates. */
static int check_training(struct golden *g, struct prior *p, const struct pairs *s)
{
    struct params *params = prior_params(p);
    struct optimizer_settings settings;
    struct optimizer o;
    if (read_settings(g, &settings) != 0 || optimizer_new(&o, params) != 0)
        return -1;
    float losses[UPDATES];
    int status = 0;
    for (int i = 0; i < UPDATES && status == 0; i++) {
        struct prior_losses l;
        params->k->fill(params->grads, 0, params->total);
        prior_train(p, s->text, s->image, s->n, 1, &l);
        losses[i] = l.loss;
        if (i == 0)
            status = golden_gradients(g, params);
        optimizer_step(&o, &settings);
    }
    optimizer_free(&o);
    if (status != 0 || golden_expect(g, "out.step_losses", losses, UPDATES, GOLDEN_VALUE) != 0)
        return -1;
    return check_weights(g, params, settings.lr);
}

/* A prior with the file's weights that holds all of its samples, and these. */
static int open_prior(struct golden *g, struct prior **p, struct pairs *s, bool train)
{
    const struct weight *text = golden_find(g, "in.text", 2, (const int64_t[]){0, 0});
    if (!text)
        return -1;
    if (text->shape[0] > 1 << 16)
        return err_set(ERR_DATA, "in.text holds more than %d samples", 1 << 16);
    if (prior_open_weights(p, g->k, g->w, "w.", (int)text->shape[0], train ? PRIOR_TRAIN : PRIOR_INFER) != 0)
        return -1;
    return read_pairs(g, prior_config(*p), s);
}

int golden_prior(struct golden *g)
{
    struct prior *p = NULL;
    struct pairs s = {0};
    int status = -1;
    if (open_prior(g, &p, &s, true) == 0 && check_masks(g, prior_config(p)) == 0 && check_forward(g, p, &s) == 0)
        status = check_training(g, p, &s);
    prior_free(&p);
    free_pairs(&s);
    return status;
}

/* The most likely codes after the text and the first `primed` codes of the picture. */
static int check_greedy(struct golden *g, const char *name, struct prior_sampler *sampler, const struct prior_config *c,
                        const struct pairs *s, int primed)
{
    size_t positions = (size_t)c->grid * (size_t)c->grid;
    const struct weight *t = golden_find(g, name, 2, (const int64_t[]){s->n, (int64_t)positions});
    int32_t *want = t ? golden_read_ints(t) : NULL;
    if (!want)
        return -1;
    int32_t *got = xmalloc((size_t)s->n * positions * sizeof *got);
    int status = 0;
    for (int i = 0; i < s->n && status == 0; i++) {
        struct prior_draw draw = {.draw = {.temperature = 0, .top_p = 1},
                                  .guidance = 1,
                                  .primed = s->image + (size_t)i * positions,
                                  .primed_count = primed};
        status = prior_sample(sampler, s->text + (size_t)i * (size_t)c->text_len, 1, &draw, got + (size_t)i * positions,
                              NULL, NULL);
    }
    if (status == 0)
        golden_ints(g, name, got, want, (size_t)s->n * positions);
    free(got);
    free(want);
    return status;
}

int golden_prior_greedy(struct golden *g)
{
    struct prior *p = NULL;
    struct prior_sampler *sampler = NULL;
    struct pairs s = {0};
    double primed;
    int status = -1;
    if (golden_number(g, "primed_tokens", 0, 1 << 16, &primed) == 0 && open_prior(g, &p, &s, false) == 0 &&
        prior_sampler_new(&sampler, p, 1) == 0 && check_greedy(g, "out.greedy", sampler, prior_config(p), &s, 0) == 0)
        status = check_greedy(g, "out.primed", sampler, prior_config(p), &s, (int)primed);
    prior_sampler_free(&sampler);
    prior_free(&p);
    free_pairs(&s);
    return status;
}
