/* The prior's task: captions and codes in, the transformer's loss out. */
#include "models/prior.h"
#include "common/err.h"
#include "common/log.h"
#include "common/random.h"
#include "models/dvae.h"
#include "models/model_path.h"
#include "trainer/trainer.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SHEET_CAPTIONS 8
#define SHEET_CANDIDATES 4

/* Columns of I32: [own part of what is computed together, T]; [own, G * G]; [own], whether the caption was cut. */
enum { TEXT, IMAGE, CUT };

struct prior_task {
    struct prior *prior;
    struct dvae *dvae; /* NULL: no sample pictures */
    struct prior_sampler *sampler;
    int32_t *shown_text, *shown_image; /* [shown, T], [shown, G * G]: what the sheets show */
    int shown;
    double cut; /* captions of all batches and processes */
};

enum { SUM_LOSS, SUM_TEXT, SUM_IMAGE, SUM_CUT, SUMS };

static int open_own_dvae(struct trainer *t, struct prior_task *p)
{
    char *from = model_path(t->settings.dvae);
    int rc = dvae_open(&p->dvae, t->k, from, NULL, 0, 1);
    free(from);
    return rc;
}

/* The grid's side and the number of codes, from the data and the dVAE. */
static int find_sizes(struct trainer *t, struct prior_task *p, struct prior_config *c)
{
    const struct settings *s = &t->settings;
    struct record r = {0};
    int rc = 0;
    for (uint64_t i = 0; i < dataset_count(t->data) && !rc; i++)
        rc = dataset_get(t->data, i, &r);
    bool codes = record_has(&r, FIELD_GRID) && record_has(&r, FIELD_CODES), tokens = record_has(&r, FIELD_TOKENS);
    c->grid = (int)r.grid;
    record_free(&r);
    if (rc < 0)
        return -1;
    if (!rc || !codes)
        return err_set(ERR_DATA, "%s: records without codes; run them through atelier encode first", s->data);
    if (s->dropout == 0 && !tokens)
        return err_set(ERR_DATA, "%s: records without tokens; run them through atelier tokenize, or give --bpe-dropout",
                       s->data);
    c->image_vocab = p->dvae ? dvae_config(p->dvae)->vocab : (int)s->codes;
    if (p->dvae && s->codes && s->codes != c->image_vocab)
        return err_set(ERR_USAGE, "--codes %" PRId64 ", but %s has %d", s->codes, s->dvae, c->image_vocab);
    if (p->dvae && dvae_grid(p->dvae) != c->grid)
        return err_set(ERR_DATA, "%s: codes of a %dx%d grid, but %s makes %dx%d", s->data, c->grid, c->grid, s->dvae,
                       dvae_grid(p->dvae), dvae_grid(p->dvae));
    return 0;
}

/* Ids of the record's caption, with -1 behind their end, and the codes of one of its views. */
static int prepare_prior(const void *self, struct loader_worker *with, uint64_t sample, void *const *row)
{
    const struct trainer *t = self;
    const struct settings *s = &t->settings;
    const struct prior_config *c = prior_config(((const struct prior_task *)t->model)->prior);
    const struct record *r = &with->record;
    int32_t *text = row[TEXT], *image = row[IMAGE], *cut = row[CUT];
    size_t codes = (size_t)c->grid * (size_t)c->grid, views = r->codes.len / codes;
    if (!record_has(r, FIELD_CODES) || (int)r->grid != c->grid || !views || r->codes.len % codes)
        return err_set(ERR_DATA, "record %" PRIu64 ": codes of another grid than %dx%d", r->id, c->grid, c->grid);
    if (s->dropout == 0 && !record_has(r, FIELD_TOKENS))
        return err_set(ERR_DATA, "record %" PRIu64 ": no tokens", r->id);
    uint64_t seed = (uint64_t)s->seed;
    with->ids.len = 0;
    if (s->dropout > 0)
        bpe_encode_dropout(with->bpe, (const char *)r->caption.data, r->caption.len, (float)s->dropout,
                           random_key(seed, RANDOM_DROPOUT), sample, &with->ids);
    const struct ints *ids = s->dropout > 0 ? &with->ids : &r->tokens;
    size_t count = ids->len;
    if (random_uniform(random_key(seed, RANDOM_CAPTION), sample, 0) < (float)s->caption_dropout)
        count = 0;
    *cut = count > (size_t)c->text_len;
    for (size_t i = 0; i < (size_t)c->text_len; i++) {
        text[i] = i < count ? ids->data[i] : -1;
        if (text[i] < -1 || text[i] >= c->text_vocab)
            return err_set(ERR_DATA, "record %" PRIu64 ": token %d is not in %s", r->id, text[i], s->vocab);
    }
    size_t view = (size_t)(random_uniform(random_key(seed, RANDOM_VIEW), sample, 0) * (float)views);
    memcpy(image, r->codes.data + view * codes, codes * sizeof *image);
    for (size_t i = 0; i < codes; i++)
        if (image[i] < 0 || image[i] >= c->image_vocab)
            return err_set(ERR_DATA, "record %" PRIu64 ": code %d, but the dVAE has %d", r->id, image[i],
                           c->image_vocab);
    return 0;
}

/* Some captions with their codes, from all over the data, for the sheets. */
static int read_shown(struct trainer *t)
{
    struct prior_task *p = t->model;
    const struct prior_config *c = prior_config(p->prior);
    size_t codes = (size_t)c->grid * (size_t)c->grid;
    struct loader_worker with = {.bpe = bpe_worker_new(t->bpe)};
    uint64_t n = dataset_count(t->data);
    int rc = 0;
    p->shown_text = xmalloc((size_t)SHEET_CAPTIONS * (size_t)c->text_len * sizeof *p->shown_text);
    p->shown_image = xmalloc((size_t)SHEET_CAPTIONS * codes * sizeof *p->shown_image);
    for (uint64_t i = 0; i < SHEET_CAPTIONS && rc >= 0; i++) {
        int32_t cut;
        void *const row[] = {p->shown_text + (size_t)p->shown * (size_t)c->text_len,
                             p->shown_image + (size_t)p->shown * codes, &cut};
        rc = dataset_get(t->data, n * i / SHEET_CAPTIONS, &with.record);
        if (rc == 1 && (rc = prepare_prior(t, &with, 0, row)) == 0)
            p->shown++;
    }
    bpe_worker_free(&with.bpe);
    record_free(&with.record);
    free(with.ids.data);
    return rc < 0 ? -1 : 0;
}

static int open_prior(struct trainer *t)
{
    const struct settings *s = &t->settings;
    struct prior_task *p = t->model = xcalloc(1, sizeof *p);
    int own = trainer_part(t).own;
    if (s->dvae && open_own_dvae(t, p))
        return -1;
    struct prior_config c = {.layers = (int)s->layers,
                             .heads = (int)s->heads,
                             .head_dim = (int)s->head_dim,
                             .text_vocab = bpe_vocab(t->bpe),
                             .text_len = (int)s->text_len,
                             .kernel = (int)s->kernel};
    if (find_sizes(t, p, &c) || prior_new(&p->prior, t->k, &c, own, s->recompute ? PRIOR_RECOMPUTE : PRIOR_TRAIN))
        return -1;
    t->scratch = t->k->compute == F32 ? 0 : prior_logits(p->prior) * dtype_size(t->k->compute);
    t->columns[TEXT] = (size_t)c.text_len * sizeof(int32_t);
    t->columns[IMAGE] = (size_t)c.grid * (size_t)c.grid * sizeof(int32_t);
    t->columns[CUT] = sizeof(int32_t);
    if (!p->dvae)
        return 0;
    return prior_sampler_new(&p->sampler, p->prior, SHEET_CANDIDATES) || (trainer_draws(t) && read_shown(t)) ? -1 : 0;
}

/* A run's directory is a model: it gets all that a sampler needs. */
static int start_prior(struct trainer *t)
{
    const struct prior_task *p = t->model;
    if (!p->dvae)
        return 0;
    char *path = xasprintf("%s/dvae.safetensors", t->settings.run);
    int rc = dvae_save(p->dvae, dvae_params(p->dvae)->values, path);
    free(path);
    return rc;
}

static struct params *params_of_prior(struct trainer *t)
{
    return prior_params(((struct prior_task *)t->model)->prior);
}

static int step_prior(struct trainer *t, struct metrics *m)
{
    struct prior_task *p = t->model;
    struct part part = trainer_part(t);
    int parts = (int)(t->settings.batch / trainer_micro(t));
    double sums[SUMS] = {0}, share = part.share / parts;
    for (int i = 0; i < parts; i++) {
        struct prior_losses losses;
        void *const *columns = loader_next(t->loader, &t->state.position);
        if (!columns)
            return -1;
        prior_train(p->prior, columns[TEXT], columns[IMAGE], part.own, (float)share, &losses);
        sums[SUM_LOSS] += losses.loss * share;
        sums[SUM_TEXT] += losses.text * share;
        sums[SUM_IMAGE] += losses.image * share;
        for (int j = 0; j < part.own; j++)
            sums[SUM_CUT] += ((const int32_t *)columns[CUT])[j];
    }
    if (t->comm->sum_host(sums, SUMS))
        return -1;
    p->cut += sums[SUM_CUT];
    metrics_add(m, "loss", sums[SUM_LOSS]);
    metrics_add(m, "text", sums[SUM_TEXT]);
    metrics_add(m, "image", sums[SUM_IMAGE]);
    return 0;
}

static int save_prior(struct trainer *t, struct tensor slab, const char *path)
{
    return prior_save(((struct prior_task *)t->model)->prior, slab, path);
}

/* A row a caption: what its own codes decode to, then samples. */
static int sheet_prior(struct trainer *t, struct image *sheet)
{
    struct prior_task *p = t->model;
    if (!p->dvae)
        return 0;
    const struct prior_config *c = prior_config(p->prior);
    int side = dvae_side(p->dvae), columns = 1 + SHEET_CANDIDATES, rc = 0;
    size_t codes = (size_t)c->grid * (size_t)c->grid, picture = (size_t)side * side * 3;
    int32_t *image = xmalloc(codes * (size_t)columns * sizeof *image);
    uint8_t *pictures = xcalloc((size_t)SHEET_CAPTIONS * columns, picture);
    struct prior_draw d = {.draw = {1, 0, 1}, .guidance = 1, .seed = (uint64_t)t->settings.seed};
    for (int row = 0; row < p->shown && !rc; row++) {
        const int32_t *text = p->shown_text + (size_t)row * (size_t)c->text_len;
        memcpy(image, p->shown_image + (size_t)row * codes, codes * sizeof *image);
        rc = prior_sample(p->sampler, text, SHEET_CANDIDATES, &d, image + codes, NULL, NULL);
        for (int j = 0; j < columns && !rc; j++)
            dvae_decode(p->dvae, image + (size_t)j * codes, 1, pictures + ((size_t)row * columns + j) * picture);
    }
    if (!rc)
        sheet_make(pictures, p->shown * columns, side, columns, side < 64 ? 3 : 1, sheet);
    free(image);
    free(pictures);
    return rc ? -1 : 1;
}

static void close_prior(struct trainer *t)
{
    struct prior_task *p = t->model;
    if (!p)
        return;
    if (p->cut > 0)
        log_info("%.0f captions were longer than %" PRId64 " ids and were cut", p->cut, t->settings.text_len);
    prior_sampler_free(&p->sampler);
    prior_free(&p->prior);
    dvae_free(&p->dvae);
    free(p->shown_text);
    free(p->shown_image);
    free(p);
}

const struct task task_prior = {
    .name = "prior",
    .bit = TASK_PRIOR,
    .doc = "the transformer: captions to codes",
    .open = open_prior,
    .start = start_prior,
    .params = params_of_prior,
    .prepare = prepare_prior,
    .step = step_prior,
    .save = save_prior,
    .pictures = sheet_prior,
    .close = close_prior,
};
