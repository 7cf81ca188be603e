/*
 * The prior's configuration, its parameters and its files.
 */
#include "models/prior.h"
#include "common/err.h"
#include "common/mem.h"
#include "models/prior_private.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_LOGITS ((size_t)1 << 22) /* elements of a head's logits that exist at one time; a device: four times */
#define CHUNK_ROWS 128                 /* a multiple of products' tiles */

/* The configuration's fields as metadata names them, with the largest value that is believed. */
static const struct {
    const char *name;
    size_t offset;
    int max;
} fields[] = {
    {"layers", offsetof(struct prior_config, layers), 1024},
    {"heads", offsetof(struct prior_config, heads), 1024},
    {"head_dim", offsetof(struct prior_config, head_dim), 1024},
    {"text_vocab", offsetof(struct prior_config, text_vocab), 1 << 22},
    {"text_len", offsetof(struct prior_config, text_len), 1 << 14},
    {"image_vocab", offsetof(struct prior_config, image_vocab), 1 << 22},
    {"grid", offsetof(struct prior_config, grid), 256},
    {"kernel", offsetof(struct prior_config, kernel), 511},
};
#define FIELDS (sizeof fields / sizeof *fields)

static int *field(struct prior_config *c, size_t i)
{
    return (int *)((char *)c + fields[i].offset);
}

static int check_config(const struct prior_config *config)
{
    struct prior_config c = *config;
    for (size_t i = 0; i < FIELDS; i++) {
        int value = *field(&c, i);
        if (value < 1 || value > fields[i].max)
            return err_set(ERR_DATA, "the prior's %s is %d, but must be 1 to %d", fields[i].name, value, fields[i].max);
    }
    return prior_width(&c) <= 1 << 14
               ? 0
               : err_set(ERR_DATA, "the prior's width, heads x head_dim, is %d, but %d is the most", prior_width(&c),
                         1 << 14);
}

static int read_config(struct prior_config *c, const struct weights *w)
{
    for (size_t i = 0; i < FIELDS; i++) {
        const char *text = weights_meta(w, fields[i].name);
        if (!text)
            return err_set(ERR_DATA, "the metadata has no \"%s\"; is this a prior?", fields[i].name);
        char *end;
        long value = strtol(text, &end, 10);
        if (end == text || *end || value < 1 || value > fields[i].max)
            return err_set(ERR_DATA, "\"%s\" is \"%.40s\" in the metadata, but must be a number of 1 to %d",
                           fields[i].name, text, fields[i].max);
        *field(c, i) = (int)value;
    }
    return 0;
}

enum mask prior_mask(const struct prior_config *c, int layer)
{
    if (layer == c->layers - 1)
        return MASK_CONV;
    return layer % 4 == 1 ? MASK_COLUMN : MASK_ROW;
}

struct block_shape prior_block_shape(const struct prior *p, int layer, int n, int states)
{
    const struct prior_config *c = &p->config;
    return (struct block_shape){
        .rows = n * states,
        .width = prior_width(c),
        .hidden = 4 * prior_width(c),
        .act = ACT_GELU,
        .attention = {.mask = prior_mask(c, layer),
                      .batch = n,
                      .states = states,
                      .heads = c->heads,
                      .head_dim = c->head_dim,
                      .prefix = c->text_len + 1,
                      .grid = c->grid,
                      .kernel = c->kernel},
    };
}

struct block_tensors prior_block(const struct prior *p, struct tensor slab, int layer)
{
    return block_tensors(&p->params, slab, p->blocks + layer * BLOCK_PARAMS);
}

static int add_embedding(struct params *params, const char *name, bool decay, int rows, int d)
{
    return params_add(params, decay, INIT_NORMAL, 0.02f, 2, (const int64_t[]){rows, d}, "%s", name);
}

static void add_head(struct params *params, struct prior_head *h, const char *name, int d)
{
    h->weight = params_add(params, true, INIT_NORMAL, 0.02f, 2, (const int64_t[]){h->classes, d}, "%s.weight", name);
    h->bias = params_add(params, false, INIT_ZERO, 0, 1, (const int64_t[]){h->classes}, "%s.bias", name);
}

static void build_table(struct prior *p)
{
    static const char *const names[BLOCK_PARAMS] = {"ln1.gain",    "ln1.bias",  "qkv.weight", "qkv.bias",
                                                    "proj.weight", "proj.bias", "ln2.gain",   "ln2.bias",
                                                    "fc1.weight",  "fc1.bias",  "fc2.weight", "fc2.bias"};
    const struct prior_config *c = &p->config;
    struct params *params = &p->params;
    int d = prior_width(c);
    p->tables[EMBED_START] = params_add(params, false, INIT_NORMAL, 0.02f, 1, (const int64_t[]){d}, "start");
    p->tables[EMBED_TEXT] = add_embedding(params, "text_embed", true, c->text_vocab, d);
    p->tables[EMBED_PAD] = add_embedding(params, "pad_embed", true, c->text_len, d);
    p->tables[EMBED_TEXT_POS] = add_embedding(params, "text_pos", false, c->text_len, d);
    p->tables[EMBED_IMAGE] = add_embedding(params, "image_embed", true, c->image_vocab, d);
    p->tables[EMBED_ROW] = add_embedding(params, "image_row", false, c->grid, d);
    p->tables[EMBED_COL] = add_embedding(params, "image_col", false, c->grid, d);

    /* What is added to the residual stream starts smaller, so that its variance does not grow with depth. */
    float residual = 0.02f / sqrtf(2.0f * (float)c->layers);
    struct block_init init = {.qkv = 0.02f, .proj = residual, .fc1 = 0.02f, .fc2 = residual};
    for (int i = 0; i < c->layers; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "layer.%d.", i);
        int first = block_add(params, prefix, names, d, 4 * d, &init);
        if (i == 0)
            p->blocks = first;
    }
    p->ln_gain = params_add(params, false, INIT_ONE, 0, 1, (const int64_t[]){d}, "ln_out.gain");
    p->ln_bias = params_add(params, false, INIT_ZERO, 0, 1, (const int64_t[]){d}, "ln_out.bias");
    add_head(params, &p->text, "text_head", d);
    add_head(params, &p->image, "image_head", d);
}

static void layout_head(const struct prior *p, struct prior_head *h, struct arena *arena)
{
    size_t rows = (size_t)p->batch * (size_t)h->positions, d = (size_t)prior_width(&p->config);
    h->y = arena_take(arena, rows * d, F32);
    if (p->use != PRIOR_INFER)
        h->dy = arena_take(arena, rows * d, F32);
    h->targets = arena_take(arena, rows, I32);
    h->loss = arena_take(arena, rows, F32);
    h->logits = arena_take(arena, (size_t)h->chunk * (size_t)h->classes, F32);
}

static void layout(void *self, struct arena *arena)
{
    struct prior *p = self;
    int layers = p->config.layers;
    struct block_shape shape = prior_block_shape(p, 0, p->batch, prior_states(&p->config));
    size_t rows = (size_t)shape.rows, d = (size_t)shape.width;
    p->ids = arena_take(arena, EMBEDDINGS * rows, I32);
    p->mean = arena_take(arena, rows, F32);
    p->rstd = arena_take(arena, rows, F32);
    layout_head(p, &p->text, arena);
    layout_head(p, &p->image, arena);
    bool train = p->use != PRIOR_INFER;
    enum dtype states = p->k->compute;
    p->x[0] = arena_take(arena, rows * d, states);
    for (int i = 0; i < layers; i++) {
        if (p->use == PRIOR_TRAIN || i == 0)
            block_layout_acts(&p->acts[i], &shape, train, arena);
        else
            p->acts[i] = p->acts[0];
        p->x[i + 1] = train ? arena_take(arena, rows * d, states) : p->x[0];
    }
    if (train) {
        p->dx = arena_take(arena, rows * d, F32);
        block_layout_scratch(&p->scratch, &shape, arena);
    }
    p->sum = train ? p->dx : states == F32 ? p->x[0] : arena_take(arena, rows * d, F32);
}

static int chunk_rows(const struct kernels *k, const struct prior_head *h, int batch)
{
    size_t logits = k->batches ? 4 * CHUNK_LOGITS : CHUNK_LOGITS, all = (size_t)batch * (size_t)h->positions;
    size_t rows = logits / (size_t)h->classes / CHUNK_ROWS * CHUNK_ROWS;
    rows = rows > 0 ? rows : logits / (size_t)h->classes + 1;
    return (int)(rows < all ? rows : all);
}

/* A prior with its table built, and nothing allocated that its sizes could make large. */
static int create(struct prior **out, const struct kernels *k, const struct prior_config *c, int batch,
                  enum prior_use use)
{
    if (check_config(c) != 0)
        return -1;
    if (batch < 1 || batch > INT_MAX / EMBEDDINGS / prior_states(c))
        return err_set(ERR_DATA, "a prior of %d states cannot have a batch of %d", prior_states(c), batch);
    struct prior *p = xcalloc(1, sizeof *p);
    *p = (struct prior){.k = k, .config = *c, .batch = batch, .use = use};
    p->text = (struct prior_head){
        .classes = c->text_vocab + c->text_len, .positions = c->text_len, .first_state = 0, .share = 1.0f / 8};
    p->image = (struct prior_head){
        .classes = c->image_vocab, .positions = prior_positions(c), .first_state = c->text_len, .share = 7.0f / 8};
    p->text.chunk = chunk_rows(k, &p->text, batch);
    p->image.chunk = chunk_rows(k, &p->image, batch);
    build_table(p);
    *out = p;
    return 0;
}

static int allocate(struct prior *p)
{
    p->x = xcalloc((size_t)p->config.layers + 1, sizeof *p->x);
    p->acts = xcalloc((size_t)p->config.layers, sizeof *p->acts);
    if (params_alloc(&p->params, p->k, p->use != PRIOR_INFER) != 0 || arena_build(&p->arena, p->k, layout, p) != 0)
        return -1;
    size_t rows = (size_t)p->batch * (size_t)prior_states(&p->config);
    p->host_ids = xcalloc(EMBEDDINGS * rows, sizeof *p->host_ids);
    p->host_losses = xcalloc(rows, sizeof *p->host_losses);
    return 0;
}

int prior_new(struct prior **out, const struct kernels *k, const struct prior_config *c, int batch, enum prior_use use)
{
    if (create(out, k, c, batch, use) != 0)
        return -1;
    if (allocate(*out) != 0) {
        prior_free(out);
        return -1;
    }
    return 0;
}

void prior_free(struct prior **out)
{
    struct prior *p = *out;
    if (!p)
        return;
    *out = NULL;
    arena_free(&p->arena);
    params_free(&p->params);
    free(p->host_ids);
    free(p->host_losses);
    free(p->acts);
    free(p->x);
    free(p);
}

int prior_open_weights(struct prior **out, const struct kernels *k, const struct weights *w, const char *prefix,
                       int batch, enum prior_use use)
{
    struct prior_config c;
    if (read_config(&c, w) != 0 || create(out, k, &c, batch, use) != 0)
        return -1;
    struct prior *p = *out;
    if (params_check(&p->params, w, prefix) != 0 || allocate(p) != 0 || params_load(&p->params, w, prefix) != 0) {
        prior_free(out);
        return -1;
    }
    return 0;
}

int prior_open(struct prior **p, const struct kernels *k, const char *path, int batch)
{
    struct weights *w;
    if (weights_load(&w, path) != 0)
        return -1;
    int status = prior_open_weights(p, k, w, "", batch, PRIOR_INFER);
    weights_free(&w);
    return status == 0 ? 0 : err_wrap("%s", path);
}

int prior_save(const struct prior *p, struct tensor slab, const char *path)
{
    struct prior_config c = p->config;
    char values[FIELDS][16];
    const char *meta[2 * FIELDS + 3] = {"kind", "prior"};
    for (size_t i = 0; i < FIELDS; i++) {
        snprintf(values[i], sizeof values[i], "%d", *field(&c, i));
        meta[2 + 2 * i] = fields[i].name;
        meta[3 + 2 * i] = values[i];
    }
    return params_save(&p->params, slab, path, meta);
}

struct params *prior_params(struct prior *p)
{
    return &p->params;
}

const struct prior_config *prior_config(const struct prior *p)
{
    return &p->config;
}

size_t prior_logits(const struct prior *p)
{
    size_t text = (size_t)p->text.chunk * (size_t)p->text.classes;
    size_t image = (size_t)p->image.chunk * (size_t)p->image.classes;
    return text > image ? text : image;
}
