/* The dVAE's task: pictures in, reconstruction and code use out. */
#include "models/dvae.h"
#include "common/err.h"
#include "common/log.h"
#include "common/random.h"
#include "models/augment.h"
#include "trainer/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_PICTURES 16

enum { SUM_LOSS, SUM_NLL, SUM_KL, SUMS }; /* means; behind them, how often each code was used */

struct dvae_task {
    struct dvae *dvae;
    enum augment augment;
    int32_t *codes; /* [own part of what is computed together, grid, grid] */
    double *sums;   /* [SUMS + codes], over the batch */
    uint8_t *shown; /* [shown_count, side, side, 3] */
    int shown_count;
};

static size_t picture_values(const struct trainer *t)
{
    return (size_t)t->settings.side * (size_t)t->settings.side * 3;
}

/* The first `most` pictures of the data, for the sheets. */
static int read_shown(struct trainer *t, int most)
{
    struct dvae_task *d = t->model;
    struct record r = {0};
    int rc = 0;
    d->shown = xmalloc((size_t)most * picture_values(t));
    for (uint64_t i = 0; i < dataset_count(t->data) && d->shown_count < most && rc >= 0; i++) {
        struct image whole = {0}, square;
        rc = dataset_get(t->data, i, &r);
        if (rc == 1 && (rc = dataset_picture(&r, &whole)) == 0) {
            image_center_square(&whole, (int)t->settings.side, &square);
            memcpy(d->shown + (size_t)d->shown_count++ * picture_values(t), square.rgb, picture_values(t));
            image_free(&square);
        }
        image_free(&whole);
    }
    record_free(&r);
    return rc < 0 ? -1 : 0;
}

/* Of a convolution backward: the gradient of the logits in the type of the weights, or of pixels with their channels
 * filled up to eight; the sums of its weights' gradient, and its weights in another order. */
static size_t scratch_of_dvae(const struct trainer *t)
{
    struct dvae *d = ((struct dvae_task *)t->model)->dvae;
    const struct params *p = dvae_params(d);
    size_t own = (size_t)trainer_part(t).own, width = dtype_size(t->k->compute), largest = 0;
    size_t pixels = own * (size_t)t->settings.side * (size_t)t->settings.side;
    size_t logits = own * (size_t)dvae_grid(d) * (size_t)dvae_grid(d) * (size_t)t->settings.codes;
    for (int i = 0; i < p->count; i++)
        largest = p->list[i].count > largest ? p->list[i].count : largest;
    size_t states = t->k->compute != F32 && logits > pixels * 8 ? logits : pixels * 8;
    return states * width + largest * (sizeof(float) + width);
}

static int open_dvae(struct trainer *t)
{
    const struct settings *s = &t->settings;
    struct dvae_task *d = t->model = xcalloc(1, sizeof *d);
    int own = trainer_part(t).own, side = (int)s->side;
    struct dvae_config c = {(int)s->hidden, (int)s->init, (int)s->groups, (int)s->blocks, (int)s->codes};
    d->augment = strcmp(s->augment, "paper") != 0 ? AUGMENT_NONE : AUGMENT_DVAE;
    if (dvae_new(&d->dvae, t->k, &c, side, own, true))
        return -1;
    size_t grid = (size_t)dvae_grid(d->dvae);
    t->scratch = scratch_of_dvae(t);
    t->columns[0] = picture_values(t) * sizeof(float);
    d->codes = xmalloc((size_t)own * grid * grid * sizeof *d->codes);
    d->sums = xmalloc((SUMS + (size_t)s->codes) * sizeof *d->sums);
    return trainer_draws(t) ? read_shown(t, own < SHEET_PICTURES ? own : SHEET_PICTURES) : 0;
}

static struct params *params_of_dvae(struct trainer *t)
{
    return dvae_params(((struct dvae_task *)t->model)->dvae);
}

/* Mapped pixels. */
static int prepare_dvae(const void *self, struct loader_worker *with, uint64_t sample, void *const *row)
{
    const struct trainer *t = self;
    const struct dvae_task *d = t->model;
    struct image whole = {0}, square;
    float *pixels = row[0];
    if (dataset_picture(&with->record, &whole))
        return -1;
    augment(&whole, d->augment, (int)t->settings.side, random_key((uint64_t)t->settings.seed, RANDOM_AUGMENT), sample,
            &square);
    for (size_t i = 0; i < picture_values(t); i++)
        pixels[i] = square.rgb[i];
    dvae_map_pixels(pixels, picture_values(t));
    image_free(&whole);
    image_free(&square);
    return 0;
}

static int start_dvae(struct trainer *t)
{
    struct dvae_task *d = t->model;
    const struct settings *s = &t->settings;
    if (!s->kmeans)
        return 0;
    struct loader *loader;
    uint64_t position; /* training begins with the same pictures */
    int rc = trainer_loader(t, (struct part){.own = (int)s->kmeans}, 1, &loader);
    void *const *columns = rc ? NULL : loader_next(loader, &position);
    if (columns)
        rc = dvae_init_kmeans(d->dvae, columns[0], (int)s->kmeans, (float)s->kmeans_scale, 10, (uint64_t)s->seed);
    loader_close(&loader);
    return columns ? rc : -1;
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
    size_t grid = (size_t)dvae_grid(d->dvae);
    double share = part.share / parts;
    struct dvae_losses losses;
    void *const *columns = loader_next(t->loader, &t->state.position);
    step->share = (float)part.share;
    if (!columns || dvae_train(d->dvae, columns[0], part.own, step, (float)share, &losses, d->codes))
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
    size_t half = (size_t)n * picture_values(t);
    uint8_t *both = xmalloc(half * 2);
    memcpy(both, d->shown, half);
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
    dvae_free(&d->dvae);
    free(d->codes);
    free(d->sums);
    free(d->shown);
    free(d);
}

const struct task task_dvae = {
    .name = "dvae",
    .bit = TASK_DVAE,
    .doc = "the discrete VAE: pictures to codes and back",
    .open = open_dvae,
    .start = start_dvae,
    .params = params_of_dvae,
    .prepare = prepare_dvae,
    .step = step_dvae,
    .save = save_dvae,
    .pictures = sheet_dvae,
    .close = close_dvae,
};
