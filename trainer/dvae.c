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

struct dvae_task {
    struct dvae *dvae;
    enum augment augment;
    struct picture *batch;
    uint8_t *bytes; /* [micro, side, side, 3] */
    float *pixels;
    int32_t *codes;  /* [micro, grid, grid] */
    uint32_t *count; /* [codes]: uses in this update */
    struct picture shown[SHEET_PICTURES];
    int shown_count;
};

static int open_dvae(struct trainer *t)
{
    const struct settings *s = &t->settings;
    struct dvae_task *d = t->model = xcalloc(1, sizeof *d);
    int micro = trainer_micro(t), side = (int)s->side;
    struct dvae_config c = {(int)s->hidden, (int)s->init, (int)s->groups, (int)s->blocks, (int)s->codes};
    d->augment = strcmp(s->augment, "paper") != 0 ? AUGMENT_NONE : AUGMENT_DVAE;
    if (dvae_new(&d->dvae, t->k, &c, side, micro, true))
        return -1;
    size_t pixels = (size_t)micro * side * side * 3, grid = (size_t)dvae_grid(d->dvae);
    d->batch = xcalloc((size_t)micro, sizeof *d->batch);
    d->bytes = xmalloc(pixels);
    d->pixels = xmalloc(pixels * sizeof *d->pixels);
    d->codes = xmalloc((size_t)micro * grid * grid * sizeof *d->codes);
    d->count = xmalloc((size_t)s->codes * sizeof *d->count);
    int n = micro < SHEET_PICTURES ? micro : SHEET_PICTURES;
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
    int micro = trainer_micro(t), n = (int)((s->kmeans + micro - 1) / micro) * micro;
    size_t picture = (size_t)s->side * s->side * 3;
    float *x = xmalloc((size_t)n * picture * sizeof *x);
    uint64_t position = t->state.position;
    int rc = 0;
    for (int i = 0; i < n && !rc; i += micro)
        rc = next_pixels(t, micro, x + (size_t)i * picture);
    t->state.position = position;
    if (!rc)
        rc = dvae_init_kmeans(d->dvae, x, n, (float)s->kmeans_scale, 10, (uint64_t)s->seed);
    free(x);
    return rc;
}

/* How many codes were used, and the perplexity of their use. */
static double code_perplexity(const struct dvae_task *d, int64_t codes, int *used)
{
    double all = 0, entropy = 0;
    *used = 0;
    for (int64_t i = 0; i < codes; i++)
        all += d->count[i];
    for (int64_t i = 0; i < codes; i++)
        if (d->count[i]) {
            double p = d->count[i] / all;
            entropy -= p * log(p);
            ++*used;
        }
    return exp(entropy);
}

static int step_dvae(struct trainer *t, struct metrics *m)
{
    struct dvae_task *d = t->model;
    const struct settings *s = &t->settings;
    int micro = trainer_micro(t), parts = (int)(s->batch / micro);
    size_t grid = (size_t)dvae_grid(d->dvae);
    struct dvae_step step = {
        .tau = (float)cosine(s->tau, s->tau_end, trainer_progress(t, s->tau_steps)),
        .beta = (float)cosine(0, s->kl, trainer_progress(t, s->kl_steps)),
        .entropy = (float)s->entropy,
        .scale_floor = (float)s->scale_floor,
        .key = random_key((uint64_t)s->seed, RANDOM_GUMBEL),
    };
    struct dvae_losses sum = {0};
    memset(d->count, 0, (size_t)s->codes * sizeof *d->count);
    for (int part = 0; part < parts; part++) {
        struct dvae_losses losses;
        step.hi = t->state.step * (uint64_t)parts + (uint64_t)part;
        if (next_pixels(t, micro, d->pixels))
            return -1;
        dvae_train(d->dvae, d->pixels, micro, &step, 1.0f / (float)parts, &losses, d->codes);
        sum.loss += losses.loss / (float)parts;
        sum.nll += losses.nll / (float)parts;
        sum.kl += losses.kl / (float)parts;
        for (size_t i = 0; i < (size_t)micro * grid * grid; i++)
            d->count[d->codes[i]]++;
    }
    int used;
    double perplexity = code_perplexity(d, s->codes, &used);
    metrics_add(m, "loss", sum.loss);
    metrics_add(m, "nll", sum.nll);
    metrics_add(m, "kl", sum.kl);
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
        pictures_free(d->batch, trainer_micro(t));
    pictures_free(d->shown, SHEET_PICTURES);
    dvae_free(&d->dvae);
    free(d->batch);
    free(d->bytes);
    free(d->pixels);
    free(d->codes);
    free(d->count);
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
