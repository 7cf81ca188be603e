/*
 * The numbers of a training run. One table names each with its tasks, range and place, so that options, presets and the
 * record kept beside a run (settings.json) are the same thing. MODELS.md gives the paper's values: --preset paper.
 */
#ifndef ATELIER_TRAINER_SETTINGS_H
#define ATELIER_TRAINER_SETTINGS_H

#include "common/mem.h"
#include "kernels/kernels.h"
#include <stdint.h>

enum task_bit { TASK_DVAE = 1, TASK_PRIOR = 2, TASK_CLIP = 4, TASK_ALL = 7 };

struct settings {
    /* Where from and where to. */
    char *data, *run, *vocab, *dvae;
    /* How long; schedules without a length of their own span it. */
    int64_t steps;
    double minutes; /* ends after so much training time instead, schedules following the clock; 0: steps decide */
    int64_t batch, micro, seed, threads;
    char *device, *precision;
    int64_t recompute, plan;
    int64_t checkpoint_every, pictures_every, memory;
    /* Optimizer. */
    double lr, lr_end, beta1, beta2, eps, decay, clip, v_max, average;
    int64_t warmup, lr_steps, average_every, plateau, halvings;
    /* dVAE. */
    int64_t side, hidden, init, groups, blocks, codes, kl_steps, tau_steps, kmeans;
    double kl, tau, tau_end, entropy, kmeans_scale, scale_floor;
    /* Prior. */
    int64_t layers, heads, head_dim, text_len, kernel;
    double dropout, caption_dropout;
    /* CLIP. */
    int64_t patch, width, embed, context, text_width, text_layers, text_heads;
    char *augment;
};

enum setting_type { SETTING_INT, SETTING_REAL, SETTING_TEXT };

struct setting {
    const char *name; /* the option is --name */
    unsigned tasks;   /* task_bit set */
    enum setting_type type;
    size_t offset; /* in struct settings */
    double low, high;
    const char *argument, *help;
};
extern const struct setting settings_table[]; /* ends with a name of NULL */

/* Defaults, then a preset over them ("demo", "small", "paper"). 0, or -1 naming the presets of the task. */
void settings_init(struct settings *s);
int settings_preset(struct settings *s, enum task_bit task, const char *preset);
/* 0, or -1: not a setting of this task, or out of range. */
int settings_set(struct settings *s, enum task_bit task, const char *name, const char *value);
/* Whether they make sense together: 0, or -1 naming those that do not. */
int settings_check(const struct settings *s, enum task_bit task);
/* What `precision` asks for on `device`. */
enum dtype settings_compute(const struct settings *s);
void settings_free(struct settings *s);

/* All settings of the task, as a JSON object. */
void settings_to_json(const struct settings *s, enum task_bit task, struct buf *out);
/* Warns of each setting that differs from those that were so kept in `path`, if it is there. */
void settings_tell_changes(const struct settings *s, enum task_bit task, const char *path);

#endif
