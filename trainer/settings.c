/* The table of settings, and the presets. */
#include "trainer/settings.h"
#include "common/err.h"
#include "common/log.h"
#include "common/stage.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define MANY 1e15
#define BELOW_ONE 0.99999 /* the largest share that is not all: of 1, corrections for a young mean divide by zero */
#define INT(field, option, tasks, low, high, arg, help)                                                                \
    {                                                                                                                  \
        option, tasks, SETTING_INT, offsetof(struct settings, field), low, high, arg, help                             \
    }
#define REAL(field, option, tasks, low, high, help)                                                                    \
    {                                                                                                                  \
        option, tasks, SETTING_REAL, offsetof(struct settings, field), low, high, "X", help                            \
    }
#define TEXT(field, option, tasks, arg, help)                                                                          \
    {                                                                                                                  \
        option, tasks, SETTING_TEXT, offsetof(struct settings, field), 0, 0, arg, help                                 \
    }

const struct setting settings_table[] = {
    TEXT(data, "data", TASK_ALL, "URI", "Records to train on: lmdb:PATH is read at random; others are kept in memory"),
    TEXT(run, "run", TASK_ALL, "DIR", "Checkpoints, metrics, pictures and model.safetensors go here; resumed if there"),
    TEXT(vocab, "vocab", TASK_PRIOR | TASK_CLIP, "FILE", "Vocabulary (tokenizer.json, or CLIP's merges)"),
    TEXT(dvae, "dvae", TASK_PRIOR, "FILE",
         "dVAE that made the codes: kept beside the model, draws the sample pictures"),
    INT(steps, "steps", TASK_ALL, 1, MANY, "N", "Updates in all"),
    REAL(minutes, "minutes", TASK_ALL, 0, 1e7,
         "End after so many minutes of training instead; schedules follow the clock"),
    INT(batch, "batch", TASK_ALL, 1, 1e6, "N", "Samples an update, by all processes"),
    INT(micro, "micro", TASK_ALL, 0, 1e6, "N",
        "Samples computed together, by all processes (0: the whole batch; CLIP: always that)"),
    INT(seed, "seed", TASK_ALL, 0, MANY, "N", "Seed of all draws"),
    INT(threads, "threads", TASK_ALL, 0, 1024, "N", "Threads (0: all cores); results do not depend on it"),
    TEXT(device, "device", TASK_ALL, "cpu|cuda[:N]|auto",
         "Where to compute; auto: on CUDA's first device if there is one"),
    TEXT(precision, "precision", TASK_ALL, "auto|fp32|bf16|fp16",
         "What matrices and states are held in (auto: bf16 on CUDA, fp32 on the CPU; fp16 is the prior's alone)"),
    INT(recompute, "recompute", TASK_PRIOR, 0, 1, "0|1",
        "1: keep each layer's input alone for the backward pass; less memory, a third more time"),
    INT(plan, "plan", TASK_ALL, 0, 1, "0|1", "1: print the memory that training takes, and end"),
    INT(checkpoint_every, "checkpoint-every", TASK_ALL, 1, MANY, "N", "Updates between checkpoints"),
    INT(pictures_every, "pictures-every", TASK_ALL, 0, MANY, "N", "Updates between picture sheets (0: none)"),
    INT(memory, "memory", TASK_ALL, 1, 1e6, "MIB",
        "Most memory for records that are not in a store, and for the pictures of --kmeans"),
    REAL(lr, "lr", TASK_ALL, 0, 10, "Step size, the highest"),
    REAL(lr_end, "lr-end", TASK_ALL, 0, 10, "Step size at the end of its cosine"),
    INT(lr_steps, "lr-steps", TASK_ALL, 0, MANY, "N", "Length of the step size's cosine (0: the whole run)"),
    INT(warmup, "warmup", TASK_ALL, 0, MANY, "N", "Updates of linear warm-up"),
    INT(plateau, "plateau", TASK_ALL, 0, MANY, "N",
        "Halve the step size when the mean loss of N updates has not fallen below the best (0: cosine instead)"),
    INT(halvings, "halvings", TASK_ALL, 0, 100, "N", "Most halvings"),
    REAL(beta1, "beta1", TASK_ALL, 0, BELOW_ONE, "AdamW: running mean"),
    REAL(beta2, "beta2", TASK_ALL, 0, BELOW_ONE, "AdamW: running variance"),
    REAL(eps, "eps", TASK_ALL, 1e-30, 1, "AdamW: added to the deviation"),
    REAL(decay, "decay", TASK_ALL, 0, 1, "AdamW: decoupled weight decay"),
    REAL(clip, "clip", TASK_ALL, 0, 1e9, "Clip gradients by this global norm (0: never)"),
    REAL(v_max, "v-max", TASK_ALL, 0, 1e30, "Clip the running variance (0: never)"),
    REAL(average, "average", TASK_ALL, 0, BELOW_ONE, "Running average of the weights: share kept (0: no average)"),
    INT(average_every, "average-every", TASK_ALL, 1, MANY, "N", "Updates between averagings"),
    INT(side, "side", TASK_DVAE | TASK_CLIP, 8, 4096, "PIXELS", "Side of the pictures"),
    TEXT(augment, "augment", TASK_DVAE | TASK_CLIP, "none|paper", "Pictures as they are (centred), or random crops"),
    INT(hidden, "hidden", TASK_DVAE, 4, 4096, "N", "n_hid: channels of the outer group"),
    INT(init, "init-width", TASK_DVAE, 1, 4096, "N", "n_init: channels of the decoder's first layer"),
    INT(groups, "groups", TASK_DVAE, 1, 8, "N", "Groups of blocks, a 2x2 pooling between each two"),
    INT(blocks, "blocks", TASK_DVAE, 1, 64, "N", "Residual blocks a group"),
    INT(codes, "codes", TASK_DVAE | TASK_PRIOR, 2, 65536, "N", "Codebook size V (prior: where no --dvae tells)"),
    REAL(kl, "kl", TASK_DVAE, 0, 1e6, "Weight of the KL term (beta) once it has risen"),
    INT(kl_steps, "kl-steps", TASK_DVAE, 0, MANY, "N", "Length of its rise (0: the whole run)"),
    REAL(tau, "tau", TASK_DVAE, 1e-3, 100, "Relaxation temperature at the start"),
    REAL(tau_end, "tau-end", TASK_DVAE, 1e-3, 100, "and at the end"),
    INT(tau_steps, "tau-steps", TASK_DVAE, 0, MANY, "N", "Length of its cosine (0: the whole run)"),
    INT(kmeans, "kmeans", TASK_DVAE, 0, 1e6, "N",
        "Start the codebook from k-means of N pictures' features (0: at random, the paper's way)"),
    REAL(kmeans_scale, "kmeans-scale", TASK_DVAE, 1e-3, 1e6, "Scale of the k-means logits: larger is softer"),
    REAL(entropy, "entropy", TASK_DVAE, 0, 1e6, "Bonus on the entropy of the mean code use (0: the paper's loss)"),
    REAL(scale_floor, "scale-floor", TASK_DVAE, 0, 10,
         "Least scale b of the logit-Laplace density (0: the paper's); 0.1 keeps flat backgrounds from drowning the "
         "rest"),
    INT(layers, "layers", TASK_PRIOR | TASK_CLIP, 1, 1024, "N", "Layers (CLIP: of the image tower)"),
    INT(heads, "heads", TASK_PRIOR | TASK_CLIP, 1, 1024, "N", "Attention heads (CLIP: of the image tower)"),
    INT(head_dim, "head-dim", TASK_PRIOR, 1, 1024, "N", "Channels of a head"),
    INT(text_len, "text-len", TASK_PRIOR, 1, 4096, "T", "Text positions"),
    INT(kernel, "kernel", TASK_PRIOR, 1, 255, "K", "Window of the last layer's mask, odd"),
    REAL(dropout, "bpe-dropout", TASK_PRIOR, 0, 1, "Probability of leaving a BPE merge out"),
    REAL(caption_dropout, "caption-dropout", TASK_PRIOR, 0, 1,
         "Probability of leaving the whole caption out, which the sampler's --guidance needs (0: the paper's)"),
    INT(patch, "patch", TASK_CLIP, 1, 256, "PIXELS", "Side of a patch"),
    INT(width, "width", TASK_CLIP, 1, 16384, "N", "Channels of the image tower"),
    INT(embed, "embed", TASK_CLIP, 1, 16384, "N", "Channels of the shared space"),
    INT(context, "context", TASK_CLIP, 3, 4096, "N", "Text positions, start and end tokens included"),
    INT(text_width, "text-width", TASK_CLIP, 1, 16384, "N", "Channels of the text tower"),
    INT(text_layers, "text-layers", TASK_CLIP, 1, 1024, "N", "Layers of the text tower"),
    INT(text_heads, "text-heads", TASK_CLIP, 1, 1024, "N", "Heads of the text tower"),
    {0},
};

/* name=value pairs over the defaults. "paper": MODELS.md; "small": a laptop and an evening; "demo": minutes. */
static const struct preset {
    enum task_bit task;
    const char *name, *values;
} presets[] = {
    {TASK_DVAE, "paper",
     "side=256 hidden=256 init-width=128 groups=4 blocks=2 codes=8192 batch=512 steps=3000000 lr=1e-4 lr-end=1.25e-6 "
     "lr-steps=1200000 warmup=0 beta1=0.9 beta2=0.999 eps=1e-8 decay=1e-4 clip=0 v-max=0 average=0.999 kl=6.6 "
     "kl-steps=5000 tau=1 tau-end=0.0625 tau-steps=150000 kmeans=0 entropy=0 augment=paper"},
    {TASK_DVAE, "small",
     "side=64 hidden=32 init-width=32 groups=3 blocks=2 codes=1024 batch=32 steps=20000 lr=1e-3 lr-end=1e-5 "
     "decay=1e-4 clip=1 average=0.999 kl=0 tau-end=0.0625 kmeans=512 entropy=0.5 scale-floor=0.14 augment=none"},
    {TASK_DVAE, "demo",
     "side=48 hidden=32 init-width=32 groups=3 blocks=1 codes=512 batch=16 steps=2500 lr=3e-3 lr-end=1e-4 "
     "decay=1e-4 clip=1 average=0.99 kl=0 tau-end=0.1 kmeans=512 entropy=0.5 scale-floor=0.14 augment=none"},
    {TASK_PRIOR, "paper",
     "layers=64 heads=62 head-dim=64 text-len=256 kernel=11 batch=1024 steps=430000 lr=4.5e-4 warmup=5000 "
     "plateau=5000 halvings=5 beta1=0.9 beta2=0.96 eps=1e-8 decay=4.5e-2 clip=4 v-max=5 average=0.99 "
     "average-every=25 bpe-dropout=0.1"},
    {TASK_PRIOR, "small",
     "layers=8 heads=8 head-dim=32 text-len=64 kernel=7 batch=32 steps=20000 lr=1e-3 lr-end=1e-5 warmup=500 beta1=0.9 "
     "beta2=0.96 decay=4.5e-2 clip=4 v-max=5 average=0.99 average-every=25 bpe-dropout=0.1"},
    {TASK_PRIOR, "demo",
     "layers=6 heads=4 head-dim=32 text-len=24 kernel=5 batch=16 steps=1500 lr=3e-3 lr-end=2e-5 warmup=50 beta1=0.9 "
     "beta2=0.96 decay=4.5e-2 clip=4 v-max=5 average=0.9 average-every=5 bpe-dropout=0.1"},
    {TASK_CLIP, "paper",
     "side=224 patch=32 width=768 layers=12 heads=12 embed=512 context=77 text-width=512 text-layers=12 text-heads=8 "
     "batch=32768 steps=390000 lr=5e-4 lr-end=0 warmup=2000 beta1=0.9 beta2=0.98 eps=1e-6 decay=0.2 clip=0 v-max=0 "
     "average=0 augment=paper"},
    {TASK_CLIP, "small",
     "side=64 patch=8 width=192 layers=4 heads=6 embed=128 context=32 text-width=128 text-layers=3 text-heads=4 "
     "batch=128 steps=10000 lr=1e-3 lr-end=1e-5 warmup=200 beta2=0.98 eps=1e-6 decay=0.1 clip=1 average=0 "
     "augment=none"},
    {TASK_CLIP, "demo",
     "side=48 patch=8 width=96 layers=3 heads=3 embed=64 context=26 text-width=96 text-layers=2 text-heads=3 batch=96 "
     "steps=1000 lr=2e-3 lr-end=2e-5 warmup=50 beta2=0.98 eps=1e-6 decay=0.1 clip=1 average=0 augment=none"},
};

void settings_init(struct settings *s)
{
    *s = (struct settings){
        .steps = 1000,
        .batch = 32,
        .device = xstrdup("cpu"),
        .precision = xstrdup("auto"),
        .checkpoint_every = 500,
        .pictures_every = 500,
        .memory = 4096,
        .lr = 1e-3,
        .beta1 = 0.9,
        .beta2 = 0.999,
        .eps = 1e-8,
        .average_every = 1,
        .tau = 1,
        .kmeans_scale = 1,
        .augment = xstrdup("none"),
    };
}

void settings_free(struct settings *s)
{
    for (const struct setting *t = settings_table; t->name; t++)
        if (t->type == SETTING_TEXT)
            free(*(char **)((char *)s + t->offset));
    *s = (struct settings){0};
}

int settings_set(struct settings *s, enum task_bit task, const char *name, const char *value)
{
    for (const struct setting *t = settings_table; t->name; t++) {
        if (!(t->tasks & task) || strcmp(t->name, name) != 0)
            continue;
        void *at = (char *)s + t->offset;
        if (t->type == SETTING_INT)
            return option_int(name, value, (int64_t)t->low, (int64_t)t->high, at);
        if (t->type == SETTING_REAL)
            return option_double(name, value, t->low, t->high, at);
        free(*(char **)at);
        *(char **)at = xstrdup(value);
        return 0;
    }
    return err_set(ERR_USAGE, "--%s is not a setting of this task", name);
}

int settings_preset(struct settings *s, enum task_bit task, const char *preset)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (presets[i].task != task || strcmp(presets[i].name, preset) != 0)
            continue;
        char *values = xstrdup(presets[i].values), *save;
        int rc = 0;
        for (char *p = strtok_r(values, " ", &save); p && !rc; p = strtok_r(NULL, " ", &save)) {
            char *equals = strchr(p, '=');
            *equals = 0;
            rc = settings_set(s, task, p, equals + 1);
        }
        free(values);
        return rc;
    }
    return err_set(ERR_USAGE, "--preset %s: demo, small or paper", preset);
}

static int check_multiple(const char *whole, int64_t a, const char *part, int64_t b)
{
    return a % b
               ? err_set(ERR_USAGE, "--%s %lld is not a multiple of --%s %lld", whole, (long long)a, part, (long long)b)
               : 0;
}

static int check_dvae(const struct settings *s)
{
    int64_t shrinks = (int64_t)1 << (s->groups - 1);
    if (s->side % shrinks)
        return err_set(ERR_USAGE, "--side %lld: with --groups %lld it must be a multiple of %lld", (long long)s->side,
                       (long long)s->groups, (long long)shrinks);
    int64_t grid = s->side / shrinks, positions = s->kmeans * grid * grid;
    if (s->kmeans && positions < s->codes)
        return err_set(ERR_USAGE, "--kmeans %lld: so many pictures have %lld positions, fewer than --codes %lld",
                       (long long)s->kmeans, (long long)positions, (long long)s->codes);
    int64_t bytes = s->kmeans * s->side * s->side * 3 * (int64_t)sizeof(float);
    if (bytes > s->memory << 20)
        return err_set(ERR_USAGE, "--kmeans %lld: the pictures take %lld MiB; lower it, or raise --memory %lld",
                       (long long)s->kmeans, (long long)(bytes >> 20), (long long)s->memory);
    return 0;
}

static int check_prior(const struct settings *s)
{
    if (!s->vocab)
        return err_set(ERR_USAGE, "--vocab FILE is needed: the vocabulary that made the tokens");
    if (!s->dvae && !s->codes)
        return err_set(ERR_USAGE, "--dvae FILE (or --codes V) is needed: how many image codes there are");
    if (s->kernel % 2 == 0)
        return err_set(ERR_USAGE, "--kernel %lld: the window has a middle, so it must be odd", (long long)s->kernel);
    return 0;
}

static int check_clip(const struct settings *s)
{
    if (!s->vocab)
        return err_set(ERR_USAGE, "--vocab FILE is needed: what turns captions into tokens");
    if (s->batch < 2)
        return err_set(ERR_USAGE, "--batch %lld: a picture is told from the others of its batch, so 2 at least",
                       (long long)s->batch);
    return check_multiple("side", s->side, "patch", s->patch) || check_multiple("width", s->width, "heads", s->heads) ||
                   check_multiple("text-width", s->text_width, "text-heads", s->text_heads)
               ? -1
               : 0;
}

static bool may_be_cuda(const struct settings *s)
{
    return strcmp(s->device, "cpu") != 0;
}

enum dtype settings_compute(const struct settings *s)
{
    if (!strcmp(s->precision, "auto"))
        return may_be_cuda(s) ? BF16 : F32;
    return !strcmp(s->precision, "bf16") ? BF16 : !strcmp(s->precision, "fp16") ? F16 : F32;
}

static int check_precision(const struct settings *s, enum task_bit task)
{
    static const char *const known[] = {"auto", "fp32", "bf16", "fp16"};
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        found |= !strcmp(s->precision, known[i]);
    if (!found)
        return err_set(ERR_USAGE, "--precision %s: auto, fp32, bf16 or fp16", s->precision);
    if (settings_compute(s) != F32 && !may_be_cuda(s))
        return err_set(ERR_USAGE, "--precision %s: the CPU computes in fp32 alone; give --device cuda", s->precision);
    if (settings_compute(s) == F16 && task != TASK_PRIOR)
        return err_set(ERR_USAGE, "--precision fp16: only the prior scales its gradients as fp16 needs; use bf16");
    return 0;
}

int settings_check(const struct settings *s, enum task_bit task)
{
    if (check_precision(s, task))
        return -1;
    if (!s->data || !s->run)
        return err_set(ERR_USAGE, "--data URI and --run DIR are needed");
    if (s->micro && check_multiple("batch", s->batch, "micro", s->micro))
        return -1;
    if (strcmp(s->augment, "none") != 0 && strcmp(s->augment, "paper") != 0)
        return err_set(ERR_USAGE, "--augment %s: none or paper", s->augment);
    return task == TASK_DVAE ? check_dvae(s) : task == TASK_PRIOR ? check_prior(s) : check_clip(s);
}

static json_t *make_json(const struct settings *s, enum task_bit task)
{
    json_t *object = json_object();
    for (const struct setting *t = settings_table; t->name; t++) {
        const void *at = (const char *)s + t->offset;
        if (!(t->tasks & task) || (t->type == SETTING_TEXT && !*(char *const *)at))
            continue;
        json_object_set_new(object, t->name,
                            t->type == SETTING_INT    ? json_integer(*(const int64_t *)at)
                            : t->type == SETTING_REAL ? json_real(*(const double *)at)
                                                      : json_string_nocheck(*(char *const *)at));
    }
    return object;
}

void settings_to_json(const struct settings *s, enum task_bit task, struct buf *out)
{
    json_t *object = make_json(s, task);
    char *text = json_dumps(object, JSON_INDENT(1));
    buf_printf(out, "%s\n", text);
    free(text);
    json_decref(object);
}

static char *value_text(const json_t *value)
{
    return value ? json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)) : xstrdup("not given");
}

void settings_tell_changes(const struct settings *s, enum task_bit task, const char *path)
{
    json_t *before = json_load_file(path, 0, NULL), *now = make_json(s, task);
    for (const struct setting *t = settings_table; json_is_object(before) && t->name; t++) {
        const json_t *old = json_object_get(before, t->name), *new = json_object_get(now, t->name);
        if (!(t->tasks & task) || json_equal(old, new) || (!old && !new))
            continue;
        char *old_text = value_text(old), *new_text = value_text(new);
        log_warn("%s: --%s was %s, now it is %s", s->run, t->name, old_text, new_text);
        free(old_text);
        free(new_text);
    }
    json_decref(before);
    json_decref(now);
}
