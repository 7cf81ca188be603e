/*
 * The discrete VAE: running and training it.
 */
#include "models/dvae.h"
#include "common/err.h"
#include "common/mem.h"
#include "models/dvae_private.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#define PIXEL_MARGIN 0.1f /* e: keeps pixels away from 0 and 1, where the logit-Laplace density has no logit */
#define MAX_SIDE 4096
#define MAX_WIDTH 8192
#define MAX_VOCAB (1 << 20)
#define TOGETHER_PIXELS (32 * 256 * 256) /* enough for all of a device's processors at the smallest resolution */
#define MOST_TOGETHER 64

int dvae_together(const struct kernels *k, int side)
{
    int64_t n = side > 0 ? TOGETHER_PIXELS / ((int64_t)side * side) : 0;
    return !k->batches || n < 1 ? 1 : n < MOST_TOGETHER ? (int)n : MOST_TOGETHER;
}

static int check(const struct dvae_config *c, int side, int batch)
{
    if (c->groups < 1 || c->groups > DVAE_MAX_GROUPS || c->blocks < 1 || c->blocks > DVAE_MAX_BLOCKS)
        return err_set(ERR_DATA, "a dVAE of %d groups of %d blocks: 1 to %d groups of 1 to %d blocks are possible",
                       c->groups, c->blocks, DVAE_MAX_GROUPS, DVAE_MAX_BLOCKS);
    if (c->hidden < 4 || c->hidden > MAX_WIDTH || c->init < 0 || c->init > MAX_WIDTH)
        return err_set(ERR_DATA, "a dVAE of width %d, decoder from %d: widths are 4 to %d", c->hidden, c->init,
                       MAX_WIDTH);
    if (c->vocab < 2 || c->vocab > MAX_VOCAB)
        return err_set(ERR_DATA, "a dVAE of %d codes: 2 to %d are possible", c->vocab, MAX_VOCAB);
    if (side < 1 || side > MAX_SIDE || side % (1 << (c->groups - 1)) != 0)
        return err_set(ERR_DATA, "pictures of %d pixels: a dVAE of %d groups needs a multiple of %d, %d at most", side,
                       c->groups, 1 << (c->groups - 1), MAX_SIDE);
    if (batch < 1 || (int64_t)batch * side * side > INT_MAX)
        return err_set(ERR_DATA, "a batch of %d pictures of %d pixels is out of range", batch, side);
    return 0;
}

int dvae_build(struct dvae **out, const struct kernels *k, const struct dvae_config *c, int side, int batch, bool train)
{
    *out = NULL;
    if (check(c, side, batch) != 0)
        return -1;
    struct dvae *d = xcalloc(1, sizeof *d);
    d->k = k;
    d->config = *c;
    d->side = side;
    d->grid = side >> (c->groups - 1);
    d->batch = batch;
    d->train = train;
    int together = dvae_together(k, side);
    d->pass = batch < together ? batch : together;
    dvae_net_build(&d->encoder, &d->params, c, false, side);
    if (c->init > 0)
        dvae_net_build(&d->decoder, &d->params, c, true, side);
    *out = d;
    return 0;
}

static void layout(void *self, struct arena *a)
{
    struct dvae *d = self;
    size_t batch = (size_t)d->batch, cells = batch * (size_t)d->grid * (size_t)d->grid;
    size_t pixels = batch * (size_t)d->side * (size_t)d->side, classes = (size_t)d->config.vocab;
    int together = d->train ? d->batch : d->pass;
    dvae_net_measure(&d->encoder, &d->scratch, together, d->train);
    if (d->config.init > 0)
        dvae_net_measure(&d->decoder, &d->scratch, together, d->train);
    dvae_scratch_layout(&d->scratch, a);
    dvae_net_layout(&d->encoder, &d->scratch, a, together, d->train);
    if (d->config.init > 0)
        dvae_net_layout(&d->decoder, &d->scratch, a, together, d->train);
    d->x = arena_take(a, pixels * 3, F32);
    d->logits = arena_take(a, cells * classes, F32);
    d->stats = arena_take(a, pixels * DVAE_STATS, F32);
    d->codes = arena_take(a, cells, I32);
    d->given = arena_take(a, cells, I32);
    if (!d->train)
        return;
    d->z = arena_take(a, cells * classes, F32);
    d->noise = arena_take(a, cells * classes, F32);
    d->dlogits = arena_take(a, cells * classes, F32);
    d->dstats = arena_take(a, pixels * DVAE_STATS, F32);
    d->nll = arena_take(a, pixels, F32);
    d->kl = arena_take(a, cells, F32);
    d->use = arena_take(a, classes, F32);
}

int dvae_alloc(struct dvae *d)
{
    if (params_alloc(&d->params, d->k, d->train) != 0 || arena_build(&d->arena, d->k, layout, d) != 0)
        return err_wrap("dVAE of width %d for %d pictures of %d pixels", d->config.hidden, d->batch, d->side);
    return 0;
}

int dvae_new(struct dvae **d, const struct kernels *k, const struct dvae_config *c, int side, int batch, bool train)
{
    if (dvae_build(d, k, c, side, batch, train) != 0)
        return -1;
    if (dvae_alloc(*d) != 0) {
        dvae_free(d);
        return -1;
    }
    return 0;
}

void dvae_free(struct dvae **d)
{
    if (!*d)
        return;
    params_free(&(*d)->params);
    arena_free(&(*d)->arena);
    free(*d);
    *d = NULL;
}

struct params *dvae_params(struct dvae *d)
{
    return &d->params;
}

const struct dvae_config *dvae_config(const struct dvae *d)
{
    return &d->config;
}

int dvae_side(const struct dvae *d)
{
    return d->side;
}

int dvae_grid(const struct dvae *d)
{
    return d->grid;
}

int dvae_batch(const struct dvae *d)
{
    return d->batch;
}

void dvae_map_pixels(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (1 - 2 * PIXEL_MARGIN) * (x[i] / 255) + PIXEL_MARGIN;
}

static size_t cells_of(const struct dvae *d)
{
    return (size_t)d->grid * (size_t)d->grid;
}

static size_t pixels_of(const struct dvae *d)
{
    return (size_t)d->side * (size_t)d->side;
}

/* Pictures of the pass that begins with the i-th of n. */
static int pass_of(const struct dvae *d, int i, int n)
{
    return n - i < d->pass ? n - i : d->pass;
}

struct tensor dvae_logits(struct dvae *d, struct tensor x, int n)
{
    size_t in = pixels_of(d) * 3, out = cells_of(d) * (size_t)d->config.vocab;
    assert(n <= d->batch);
    for (int i = 0; i < n; i += d->pass)
        dvae_net_forward(&d->encoder, &d->scratch, tensor_at(d->logits, (size_t)i * out), tensor_at(x, (size_t)i * in),
                         pass_of(d, i, n));
    return d->logits;
}

struct tensor dvae_stats(struct dvae *d, struct tensor z, int n)
{
    size_t in = cells_of(d) * (size_t)d->config.vocab, out = pixels_of(d) * DVAE_STATS;
    assert(n <= d->batch && d->config.init > 0);
    for (int i = 0; i < n; i += d->pass)
        dvae_net_forward(&d->decoder, &d->scratch, tensor_at(d->stats, (size_t)i * out), tensor_at(z, (size_t)i * in),
                         pass_of(d, i, n));
    return d->stats;
}

void dvae_encode_put(struct dvae *d, const uint8_t *pictures, int n)
{
    const float scale = 1 - 2 * PIXEL_MARGIN;
    assert(n <= d->batch);
    d->k->upload_pixels(d->x, pictures, (size_t)n * pixels_of(d), (const float[]){scale, scale, scale},
                        (const float[]){PIXEL_MARGIN, PIXEL_MARGIN, PIXEL_MARGIN});
}

void dvae_encode_run(struct dvae *d, int n)
{
    if (d->train)
        d->k->argmax(d->codes, dvae_logits(d, d->x, n), n * d->grid * d->grid, d->config.vocab);
    for (int i = 0; !d->train && i < n; i += d->pass)
        dvae_net_codes(&d->encoder, tensor_at(d->codes, (size_t)i * cells_of(d)),
                       tensor_at(d->x, (size_t)i * pixels_of(d) * 3), pass_of(d, i, n));
}

void dvae_encode_fetch(struct dvae *d, int n, int32_t *codes)
{
    d->k->download(codes, d->codes, (size_t)n * cells_of(d));
}

void dvae_encode(struct dvae *d, const uint8_t *pictures, int n, int32_t *codes)
{
    dvae_encode_put(d, pictures, n);
    dvae_encode_run(d, n);
    dvae_encode_fetch(d, n, codes);
}

bool dvae_are_codes(const int32_t *codes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (codes[i] < 0)
            return false;
    return true;
}

/* A pixel's value from the location mu of its density. */
static uint8_t unmap(float mu)
{
    float p = (1 / (1 + expf(-mu)) - PIXEL_MARGIN) / (1 - 2 * PIXEL_MARGIN);
    return (uint8_t)(fminf(fmaxf(p, 0), 1) * 255 + 0.5f);
}

/* The statistics of pictures of these codes: in training by way of one-hot vectors, since weights change. */
static struct tensor stats_of_codes(struct dvae *d, const int32_t *codes, int n)
{
    size_t cells = (size_t)n * cells_of(d), vocab = (size_t)d->config.vocab, out = pixels_of(d) * DVAE_STATS;
    if (d->train) {
        float *z = xcalloc(cells * vocab, sizeof *z);
        for (size_t i = 0; i < cells; i++)
            z[i * vocab + (size_t)codes[i]] = 1;
        d->k->upload(d->z, z, cells * vocab);
        free(z);
        return dvae_stats(d, d->z, n);
    }
    d->k->upload(d->given, codes, cells);
    for (int i = 0; i < n; i += d->pass)
        dvae_net_from_codes(&d->decoder, tensor_at(d->stats, (size_t)i * out),
                            tensor_at(d->given, (size_t)i * cells_of(d)), pass_of(d, i, n));
    return d->stats;
}

void dvae_decode(struct dvae *d, const int32_t *codes, int n, uint8_t *pictures)
{
    size_t cells = (size_t)n * cells_of(d), pixels = (size_t)n * pixels_of(d);
    assert(n <= d->batch && d->config.init > 0);
    for (size_t i = 0; i < cells; i++)
        assert(codes[i] >= 0 && codes[i] < d->config.vocab);
    float *stats = xmalloc(pixels * DVAE_STATS * sizeof *stats);
    d->k->download(stats, stats_of_codes(d, codes, n), pixels * DVAE_STATS);
#pragma omp parallel for
    for (size_t i = 0; i < pixels; i++) {
        for (size_t c = 0; c < 3; c++)
            pictures[i * 3 + c] = unmap(stats[i * DVAE_STATS + c]);
    }
    free(stats);
}

static double sum_of(const struct kernels *k, struct tensor t, size_t n)
{
    float *values = xmalloc(n * sizeof *values);
    double sum = 0;
    k->download(values, t, n);
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    free(values);
    return sum;
}

static double entropy_of(const struct kernels *k, struct tensor use, size_t n)
{
    float *values = xmalloc(n * sizeof *values);
    double h = 0;
    k->download(values, use, n);
    for (size_t i = 0; i < n; i++)
        h -= values[i] > 0 ? values[i] * log(values[i]) : 0;
    free(values);
    return h;
}

/* The mean code use of all processes' parts. */
static int whole_use(struct dvae *d, const struct dvae_step *s)
{
    if (!s->comm)
        return 0;
    d->k->scale(d->use, s->share, (size_t)d->config.vocab);
    return s->comm->sum(d->use, (size_t)d->config.vocab) ? err_wrap("code use") : 0;
}

int dvae_train(struct dvae *d, const float *x, int n, const struct dvae_step *s, float grad_scale,
               struct dvae_losses *out, int32_t *codes)
{
    const struct kernels *k = d->k;
    int cells = n * d->grid * d->grid, pixels = n * d->side * d->side, vocab = d->config.vocab;
    size_t weights = (size_t)cells * (size_t)vocab;
    /* Losses are means over all values of the batch, so a picture's KL weighs beta / (values of a picture). */
    float per_value = grad_scale / ((float)pixels * 3);
    double ln_vocab = log(vocab);
    assert(d->train && n <= d->batch && d->config.init > 0);

    k->upload(d->x, x, (size_t)pixels * 3);
    dvae_net_forward(&d->encoder, &d->scratch, d->logits, d->x, n);
    if (s->noise)
        k->upload(d->noise, s->noise, weights);
    for (size_t i = 0, each = weights / (size_t)n; !s->noise && i < (size_t)n; i++)
        k->gumbel(tensor_at(d->noise, i * each), s->key, s->hi + i, each);
    k->gumbel_softmax(d->z, d->logits, d->noise, s->tau, cells, vocab);
    dvae_net_forward(&d->decoder, &d->scratch, d->stats, d->z, n);

    k->logit_laplace(d->nll, d->dstats, d->stats, d->x, pixels, s->scale_floor > 0 ? logf(s->scale_floor) : -INFINITY,
                     per_value);
    k->fill(d->dlogits, 0, weights);
    k->kl_uniform(d->kl, d->dlogits, d->logits, cells, vocab, s->beta * per_value);
    k->code_use(d->use, d->logits, cells, vocab);
    if (whole_use(d, s))
        return -1;
    if (s->entropy != 0)
        k->code_use_backward(d->dlogits, d->use, d->logits, cells, vocab, grad_scale * s->entropy / (float)ln_vocab);

    dvae_net_backward(&d->decoder, &d->scratch, d->noise, d->dstats, d->z, n);
    k->gumbel_softmax_backward(d->dlogits, d->noise, d->z, s->tau, cells, vocab);
    dvae_net_backward(&d->encoder, &d->scratch, tensor_none(), d->dlogits, d->x, n);

    double nll = sum_of(k, d->nll, (size_t)pixels) / (pixels * 3.0), kl = sum_of(k, d->kl, (size_t)cells) / n;
    double entropy = entropy_of(k, d->use, (size_t)vocab);
    *out = (struct dvae_losses){
        .loss = (float)(nll + s->beta * kl / (pixels * 3.0 / n) - s->entropy * entropy / ln_vocab),
        .nll = (float)nll,
        .kl = (float)kl,
        .use_entropy = (float)entropy,
    };
    if (codes) {
        k->argmax(d->codes, d->logits, cells, vocab);
        k->download(codes, d->codes, (size_t)cells);
    }
    return 0;
}
