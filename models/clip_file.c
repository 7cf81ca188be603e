/*
 * Opening and saving CLIPs, in OpenAI's layout and in Hugging Face's.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/clip_private.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct source {
    const struct weights *w;
    const char *prefix; /* of all names */
    bool huggingface;
};

/* How Hugging Face's layout keeps a parameter of OpenAI's. */
enum form { SAME, TRANSPOSED, SPLIT /* one below the other in three tensors: q, k, v */ };

struct alias {
    const char *ours, *theirs; /* for SPLIT `theirs` has one %c */
    enum form form;
};

static const struct alias aliases[] = {
    {"visual.class_embedding", "vision_model.embeddings.class_embedding", SAME},
    {"visual.positional_embedding", "vision_model.embeddings.position_embedding.weight", SAME},
    {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight", SAME},
    {"visual.ln_pre.weight", "vision_model.pre_layrnorm.weight", SAME},
    {"visual.ln_pre.bias", "vision_model.pre_layrnorm.bias", SAME},
    {"visual.ln_post.weight", "vision_model.post_layernorm.weight", SAME},
    {"visual.ln_post.bias", "vision_model.post_layernorm.bias", SAME},
    {"visual.proj", "visual_projection.weight", TRANSPOSED},
    {"token_embedding.weight", "text_model.embeddings.token_embedding.weight", SAME},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight", SAME},
    {"ln_final.weight", "text_model.final_layer_norm.weight", SAME},
    {"ln_final.bias", "text_model.final_layer_norm.bias", SAME},
    {"text_projection", "text_projection.weight", TRANSPOSED},
    {"logit_scale", "logit_scale", SAME},
};

static const struct alias block_aliases[] = {
    {"ln_1.weight", "layer_norm1.weight", SAME},
    {"ln_1.bias", "layer_norm1.bias", SAME},
    {"attn.in_proj_weight", "self_attn.%c_proj.weight", SPLIT},
    {"attn.in_proj_bias", "self_attn.%c_proj.bias", SPLIT},
    {"attn.out_proj.weight", "self_attn.out_proj.weight", SAME},
    {"attn.out_proj.bias", "self_attn.out_proj.bias", SAME},
    {"ln_2.weight", "layer_norm2.weight", SAME},
    {"ln_2.bias", "layer_norm2.bias", SAME},
    {"mlp.c_fc.weight", "mlp.fc1.weight", SAME},
    {"mlp.c_fc.bias", "mlp.fc1.bias", SAME},
    {"mlp.c_proj.weight", "mlp.fc2.weight", SAME},
    {"mlp.c_proj.bias", "mlp.fc2.bias", SAME},
};

static const struct alias *look_up(const struct alias *table, size_t count, const char *ours)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].ours, ours) == 0)
            return &table[i];
    }
    return NULL;
}

/* Where the file keeps a parameter: the name of its tensor (malloc'ed), for SPLIT of the part `which` (q, k or v). */
static char *name_of(const struct source *s, const char *ours, char which, enum form *form)
{
    *form = SAME;
    if (!s->huggingface)
        return xasprintf("%s%s", s->prefix, ours);
    static const char blocks[] = "transformer.resblocks.";
    const char *found = strstr(ours, blocks), *tower = found == ours ? "text_model" : "vision_model";
    if (!found) {
        const struct alias *a = look_up(aliases, sizeof aliases / sizeof *aliases, ours);
        *form = a->form;
        return xasprintf("%s%s", s->prefix, a->theirs);
    }
    char *rest;
    long layer = strtol(found + strlen(blocks), &rest, 10);
    const struct alias *a = look_up(block_aliases, sizeof block_aliases / sizeof *block_aliases, rest + 1);
    *form = a->form;
    char *theirs = xstrdup(a->theirs), *percent = strstr(theirs, "%c");
    if (percent) {
        percent[0] = which;
        memmove(percent + 1, percent + 2, strlen(percent + 2) + 1);
    }
    char *name = xasprintf("%s%s.encoder.layers.%ld.%s", s->prefix, tower, layer, theirs);
    free(theirs);
    return name;
}

static void transpose(float *to, const float *from, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < cols; j++)
            to[j * rows + i] = from[i * cols + j];
    }
}

/* Reads one parameter into `out`; with `out` NULL only checks that it is there in its shape. 0 or -1. */
static int read_param(const struct source *s, const struct param *p, float *out)
{
    const char parts[] = "qkv";
    enum form form = SAME;
    for (int part = 0; part < (form == SPLIT ? 3 : 1); part++) {
        char *name = name_of(s, p->name, parts[part], &form);
        int64_t shape[4] = {p->shape[0], p->shape[1], p->shape[2], p->shape[3]};
        if (form == SPLIT)
            shape[0] /= 3;
        if (form == TRANSPOSED) {
            shape[0] = p->shape[1];
            shape[1] = p->shape[0];
        }
        const struct weight *t = params_tensor(s->w, name, p->ndim, shape);
        free(name);
        if (!t)
            return -1;
        if (!out)
            continue;
        if (form != TRANSPOSED) {
            weight_to_floats(t, out + (size_t)part * t->count);
            continue;
        }
        float *theirs = xmalloc(t->count * sizeof *theirs);
        weight_to_floats(t, theirs);
        transpose(out, theirs, (size_t)shape[0], (size_t)shape[1]);
        free(theirs);
    }
    return 0;
}

/* Extent `axis` of the tensor that holds a parameter; 0 when there is none with so many dimensions. */
static int extent(const struct source *s, const char *ours, int axis)
{
    enum form form;
    char *name = name_of(s, ours, 'q', &form);
    const struct weight *t = weights_find(s->w, name);
    free(name);
    if (form == TRANSPOSED)
        axis = 1 - axis;
    return t && axis < t->ndim && t->shape[axis] <= INT_MAX ? (int)t->shape[axis] : 0;
}

static int count_layers(const struct source *s, const char *tower)
{
    char name[80];
    int n = 0;
    for (; n <= CLIP_MAX_LAYERS; n++) {
        snprintf(name, sizeof name, "%stransformer.resblocks.%d.ln_1.weight", tower, n);
        if (extent(s, name, 0) == 0)
            break;
    }
    return n;
}

static struct clip_config config_of(const struct source *s, int heads_vision, int heads_text)
{
    struct clip_config c = {
        .patch = extent(s, "visual.conv1.weight", 3),
        .vision_width = extent(s, "visual.conv1.weight", 0),
        .vision_layers = count_layers(s, "visual."),
        .context = extent(s, "positional_embedding", 0),
        .vocab = extent(s, "token_embedding.weight", 0),
        .text_width = extent(s, "token_embedding.weight", 1),
        .text_layers = count_layers(s, ""),
        .embed = extent(s, "text_projection", 1),
    };
    /* The class token has a position too. A side too large for an int is out of range anyway. */
    double side = sqrt(fmax(extent(s, "visual.positional_embedding", 0) - 1, 0)) * c.patch;
    c.side = side < INT_MAX ? (int)(side + 0.5) : 0;
    c.vision_heads = heads_vision > 0 ? heads_vision : c.vision_width / 64;
    c.text_heads = heads_text > 0 ? heads_text : c.text_width / 64;
    return c;
}

/* Shapes are compared before memory is taken: a file's claims then cost no more than the file. */
static int fill(struct clip *c, const struct source *s)
{
    struct params *p = &c->params;
    for (int i = 0; i < p->count; i++) {
        if (read_param(s, &p->list[i], NULL) != 0)
            return -1;
    }
    if (clip_alloc(c) != 0)
        return -1;
    for (int i = 0; i < p->count; i++) {
        float *values = xmalloc(p->list[i].count * sizeof *values);
        read_param(s, &p->list[i], values);
        c->k->upload(param_value(p, i), values, p->list[i].count);
        free(values);
    }
    return 0;
}

int clip_open_weights(struct clip **c, const struct kernels *k, const struct weights *w, const char *prefix,
                      int heads_vision, int heads_text, int batch)
{
    struct source s = {w, prefix, true};
    *c = NULL;
    s.huggingface = extent(&s, "visual.conv1.weight", 0) > 0;
    if (!s.huggingface && extent(&s, "visual.conv1.weight", 0) == 0)
        return err_set(ERR_DATA,
                       "no CLIP in it: neither %svisual.conv1.weight (OpenAI's layout) nor "
                       "%svision_model.embeddings.patch_embedding.weight (Hugging Face's) is there",
                       prefix, prefix);
    struct clip_config config = config_of(&s, heads_vision, heads_text);
    if (clip_build(c, k, &config, batch, false) != 0)
        return -1;
    if (fill(*c, &s) != 0) {
        clip_free(c);
        return -1;
    }
    return 0;
}

/* What stands before the names in a file (malloc'ed): nothing as a rule, "model." and the like in a checkpoint. */
static char *find_prefix(const struct weights *w)
{
    const char *const ends[] = {"visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"};
    for (size_t i = 0; i < weights_count(w); i++) {
        const char *name = weights_at(w, i)->name;
        for (int j = 0; j < 2; j++) {
            size_t len = strlen(name), end = strlen(ends[j]);
            if (len >= end && strcmp(name + len - end, ends[j]) == 0)
                return xasprintf("%.*s", (int)(len - end), name);
        }
    }
    return xstrdup("");
}

static int heads_of(const struct weights *w, const char *key)
{
    const char *value = weights_meta(w, key);
    return value ? (int)strtol(value, NULL, 10) : 0;
}

int clip_open(struct clip **c, const struct kernels *k, const char *path, int batch)
{
    struct weights *w = NULL;
    *c = NULL;
    if (weights_load(&w, path) != 0)
        return -1;
    const char *kind = weights_meta(w, "kind");
    int status;
    if (kind && strcmp(kind, "clip") != 0) {
        status = err_set(ERR_DATA, "%s is a %s, not a CLIP", path, kind);
    } else {
        char *prefix = find_prefix(w);
        status = clip_open_weights(c, k, w, prefix, heads_of(w, "heads_vision"), heads_of(w, "heads_text"), batch);
        if (status != 0)
            err_wrap("%s", path);
        free(prefix);
    }
    weights_free(&w);
    return status;
}

int clip_save(const struct clip *c, struct tensor slab, const char *path)
{
    char vision[12], text[12];
    snprintf(vision, sizeof vision, "%d", c->config.vision_heads);
    snprintf(text, sizeof text, "%d", c->config.text_heads);
    const char *const meta[] = {"kind", "clip", "heads_vision", vision, "heads_text", text, NULL};
    return params_save(&c->params, slab, path, meta);
}
