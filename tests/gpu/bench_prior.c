/*
 * Benchmarks on a GPU: the prior's training step, its attention alone, and sampling.
 */
#include "common/err.h"
#include "common/mem.h"
#include "kernels/plan.h"
#include "models/optimizer.h"
#include "tests/gpu/bench.h"

#include <math.h>
#include <stdlib.h>

struct training {
    const struct kernels *k;
    struct prior *prior;
    struct optimizer optimizer;
    int32_t *text, *image;
    int batch;
};

static int positions_of(const struct prior_config *c)
{
    return c->grid * c->grid;
}

static int states_of(const struct prior_config *c)
{
    return c->text_len + positions_of(c);
}

static double width_of(const struct prior_config *c)
{
    return (double)c->heads * c->head_dim;
}

static struct attention_shape attention_of(const struct prior_config *c, enum mask mask, int batch)
{
    return (struct attention_shape){mask,        batch,           states_of(c), c->heads,
                                    c->head_dim, c->text_len + 1, c->grid,      c->kernel};
}

/* Multiplications and additions of a step that the model asks for: three times the forward pass, in which a matrix
 * takes two for each element and state, and attention four for each pair of states that its mask leaves and each
 * channel. What is computed again does not count. */
static double step_work(const struct prior_config *c, int batch)
{
    double d = width_of(c), layers = 24 * d * d * states_of(c) * c->layers, pairs = 0;
    double heads =
        2 * d * ((double)(c->text_vocab + c->text_len) * c->text_len + (double)c->image_vocab * positions_of(c));
    for (int i = 0; i < c->layers; i++) {
        struct attention_shape s = attention_of(c, prior_mask(c, i), 1);
        pairs += bench_pairs(&s);
    }
    return 3.0 * batch * (layers + heads + 4 * d * pairs);
}

static void make_tokens(const struct prior_config *c, int batch, int32_t *text, int32_t *image)
{
    for (int i = 0; i < batch * c->text_len; i++)
        text[i] = i % c->text_len < c->text_len / 4 + 1 ? (int)(i * 2654435761u % (unsigned)c->text_vocab) : -1;
    for (int i = 0; i < batch * positions_of(c); i++)
        image[i] = (int)((unsigned)i * 2654435761u % (unsigned)c->image_vocab);
}

static void step(void *self)
{
    static const struct optimizer_settings SETTINGS = {
        .lr = 1e-5f, .beta1 = 0.9f, .beta2 = 0.96f, .eps = 1e-8f, .decay = 0.045f, .v_max = INFINITY, .clip_norm = 4};
    struct training *t = self;
    const struct params *p = prior_params(t->prior);
    struct prior_losses losses;
    t->k->fill(p->grads, 0, p->total);
    prior_train(t->prior, t->text, t->image, t->batch, 1, &losses);
    optimizer_step(&t->optimizer, &SETTINGS);
}

static double parameters_of(struct prior *p)
{
    double count = 0;
    for (int i = 0; i < prior_params(p)->count; i++)
        count += (double)prior_params(p)->list[i].count;
    return count;
}

static int time_steps(const struct bench *b, struct training *t, const char *what, const struct prior_config *c)
{
    if (optimizer_new(&t->optimizer, prior_params(t->prior)) != 0 || bench_randomise(b, prior_params(t->prior)) != 0)
        return -1;
    make_tokens(c, t->batch, t->text, t->image);
    struct bench longer = *b;
    longer.seconds *= 4;
    double seconds = bench_time(&longer, step, t), rate = step_work(c, t->batch) / seconds;
    bench_result(b, "train", what, "seconds", seconds, "share of product rate", rate / b->rate, "TFLOP/s", rate / 1e12,
                 "parameters", parameters_of(t->prior), "layers", (double)c->layers, "width", width_of(c), "batch",
                 (double)t->batch, "states/s", (double)t->batch * states_of(c) / seconds, (char *)NULL);
    return 0;
}

static int train(const struct bench *b, const char *what, const struct prior_config *c, int batch, enum prior_use use)
{
    struct training t = {.k = b->k, .batch = batch};
    t.text = xmalloc((size_t)batch * (size_t)c->text_len * sizeof *t.text);
    t.image = xmalloc((size_t)batch * (size_t)positions_of(c) * sizeof *t.image);
    int status = prior_new(&t.prior, b->k, c, batch, use);
    if (status == 0) {
        status = time_steps(b, &t, what, c);
        optimizer_free(&t.optimizer);
    }
    prior_free(&t.prior);
    free(t.text);
    free(t.image);
    return status;
}

int bench_train(struct bench *b)
{
    return train(b, "prior of 100 M", &b->sizes->small, b->sizes->small_batch, PRIOR_TRAIN);
}

/* Bytes that training takes; SIZE_MAX where it cannot be planned. */
static size_t planned(const struct prior_config *c, int batch, enum prior_use use)
{
    struct prior *p;
    struct optimizer o;
    if (prior_new(&p, plan_begin(BF16), c, batch, use) != 0)
        return SIZE_MAX;
    bool counted = optimizer_new(&o, prior_params(p)) == 0;
    optimizer_free(&o);
    prior_free(&p);
    return counted ? plan_bytes() : SIZE_MAX;
}

static bool fits(const struct bench *b, const struct prior_config *c, int batch, enum prior_use use)
{
    size_t bytes = planned(c, batch, use), there = b->k->free_bytes(), own = plan_workspace((size_t)64 << 20);
    return bytes < SIZE_MAX - own && bytes + own <= there;
}

int bench_train_large(struct bench *b)
{
    const struct prior_config *c = &b->sizes->large;
    int batch = b->sizes->large_batch;
    while (batch > 1 && !fits(b, c, batch, PRIOR_TRAIN))
        batch--;
    return train(b, "prior of 1.3 G", c, batch, PRIOR_TRAIN);
}

int bench_train_widest(struct bench *b)
{
    struct prior_config c = b->sizes->widest;
    while (c.layers > 1 && !fits(b, &c, b->sizes->widest_batch, PRIOR_RECOMPUTE))
        c.layers--;
    return train(b, "largest prior of the paper's width", &c, b->sizes->widest_batch, PRIOR_RECOMPUTE);
}

struct attending {
    const struct kernels *k;
    struct attention_shape s;
    struct tensor qkv, out, lse, dqkv, dout;
};

static void attend(void *self)
{
    struct attending *a = self;
    a->k->attention(a->out, a->lse, a->qkv, &a->s);
}

static void attend_backward(void *self)
{
    struct attending *a = self;
    a->k->attention_backward(a->dqkv, a->dout, a->qkv, a->out, a->lse, &a->s);
}

int bench_attention(struct bench *b)
{
    static const char *const NAMES[] = {"no mask", "causal", "row", "column", "conv"};
    const struct prior_config *c = &b->sizes->large;
    struct attending a = {.k = b->k, .s = attention_of(c, MASK_NONE, b->sizes->attention_batch)};
    size_t queries = (size_t)a.s.batch * (size_t)a.s.states * (size_t)a.s.heads, n = queries * (size_t)a.s.head_dim;
    a.qkv = b->k->alloc(3 * n, BF16);
    a.dqkv = b->k->alloc(3 * n, BF16);
    a.out = b->k->alloc(n, BF16);
    a.dout = b->k->alloc(n, BF16);
    a.lse = b->k->alloc(queries, F32);
    if (!a.qkv.data || !a.dqkv.data || !a.out.data || !a.dout.data || !a.lse.data ||
        bench_fill(b, a.qkv, 3 * n, 0.5f, 1) != 0 || bench_fill(b, a.dout, n, 0.5f, 2) != 0)
        return -1;
    for (enum mask m = MASK_NONE; m <= MASK_CONV; m++) {
        a.s.mask = m;
        double work = 4 * bench_pairs(&a.s) * a.s.batch * a.s.heads * a.s.head_dim;
        double forward = bench_time(b, attend, &a), backward = bench_time(b, attend_backward, &a);
        bench_result(b, "attention", NAMES[m], "forward ms", forward * 1e3, "backward ms", backward * 1e3,
                     "forward TFLOP/s", work / forward / 1e12, "backward TFLOP/s", 2.5 * work / backward / 1e12,
                     "batch", (double)a.s.batch, "states", (double)a.s.states, "heads", (double)a.s.heads,
                     (char *)NULL);
    }
    struct tensor all[] = {a.qkv, a.dqkv, a.out, a.dout, a.lse};
    for (int i = 0; i < 5; i++)
        b->k->free(all[i]);
    return 0;
}

/* What one picture for each of n candidates must read and write at least: at each position all weights of the layers
 * and of the image's head, each layer's keys and values of the prefix, which candidates share, and of the image states
 * that its mask shows each candidate, one of which is written first. Logits stay within caches. */
static double sampling_bytes(const struct prior_config *c, int n)
{
    double d = width_of(c), positions = positions_of(c), seen = 0;
    double weights = 2 * (12 * d * d * c->layers) + 4 * d * c->image_vocab;
    for (int i = 0; i < c->layers; i++) {
        struct attention_shape s = attention_of(c, prior_mask(c, i), 1), text = s;
        text.states = s.prefix;
        s.states = s.prefix + positions_of(c);
        seen += bench_pairs(&s) - bench_pairs(&text) - positions * s.prefix;
    }
    double prefix = positions * c->layers * (c->text_len + 1);
    return positions * weights + 4 * d * (prefix + n * (seen + positions * c->layers));
}

/* Seconds that a product of weights, each of so many bytes, with n states takes at least: its reading or its work. */
static double product_limit(const struct bench *b, double weights, int bytes, int n)
{
    return fmax(weights * bytes / b->bandwidth, 2 * weights * n / b->rate);
}

/* Seconds that one picture for each of n candidates takes at least, one operation following the other: a product's work
 * or reading, whichever takes longer, and what attention reads and writes. */
static double sampling_limit(const struct bench *b, const struct prior_config *c, int n)
{
    double d = width_of(c), positions = positions_of(c), weights = 12 * d * d * c->layers, head = d * c->image_vocab;
    double attention = sampling_bytes(c, n) - positions * (2 * weights + 4 * head);
    return positions * (product_limit(b, weights, 2, n) + product_limit(b, head, 4, n)) + attention / b->bandwidth;
}

static int sample(const struct bench *b, struct prior *p, int n)
{
    const struct prior_config *c = prior_config(p);
    struct prior_sampler *s = NULL;
    const struct prior_draw draw = {.draw = {1, 0, 1}, .guidance = 1, .seed = 1};
    int32_t *text = xmalloc((size_t)c->text_len * sizeof *text);
    int32_t *codes = xmalloc((size_t)n * (size_t)positions_of(c) * sizeof *codes);
    make_tokens(c, 1, text, codes);
    int status = prior_sampler_new(&s, p, n);
    double seconds = 0;
    for (int i = 0; i < 2 && status == 0; i++) { /* the first records the step */
        double start = bench_now();
        status = prior_sample(s, text, n, &draw, codes, NULL, NULL);
        seconds = bench_now() - start;
    }
    if (status == 0) {
        double reading = sampling_bytes(c, n) / b->bandwidth, limit = sampling_limit(b, c, n);
        char what[32];
        snprintf(what, sizeof what, "%d candidates", n);
        bench_result(b, "sample", what, "seconds", seconds, "bandwidth limit", reading, "share of bandwidth limit",
                     reading / seconds, "limit", limit, "times the limit", seconds / limit, "parameters",
                     parameters_of(p), (char *)NULL);
    }
    prior_sampler_free(&s);
    free(text);
    free(codes);
    return status;
}

int bench_sample(struct bench *b)
{
    struct prior *p;
    if (prior_new(&p, b->k, &b->sizes->large, 1, PRIOR_INFER) != 0)
        return -1;
    int status = bench_randomise(b, prior_params(p));
    for (int i = 0; i < 3 && status == 0; i++)
        status = sample(b, p, b->sizes->candidates[i]);
    prior_free(&p);
    return status;
}
