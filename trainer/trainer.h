/*
 * A training run: the loop (loop.c) around one task (dvae.c, prior.c, clip.c). The loop owns the optimizer, schedules
 * of the step size, the averaged weights, checkpoints, metrics and the clock; a task owns its model and data.
 *
 * Several processes train one model together: each computes its part of the samples, and the sum of their gradients is
 * the batch's, so all take the same steps. Samples, draws and losses are those of one process. Process 0 alone writes.
 */
#ifndef ATELIER_TRAINER_TRAINER_H
#define ATELIER_TRAINER_TRAINER_H

#include "common/image.h"
#include "kernels/comm.h"
#include "models/params.h"
#include "trainer/loader.h"
#include "trainer/settings.h"

/* Where a run stands: all of it is in a checkpoint's state.json. */
struct run_state {
    uint64_t step;                /* updates done */
    uint64_t position;            /* in the training order, behind what was trained on */
    double elapsed;               /* seconds of training */
    double best_mean, window_sum; /* plateau detection: the best window's mean loss; the running window */
    uint64_t window, windows;     /* updates in the running window; windows before it */
    uint64_t halvings, skipped;   /* step size halvings; updates skipped because a gradient was not finite */
};

struct trainer {
    struct settings settings;
    const struct task *task;
    int threads;
    const struct kernels *k;
    const struct comm *comm; /* the processes that train together */
    struct dataset *data;    /* the loader's while there is one */
    struct bpe *bpe;         /* NULL: the task needs no vocabulary */
    struct loader *loader;   /* of the parts that step works on */
    struct run_state state;
    void *model;                    /* the task's own */
    size_t columns[LOADER_COLUMNS]; /* bytes of a sample in each; set by the task's open, as is: */
    size_t scratch;                 /* bytes that an operation of a GPU takes at most, about */
    bool planning;                  /* the model is only made to count its memory */
};

/* Numbers of one update, for the metrics line; the first is the loss. */
#define METRICS_MAX 8
struct metrics {
    int count;
    const char *name[METRICS_MAX];
    double value[METRICS_MAX];
};
void metrics_add(struct metrics *m, const char *name, double value);

struct task {
    const char *name;
    enum task_bit bit;
    const char *doc;
    int (*open)(struct trainer *t);  /* builds the model; data and vocabulary are open. 0 or -1 */
    int (*start)(struct trainer *t); /* of a new run, after the weights were drawn; may be NULL */
    struct params *(*params)(struct trainer *t);
    /* loader.h's: `self` is the trainer, of which nothing but the state changes meanwhile. */
    int (*prepare)(const void *self, struct loader_worker *with, uint64_t sample, void *const *row);
    /* Adds the gradients of this process's part of a whole batch; the metrics are the batch's. 0 or -1. */
    int (*step)(struct trainer *t, struct metrics *m);
    int (*save)(struct trainer *t, struct tensor slab, const char *path);
    int (*pictures)(struct trainer *t, struct image *sheet); /* 1 a sheet, 0 none, -1; may be NULL */
    void (*close)(struct trainer *t);
};
extern const struct task task_dvae, task_prior, task_clip;

/* Runs or resumes. 0 or -1. */
int trainer_run(struct trainer *t);

/* Share of the run that is done, 0 .. 1, by steps or by the clock; and of a schedule of `length` updates (0: the run).
 */
double trainer_progress(const struct trainer *t, int64_t length);
/* The step size of the present update. */
float schedule_step_size(const struct trainer *t);
/* Counts an update's loss, and halves the step size when the mean of --plateau updates is no better than the best
 * before it. */
void schedule_watch(struct trainer *t, double loss);
/* From a to b along half a cosine, f from 0 to 1. */
double cosine(double a, double b, double f);

/* state.json in a checkpoint's directory: the state, and the scales of the gradients. 0 or -1. */
int state_save(const struct run_state *s, const struct params *p, const char *dir);
int state_load(struct run_state *s, struct params *p, const char *dir);

/* Counts and says what training takes up on the device, before it is tried. 0, or -1: more than there is. */
int trainer_plan(struct trainer *t);

/* Whether this process writes: checkpoints, metrics, pictures, copies. */
bool trainer_writes(const struct trainer *t);
/* Whether it will draw the task's pictures. */
bool trainer_draws(const struct trainer *t);

/* Samples computed together, by all processes, and this process's part of them. */
int trainer_micro(const struct trainer *t);
struct part trainer_part(const struct trainer *t);
/* A loader of such parts from the present position on. 0 or -1. */
int trainer_loader(const struct trainer *t, struct part part, int buffers, struct loader **l);

/* Writes RUN/curve.svg from RUN/metrics.jsonl. 0 or -1. */
int curve_write(const char *run, const char *title);

/* Puts `count` pictures [side, side, 3] on a sheet of `columns`, enlarged by `zoom`. */
void sheet_make(const uint8_t *pictures, int count, int side, int columns, int zoom, struct image *sheet);

#endif
