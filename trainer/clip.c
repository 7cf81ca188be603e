/* CLIP's task: pictures and captions in, the symmetric loss out. */
#include "models/clip.h"
#include "common/err.h"
#include "common/log.h"
#include "common/random.h"
#include "models/augment.h"
#include "models/clip_text.h"
#include "trainer/trainer.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOGIT_SCALE_MAX 4.605170185988092f /* ln 100, as OpenAI's */

enum { PIXELS, TEXT }; /* columns: [own part of the batch, side, side, 3]; [own, context] */

struct clip_task {
    struct clip *clip;
    enum augment augment;
    int logit_scale;
};

static int open_clip(struct trainer *t)
{
    const struct settings *s = &t->settings;
    struct clip_task *c = t->model = xcalloc(1, sizeof *c);
    c->augment = strcmp(s->augment, "paper") != 0 ? AUGMENT_NONE : AUGMENT_PRIOR;
    struct clip_config config = {
        (int)s->side,    (int)s->patch,           (int)s->width,      (int)s->layers,      (int)s->heads,
        (int)s->context, clip_text_vocab(t->bpe), (int)s->text_width, (int)s->text_layers, (int)s->text_heads,
        (int)s->embed};
    int own = trainer_part(t).own;
    if (clip_new(&c->clip, t->k, &config, own, true) || clip_join(c->clip, t->comm, (int)s->batch))
        return -1;
    const struct params *p = clip_params(c->clip);
    while (strcmp(p->list[c->logit_scale].name, "logit_scale") != 0)
        c->logit_scale++;
    if ((uint64_t)s->batch > dataset_count(t->data))
        log_warn("--batch %" PRId64 ", but %s has %" PRIu64 " records: pictures are told from themselves", s->batch,
                 s->data, dataset_count(t->data));
    size_t values = (size_t)s->side * (size_t)s->side * 3;
    t->scratch = t->k->compute == F32 ? 0 : (size_t)own * values * dtype_size(t->k->compute);
    t->columns[PIXELS] = values * sizeof(float);
    t->columns[TEXT] = (size_t)s->context * sizeof(int32_t);
    return 0;
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

static int prepare_clip(const void *self, struct loader_worker *with, uint64_t sample, void *const *row)
{
    const struct trainer *t = self;
    const struct clip_task *c = t->model;
    const struct settings *s = &t->settings;
    const struct record *r = &with->record;
    struct image whole = {0}, crop = {0};
    int side = (int)s->side;
    if (dataset_picture(r, &whole))
        return -1;
    if (c->augment != AUGMENT_NONE)
        augment(&whole, c->augment, side, random_key((uint64_t)s->seed, RANDOM_AUGMENT), sample, &crop);
    clip_preprocess(crop.rgb ? &crop : &whole, side, row[PIXELS]);
    image_free(&whole);
    image_free(&crop);
    clip_text_ids(t->bpe, with->bpe, (const char *)r->caption.data, r->caption.len, (int)s->context, &with->ids,
                  row[TEXT]);
    return 0;
}

static int step_clip(struct trainer *t, struct metrics *m)
{
    struct clip_task *c = t->model;
    const struct settings *s = &t->settings;
    int correct;
    float loss;
    limit_scale(t);
    void *const *columns = loader_next(t->loader, &t->state.position);
    if (!columns || clip_train(c->clip, columns[PIXELS], columns[TEXT], trainer_part(t).own, &loss, &correct))
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
    clip_free(&c->clip);
    free(c);
}

const struct task task_clip = {
    .name = "clip",
    .bit = TASK_CLIP,
    .doc = "CLIP: which caption belongs to which picture",
    .open = open_clip,
    .params = params_of_clip,
    .prepare = prepare_clip,
    .step = step_clip,
    .save = save_clip,
    .close = close_clip,
};
