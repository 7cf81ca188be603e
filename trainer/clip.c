/* CLIP's task: pictures and captions in, the symmetric loss out. */
#include "models/clip.h"
#include "common/err.h"
#include "common/log.h"
#include "common/random.h"
#include "models/bpe.h"
#include "models/clip_text.h"
#include "trainer/pictures.h"
#include "trainer/trainer.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOGIT_SCALE_MAX 4.605170185988092f /* ln 100, as OpenAI's */

struct clip_task {
    struct clip *clip;
    struct bpe *bpe;
    struct bpe_worker *worker;
    enum augment augment;
    struct ints ids;
    struct picture *batch; /* [own part of the batch] */
    float *pixels;         /* [own, side, side, 3] */
    int32_t *text;         /* [own, context] */
    int logit_scale;
};

static int open_clip(struct trainer *t)
{
    const struct settings *s = &t->settings;
    struct clip_task *c = t->model = xcalloc(1, sizeof *c);
    c->augment = strcmp(s->augment, "paper") != 0 ? AUGMENT_NONE : AUGMENT_PRIOR;
    if (bpe_open(&c->bpe, s->vocab))
        return -1;
    c->worker = bpe_worker_new(c->bpe);
    struct clip_config config = {
        (int)s->side,    (int)s->patch,           (int)s->width,      (int)s->layers,      (int)s->heads,
        (int)s->context, clip_text_vocab(c->bpe), (int)s->text_width, (int)s->text_layers, (int)s->text_heads,
        (int)s->embed};
    int own = trainer_part(t).own;
    if (clip_new(&c->clip, t->k, &config, own, true) || clip_join(c->clip, t->comm, (int)s->batch))
        return -1;
    const struct params *p = clip_params(c->clip);
    while (strcmp(p->list[c->logit_scale].name, "logit_scale") != 0)
        c->logit_scale++;
    size_t n = (size_t)own;
    if ((uint64_t)s->batch > dataset_count(t->data))
        log_warn("--batch %" PRId64 ", but %s has %" PRIu64 " records: pictures are told from themselves", s->batch,
                 s->data, dataset_count(t->data));
    c->batch = xcalloc(n, sizeof *c->batch);
    c->pixels = xmalloc(n * (size_t)s->side * s->side * 3 * sizeof *c->pixels);
    c->text = xmalloc(n * (size_t)s->context * sizeof *c->text);
    return 0;
}

static int start_clip(struct trainer *t)
{
    return trainer_keep(t, t->settings.vocab, "vocab.json");
}

static struct params *params_of_clip(struct trainer *t)
{
    return clip_params(((struct clip_task *)t->model)->clip);
}

static void limit_scale(struct trainer *t)
{
    struct clip_task *c = t->model;
    struct tensor at = param_value(clip_params(c->clip), c->logit_scale);
    float scale;
    t->k->download(&scale, at, 1);
    if (scale > LOGIT_SCALE_MAX)
        t->k->fill(at, LOGIT_SCALE_MAX, 1);
}

static int step_clip(struct trainer *t, struct metrics *m)
{
    struct clip_task *c = t->model;
    const struct settings *s = &t->settings;
    struct part part = trainer_part(t);
    int n = part.own, side = (int)s->side;
    uint64_t seed = (uint64_t)s->seed, key = random_key(seed, RANDOM_AUGMENT);
    limit_scale(t);
    if (dataset_skip(t->data, seed, &t->state.position, part.before) ||
        pictures_next(t->data, seed, &t->state.position, c->batch, n) ||
        dataset_skip(t->data, seed, &t->state.position, part.behind))
        return -1;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < n; i++) {
        struct image crop = {0};
        if (c->augment != AUGMENT_NONE)
            augment(&c->batch[i].image, c->augment, side, key, c->batch[i].sample, &crop);
        clip_preprocess(crop.rgb ? &crop : &c->batch[i].image, side, c->pixels + (size_t)i * side * side * 3);
        image_free(&crop);
    }
    for (int i = 0; i < n; i++) {
        const struct record *r = &c->batch[i].record;
        clip_text_ids(c->bpe, c->worker, (const char *)r->caption.data, r->caption.len, (int)s->context, &c->ids,
                      c->text + (size_t)i * (size_t)s->context);
    }
    int correct;
    float loss;
    if (clip_train(c->clip, c->pixels, c->text, n, &loss, &correct))
        return -1;
    double sums[2] = {loss, correct};
    if (t->comm->sum_host(sums, 2))
        return -1;
    metrics_add(m, "loss", sums[0]);
    metrics_add(m, "accuracy", sums[1] / (double)s->batch);
    metrics_add(m, "scale", clip_logit_scale(c->clip));
    return 0;
}

static int save_clip(struct trainer *t, struct tensor slab, const char *path)
{
    return clip_save(((struct clip_task *)t->model)->clip, slab, path);
}

static void close_clip(struct trainer *t)
{
    struct clip_task *c = t->model;
    if (!c)
        return;
    if (c->batch)
        pictures_free(c->batch, trainer_part(t).own);
    clip_free(&c->clip);
    bpe_worker_free(&c->worker);
    bpe_free(&c->bpe);
    free(c->ids.data);
    free(c->batch);
    free(c->pixels);
    free(c->text);
    free(c);
}

const struct task task_clip = {
    .name = "clip",
    .bit = TASK_CLIP,
    .doc = "CLIP: which caption belongs to which picture",
    .open = open_clip,
    .start = start_clip,
    .params = params_of_clip,
    .step = step_clip,
    .save = save_clip,
    .close = close_clip,
};
