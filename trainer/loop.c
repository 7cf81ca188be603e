/* The loop of every task: steps, step size, averages, metrics, checkpoints, resuming. */
#include "common/checkpoint.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/log.h"
#include "common/stage.h"
#include "models/optimizer.h"
#include "trainer/trainer.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT_LIMIT ((size_t)1 << 30) /* bytes of a vocabulary */
#define SKIPPED_LIMIT 50             /* updates without finite gradients, one after the other */

struct loop {
    struct trainer *t;
    struct optimizer optimizer;
    struct tensor average; /* slab; data NULL when no average is kept */
    FILE *metrics;
    int skipped_in_row;
    double clock; /* when the present stretch of training began, less what was elapsed before */
};

void metrics_add(struct metrics *m, const char *name, double value)
{
    m->name[m->count] = name;
    m->value[m->count++] = value;
}

int trainer_micro(const struct trainer *t)
{
    int64_t micro = t->task->bit == TASK_CLIP ? 0 : t->settings.micro;
    return (int)(micro && micro < t->settings.batch ? micro : t->settings.batch);
}

struct part trainer_part(const struct trainer *t)
{
    size_t all = (size_t)trainer_micro(t);
    size_t first = comm_first(t->comm, all, t->comm->rank), end = comm_first(t->comm, all, t->comm->rank + 1);
    return (struct part){first, all - end, (int)(end - first), (double)(end - first) / (double)all};
}

bool trainer_writes(const struct trainer *t)
{
    return t->comm->rank == 0 && !t->planning;
}

bool trainer_draws(const struct trainer *t)
{
    return trainer_writes(t) && t->settings.pictures_every;
}

int trainer_loader(const struct trainer *t, struct part part, int buffers, struct loader **l)
{
    struct loader_settings s = {.data = t->data,
                                .seed = (uint64_t)t->settings.seed,
                                .position = t->state.position,
                                .part = part,
                                .threads = t->threads,
                                .buffers = buffers,
                                .bpe = t->bpe,
                                .prepare = t->task->prepare,
                                .self = t};
    memcpy(s.bytes, t->columns, sizeof s.bytes);
    return loader_open(l, &s);
}

/* The run has a copy of the vocabulary: with it, its directory is a model. */
static int keep_vocab(const struct trainer *t)
{
    if (!t->settings.vocab)
        return 0;
    struct buf file = {0};
    char *path = xasprintf("%s/vocab.json", t->settings.run);
    int rc = file_read(t->settings.vocab, KEPT_LIMIT, &file) ? -1 : file_write(path, file.data, file.len);
    buf_free(&file);
    free(path);
    return rc;
}

/* One slab of the checkpoint, as safetensors. */
static int slab_save(struct params *p, struct tensor slab, const char *dir, const char *name)
{
    char *path = xasprintf("%s/%s.safetensors", dir, name);
    const char *const meta[] = {"kind", name, NULL};
    int rc = params_save(p, slab, path, meta);
    free(path);
    return rc;
}

static int slab_load(struct params *p, struct tensor slab, const char *dir, const char *name)
{
    char *path = xasprintf("%s/%s.safetensors", dir, name);
    struct weights *w;
    int rc = weights_load(&w, path);
    if (!rc) {
        struct params view = *p;
        view.values = slab;
        rc = params_load(&view, w, "") ? err_wrap("%s", path) : 0;
        weights_free(&w);
    }
    free(path);
    return rc;
}

static int write_checkpoint(struct loop *l)
{
    struct trainer *t = l->t;
    if (fflush(l->metrics)) /* its lines must outlive a checkpoint that counts their steps */
        return err_sys("%s/metrics.jsonl", t->settings.run);
    struct params *p = t->task->params(t);
    char *dir = NULL;
    bool averaged = l->average.data;
    int rc = checkpoint_begin(t->settings.run, &dir);
    if (!rc)
        rc = slab_save(p, p->values, dir, "weights") || slab_save(p, l->optimizer.m, dir, "mean") ||
             slab_save(p, l->optimizer.v, dir, "variance") || (averaged && slab_save(p, l->average, dir, "average")) ||
             state_save(&t->state, p, dir);
    if (!rc)
        rc = checkpoint_commit(t->settings.run, t->state.step);
    free(dir);
    if (rc)
        return -1;
    char *path = xasprintf("%s/model.safetensors", t->settings.run);
    rc = t->task->save(t, averaged ? l->average : p->values, path);
    free(path);
    return rc;
}

static int write_pictures(struct loop *l)
{
    struct image sheet = {0};
    int rc = l->t->task->pictures ? l->t->task->pictures(l->t, &sheet) : 0;
    if (rc == 1) {
        struct buf png = {0};
        char *dir = xasprintf("%s/pictures", l->t->settings.run);
        char *path = xasprintf("%s/step-%09" PRIu64 ".png", dir, l->t->state.step);
        rc = file_make_dirs(dir) || image_encode_png(&sheet, &png) || file_write(path, png.data, png.len) ? -1 : 0;
        free(dir);
        free(path);
        buf_free(&png);
        image_free(&sheet);
    }
    return rc ? -1 : curve_write(l->t->settings.run, l->t->task->name);
}

/* Opens metrics.jsonl behind the line of the present step: what came after the checkpoint will be written again. */
static int open_metrics(struct loop *l)
{
    char *path = xasprintf("%s/metrics.jsonl", l->t->settings.run);
    l->metrics = fopen(path, "a+");
    int rc = l->metrics ? 0 : err_sys("%s", path);
    if (!rc) {
        char line[2048];
        long keep = 0;
        uint64_t step;
        rewind(l->metrics);
        while (fgets(line, sizeof line, l->metrics) && sscanf(line, "{\"step\": %" SCNu64, &step) == 1 &&
               step <= l->t->state.step && strchr(line, '\n'))
            keep = ftell(l->metrics);
        if (ftruncate(fileno(l->metrics), keep))
            rc = err_sys("%s", path);
        fseek(l->metrics, 0, SEEK_END);
    }
    free(path);
    return rc;
}

/* A run that kept no average before begins it from where its weights are. */
static int load_average(struct loop *l, struct params *p, const char *dir)
{
    char *path = xasprintf("%s/average.safetensors", dir);
    bool there = !access(path, F_OK);
    free(path);
    if (there)
        return slab_load(p, l->average, dir, "average");
    l->t->k->copy(l->average, p->values, p->total);
    return 0;
}

static char *settings_path(const struct trainer *t)
{
    return xasprintf("%s/settings.json", t->settings.run);
}

/* From the newest checkpoint, or from the start. */
static int begin(struct loop *l)
{
    struct trainer *t = l->t;
    struct params *p = t->task->params(t);
    char *dir = NULL;
    int found = checkpoint_latest(t->settings.run, &dir, &t->state.step);
    int rc = found < 0 ? -1 : 0;
    if (found == 1) {
        char *settings = settings_path(t);
        settings_tell_changes(&t->settings, t->task->bit, settings);
        free(settings);
        rc = state_load(&t->state, p, dir) || slab_load(p, p->values, dir, "weights") ||
             slab_load(p, l->optimizer.m, dir, "mean") || slab_load(p, l->optimizer.v, dir, "variance") ||
             (l->average.data && load_average(l, p, dir));
        l->optimizer.step = (int)(t->state.step - t->state.skipped);
        if (!rc)
            log_info("%s: goes on from step %" PRIu64, t->settings.run, t->state.step);
    } else if (!rc) {
        params_init(p, (uint64_t)t->settings.seed);
        for (int g = 0; t->k->compute == F16 && g < p->groups; g++)
            p->scales[g].scale *= (float)t->comm->size; /* each has a share of the gradient */
        rc = keep_vocab(t) || (t->task->start && t->task->start(t)) ? -1 : 0;
        if (l->average.data)
            t->k->copy(l->average, p->values, p->total);
    }
    free(dir);
    return rc ? -1 : open_metrics(l);
}

/* All go on from where process 0 is. */
static int share_state(struct loop *l)
{
    struct trainer *t = l->t;
    const struct params *p = t->task->params(t);
    return t->comm->broadcast_host(&t->state, sizeof t->state) ||
                   t->comm->broadcast_host(&l->optimizer.step, sizeof l->optimizer.step) ||
                   t->comm->broadcast_host(p->scales, (size_t)p->groups * sizeof *p->scales) ||
                   params_share(p, p->values, t->comm) || params_share(p, l->optimizer.m, t->comm) ||
                   params_share(p, l->optimizer.v, t->comm) || (l->average.data && params_share(p, l->average, t->comm))
               ? -1
               : 0;
}

static int open_run(struct loop *l)
{
    struct trainer *t = l->t;
    const struct params *p = t->task->params(t);
    if (optimizer_new(&l->optimizer, p))
        return -1;
    if (t->settings.average > 0) {
        l->average = params_slab(p, F32);
        if (!l->average.data)
            return err_wrap("averaged weights");
    }
    return (trainer_writes(t) && begin(l)) || share_state(l) ? -1 : 0;
}

/* Whether the processes, perhaps on different hosts, can train on these data together. */
static int compare_processes(const struct trainer *t)
{
    const struct comm *c = t->comm;
    uint64_t own = dataset_count(t->data), first = own;
    if (trainer_micro(t) < c->size)
        return err_set(ERR_USAGE, "%d samples are computed together (--batch, --micro), too few for %d processes",
                       trainer_micro(t), c->size);
    if (c->broadcast_host(&first, sizeof first))
        return -1;
    if (own != first)
        return err_set(ERR_USAGE,
                       "%s: process %d finds %" PRIu64 " records, process 0 %" PRIu64 ": all must see the same data",
                       t->settings.data, c->rank, own, first);
    return 0;
}

/* Holds RUN for this process until it ends, however it ends. */
static int lock_run(const struct trainer *t)
{
    if (file_make_dirs(t->settings.run))
        return -1;
    char *path = xasprintf("%s/.lock", t->settings.run);
    int rc = file_lock(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666), path, "another trainer is at work on this run");
    free(path);
    return rc;
}

static int write_settings(const struct trainer *t)
{
    struct buf text = {0};
    char *path = settings_path(t);
    settings_to_json(&t->settings, t->task->bit, &text);
    int rc = file_write(path, text.data, text.len);
    buf_free(&text);
    free(path);
    return rc;
}

static bool finished(const struct trainer *t)
{
    return t->settings.minutes > 0 ? t->state.elapsed >= 60 * t->settings.minutes
                                   : t->state.step >= (uint64_t)t->settings.steps;
}

static void say_metrics(struct loop *l, const struct metrics *m, float lr, float norm, double seconds)
{
    const struct trainer *t = l->t;
    fprintf(l->metrics, "{\"step\": %" PRIu64, t->state.step);
    for (int i = 0; i < m->count; i++)
        fprintf(l->metrics, ", \"%s\": %.6g", m->name[i], isfinite(m->value[i]) ? m->value[i] : 1e30);
    fprintf(l->metrics, ", \"lr\": %.6g, \"norm\": %.6g, \"seconds\": %.4f}\n", lr, isfinite(norm) ? norm : 1e30,
            seconds);
    double f = trainer_progress(t, 0);
    log_progress("%s step %" PRIu64 " (%.0f%%)  %s %.4f  %.0f samples/s  ETA %.0f s", t->task->name, t->state.step,
                 100 * f, m->name[0], m->value[0], (double)t->settings.batch / seconds,
                 f > 0 ? t->state.elapsed * (1 - f) / f : 0);
}

/* The optimizer leaves an update out whose gradients are not finite; one now and then does no harm. */
static int count_skipped(struct loop *l, float norm)
{
    struct run_state *s = &l->t->state;
    if (isfinite(norm)) {
        l->skipped_in_row = 0;
        return 0;
    }
    s->skipped++;
    if (l->skipped_in_row++ == 0)
        log_warn("step %" PRIu64 ": gradients are not finite; update skipped", s->step + 1);
    if (l->skipped_in_row < SKIPPED_LIMIT)
        return 0;
    return err_set(
        ERR_DATA,
        "%s: the gradients of %d updates in a row were not finite: the run has diverged. Begin a new one with "
        "a lower --lr, a longer --warmup or a smaller --clip",
        l->t->settings.run, SKIPPED_LIMIT);
}

static int one_step(struct loop *l)
{
    struct trainer *t = l->t;
    const struct settings *s = &t->settings;
    struct params *p = t->task->params(t);
    struct metrics m = {0};
    double begin = clock_now();
    t->k->fill(p->grads, 0, p->total);
    if (t->task->step(t, &m) || params_sum_grads(p, t->comm))
        return -1;
    struct optimizer_settings o = {
        .lr = schedule_step_size(t),
        .beta1 = (float)s->beta1,
        .beta2 = (float)s->beta2,
        .eps = (float)s->eps,
        .decay = (float)s->decay,
        .v_max = s->v_max > 0 ? (float)s->v_max : INFINITY,
        .clip_norm = s->clip > 0 ? (float)s->clip : INFINITY,
        .replicas = (float)t->comm->size,
    };
    float norm = optimizer_step(&l->optimizer, &o);
    if (count_skipped(l, norm))
        return -1;
    t->state.step++;
    if (l->average.data && t->state.step % (uint64_t)s->average_every == 0)
        params_average(p, l->average, (float)s->average, t->state.step);
    if (isfinite(m.value[0]))
        schedule_watch(t, m.value[0]);
    t->state.elapsed = clock_now() - l->clock;
    if (trainer_writes(t))
        say_metrics(l, &m, o.lr, norm, clock_now() - begin);
    return l->metrics && ferror(l->metrics) ? err_sys("%s/metrics.jsonl", s->run) : 0;
}

/* The clock is process 0's, and a signal to one of them stops all. */
static int agree(struct trainer *t, bool *stop)
{
    double x[2] = {trainer_writes(t) ? t->state.elapsed : 0, stage_stopping()};
    if (t->comm->sum_host(x, 2))
        return -1;
    t->state.elapsed = x[0];
    *stop = x[1] > 0;
    return 0;
}

/* What is due after an update. */
static int write_due(struct loop *l, uint64_t *saved)
{
    const struct trainer *t = l->t;
    const struct settings *s = &t->settings;
    if (t->state.step % (uint64_t)s->checkpoint_every == 0) {
        if (write_checkpoint(l))
            return -1;
        *saved = t->state.step;
    }
    return s->pictures_every && t->state.step % (uint64_t)s->pictures_every == 0 ? write_pictures(l) : 0;
}

static int train(struct loop *l)
{
    struct trainer *t = l->t;
    l->clock = clock_now() - t->state.elapsed;
    uint64_t saved = t->state.step;
    for (bool stop;;) {
        if (agree(t, &stop))
            return -1;
        if (stop || finished(t))
            break;
        if (one_step(l) || (trainer_writes(t) && write_due(l, &saved)))
            return -1;
    }
    if (!trainer_writes(t))
        return 0;
    if (t->state.step != saved && write_checkpoint(l))
        return -1;
    return t->settings.pictures_every && finished(t) ? write_pictures(l) : 0;
}

static int open_and_train(struct loop *l)
{
    struct trainer *t = l->t;
    if (t->task->open(t) || open_run(l) || (trainer_writes(t) && write_settings(t)) ||
        trainer_loader(t, trainer_part(t), 2, &t->loader) || train(l))
        return -1;
    return t->comm->barrier();
}

int trainer_run(struct trainer *t)
{
    struct loop l = {.t = t};
    if (compare_processes(t) || (trainer_writes(t) && lock_run(t)) || trainer_plan(t))
        return -1;
    if (t->settings.plan)
        return 0;
    int rc = open_and_train(&l);
    if (!rc)
        log_info("%s: %s at step %" PRIu64 ", %.0f s of training; %s/model.safetensors", t->task->name,
                 finished(t) ? "done" : "stopped; the same command goes on", t->state.step, t->state.elapsed,
                 t->settings.run);
    if (l.metrics && fclose(l.metrics) && !rc)
        rc = err_sys("%s/metrics.jsonl", t->settings.run);
    loader_close(&t->loader);
    optimizer_free(&l.optimizer);
    if (l.average.data)
        t->k->free(l.average);
    t->task->close(t);
    return rc;
}
