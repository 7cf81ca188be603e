/* The dVAE's task: pictures in, reconstruction and code use out. */
#include "models/dvae.h"
#include "common/err.h"
#include "common/log.h"
#include "common/random.h"
#include "trainer/pictures.h"
#include "trainer/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_PICTURES 16

enum { SUM_LOSS, SUM_NLL, SUM_KL, SUMS }; /* means; behind them, how often each code was used */

struct dvae_task {
    struct dvae *dvae;
    enum augment augment;
    struct picture *batch; /* [own part of what is computed together] */
    uint8_t *bytes;        /* [own, side, side, 3] */
    float *pixels;
    int32_t *codes; /* [own, grid, grid] */
    double *sums;   /* [SUMS + codes], over the batch */
    struct picture shown[SHEET_PICTURES];
    int shown_count;
};

static int open_dvae(struct trainer *t)
{
    const struct settings *s = &t->settings;
    struct dvae_task *d = t->model = xcalloc(1, sizeof *d);
    int own = trainer_part(t).own, side = (int)s->side;
    struct dvae_config c = {(int)s->hidden, (int)s->init, (int)s->groups, (int)s->blocks, (int)s->codes};
    d->augment = strcmp(s->augment, "paper") != 0 ? AUGMENT_NONE : AUGMENT_DVAE;
    if (dvae_new(&d->dvae, t->k, &c, side, own, true))
        return -1;
    size_t pixels = (size_t)own * side * side * 3, grid = (size_t)dvae_grid(d->dvae);
    d->batch = xcalloc((size_t)own, sizeof *d->batch);
    d->bytes = xmalloc(pixels);
    d->pixels = xmalloc(pixels * sizeof *d->pixels);
    d->codes = xmalloc((size_t)own * grid * grid * sizeof *d->codes);
    d->sums = xmalloc((SUMS + (size_t)s->codes) * sizeof *d->sums);
    int n = own < SHEET_PICTURES ? own : SHEET_PICTURES;
    d->shown_count = pictures_first(t->data, d->shown, n);
    if (d->shown_count == 0)
        return err_set(ERR_DATA, "%s: no kept record to train on", s->data);
    return d->shown_count < 0 ? -1 : 0;
}

static struct params *params_of_dvae(struct trainer *t)
{
    return dvae_params(((struct dvae_task *)t->model)->dvae);
}

/* Mapped pixels of the next n samples into `to`. */
static int next_pixels(struct trainer *t, int n, float *to)
{
    struct dvae_task *d = t->model;
    size_t count = (size_t)n * t->settings.side * t->settings.side * 3;
    uint64_t seed = (uint64_t)t->settings.seed;
    if (pictures_next(t->data, seed, &t->state.position, d->batch, n))
        return -1;
    pictures_bytes(d->batch, n, d->augment, (int)t->settings.side, random_key(seed, RANDOM_AUGMENT), d->bytes);
    for (size_t i = 0; i < count; i++)
        to[i] = d->bytes[i];
    dvae_map_pixels(to, count);
    return 0;
}

static int start_dvae(struct trainer *t)
{
    struct dvae_task *d = t->model;
    const struct settings *s = &t->settings;
    if (!s->kmeans)
        return 0;
    int own = trainer_part(t).own, n = (int)s->kmeans;
    size_t picture = (size_t)s->side * s->side * 3;
    float *x = xmalloc((size_t)n * picture * sizeof *x);
    uint64_t position = t->state.position;
    int rc = 0;
    for (int i = 0; i < n && !rc; i += own)
        rc = next_pixels(t, n - i < own ? n - i : own, x + (size_t)i * picture);
    t->state.position = position;
    if (!rc)
        rc = dvae_init_kmeans(d->dvae, x, n, (float)s->kmeans_scale, 10, (uint64_t)s->seed);
    free(x);
    return rc;
}

/* How many codes were used, and the perplexity of their use. */
static double code_perplexity(const double *count, int64_t codes, int *used)
{
    double all = 0, entropy = 0;
    *used = 0;
    for (int64_t i = 0; i < codes; i++)
        all += count[i];
    for (int64_t i = 0; i < codes; i++)
        if (count[i] > 0) {
            double p = count[i] / all;
            entropy -= p * log(p);
            ++*used;
        }
    return exp(entropy);
}

/* One of the `parts` that a batch is computed in: gradients, and what is added to d->sums. */
static int step_part(struct trainer *t, struct dvae_step *step, int parts)
{
    struct dvae_task *d = t->model;
    struct part part = trainer_part(t);
    uint64_t seed = (uint64_t)t->settings.seed;
    size_t grid = (size_t)dvae_grid(d->dvae);
    double share = part.share / parts;
    struct dvae_losses losses;
    step->share = (float)part.share;
    if (dataset_skip(t->data, seed, &t->state.position, part.before) || next_pixels(t, part.own, d->pixels) ||
        dataset_skip(t->data, seed, &t->state.position, part.behind) ||
        dvae_train(d->dvae, d->pixels, part.own, step, (float)share, &losses, d->codes))
        return -1;
    d->sums[SUM_LOSS] += losses.loss * share;
    d->sums[SUM_NLL] += losses.nll * share;
    d->sums[SUM_KL] += losses.kl * share;
    for (size_t i = 0; i < (size_t)part.own * grid * grid; i++)
        d->sums[SUMS + d->codes[i]]++;
    return 0;
}

static int step_dvae(struct trainer *t, struct metrics *m)
{
    struct dvae_task *d = t->model;
    const struct settings *s = &t->settings;
    int micro = trainer_micro(t), parts = (int)(s->batch / micro);
    size_t sums = SUMS + (size_t)s->codes;
    struct dvae_step step = {
        .comm = t->comm,
        .tau = (float)cosine(s->tau, s->tau_end, trainer_progress(t, s->tau_steps)),
        .beta = (float)cosine(0, s->kl, trainer_progress(t, s->kl_steps)),
        .entropy = (float)s->entropy,
        .scale_floor = (float)s->scale_floor,
        .key = random_key((uint64_t)s->seed, RANDOM_GUMBEL),
        .hi = t->state.step * (uint64_t)s->batch + trainer_part(t).before,
    };
    memset(d->sums, 0, sums * sizeof *d->sums);
    for (int part = 0; part < parts; part++, step.hi += (uint64_t)micro)
        if (step_part(t, &step, parts))
            return -1;
    if (t->comm->sum_host(d->sums, sums))
        return -1;
    int used;
    double perplexity = code_perplexity(d->sums + SUMS, s->codes, &used);
    metrics_add(m, "loss", d->sums[SUM_LOSS]);
    metrics_add(m, "nll", d->sums[SUM_NLL]);
    metrics_add(m, "kl", d->sums[SUM_KL]);
    metrics_add(m, "codes_used", used);
    metrics_add(m, "perplexity", perplexity);
    metrics_add(m, "tau", step.tau);
    metrics_add(m, "beta", step.beta);
    return 0;
}

static int save_dvae(struct trainer *t, struct tensor slab, const char *path)
{
    return dvae_save(((struct dvae_task *)t->model)->dvae, slab, path);
}

/* Originals above, what their codes decode to below. */
static int sheet_dvae(struct trainer *t, struct image *sheet)
{
    struct dvae_task *d = t->model;
    int n = d->shown_count, side = (int)t->settings.side;
    size_t half = (size_t)n * side * side * 3;
    uint8_t *both = xmalloc(half * 2);
    pictures_bytes(d->shown, n, AUGMENT_NONE, side, 0, both);
    dvae_encode(d->dvae, both, n, d->codes);
    dvae_decode(d->dvae, d->codes, n, both + half);
    sheet_make(both, 2 * n, side, n, side < 64 ? 3 : 1, sheet);
    free(both);
    return 1;
}

static void close_dvae(struct trainer *t)
{
    struct dvae_task *d = t->model;
    if (!d)
        return;
    if (d->batch)
        pictures_free(d->batch, trainer_part(t).own);
    pictures_free(d->shown, SHEET_PICTURES);
    dvae_free(&d->dvae);
    free(d->batch);
    free(d->bytes);
    free(d->pixels);
    free(d->codes);
    free(d->sums);
    free(d);
}

const struct task task_dvae = {
    .name = "dvae",
    .bit = TASK_DVAE,
    .doc = "the discrete VAE: pictures to codes and back",
    .open = open_dvae,
    .start = start_dvae,
    .params = params_of_dvae,
    .step = step_dvae,
    .save = save_dvae,
    .pictures = sheet_dvae,
    .close = close_dvae,
};
