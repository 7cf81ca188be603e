/*
 * CLIP: its sizes, memory, and features of pictures and texts.
 */
#include "models/clip.h"
#include "common/err.h"
#include "common/mem.h"
#include "models/clip_private.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE 2048
#define MAX_WIDTH 16384
#define MAX_CONTEXT 4096
#define MAX_VOCAB (1 << 20)
#define LONGEST 8 /* times the short side */

static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
static const float deviation[3] = {0.26862954f, 0.26130258f, 0.27577711f};

static bool in_range(int value, int most)
{
    return value >= 1 && value <= most;
}

static int check_tower(const char *name, int width, int layers, int heads, int states, int batch)
{
    if (!in_range(width, MAX_WIDTH) || !in_range(layers, CLIP_MAX_LAYERS) || !in_range(heads, width) || width % heads)
        return err_set(ERR_DATA,
                       "CLIP's %s tower of width %d, %d layers, %d heads: width is 1 to %d and a multiple of the "
                       "heads, layers are 1 to %d",
                       name, width, layers, heads, MAX_WIDTH, CLIP_MAX_LAYERS);
    if (batch < 1 || (int64_t)batch * states * 4 * width > INT_MAX)
        return err_set(ERR_DATA, "a batch of %d is out of range for CLIP's %s tower", batch, name);
    return 0;
}

static int check(const struct clip_config *c, int batch)
{
    if (!in_range(c->patch, MAX_SIDE) || !in_range(c->side, MAX_SIDE) || c->side % c->patch)
        return err_set(ERR_DATA, "CLIP for pictures of %d pixels in patches of %d: sides are 1 to %d, whole patches",
                       c->side, c->patch, MAX_SIDE);
    if (!in_range(c->context, MAX_CONTEXT) || !in_range(c->vocab, MAX_VOCAB) || !in_range(c->embed, MAX_WIDTH))
        return err_set(ERR_DATA, "CLIP with context %d, vocabulary %d, features %d: at most %d, %d and %d are possible",
                       c->context, c->vocab, c->embed, MAX_CONTEXT, MAX_VOCAB, MAX_WIDTH);
    int grid = c->side / c->patch;
    if (check_tower("image", c->vision_width, c->vision_layers, c->vision_heads, grid * grid + 1, batch) != 0)
        return -1;
    return check_tower("text", c->text_width, c->text_layers, c->text_heads, c->context, batch);
}

static void add_params(struct clip *c)
{
    struct params *p = &c->params;
    const struct clip_config *f = &c->config;
    const int64_t w = f->vision_width, t = f->text_width, patch = f->patch;
    float scale = powf((float)w, -0.5f);
    c->class_embedding = params_add(p, false, INIT_NORMAL, scale, 1, (const int64_t[]){w}, "visual.class_embedding");
    c->image_positions = params_add(p, false, INIT_NORMAL, scale, 2, (const int64_t[]){c->image.states, w},
                                    "visual.positional_embedding");
    /* PyTorch's default for a convolution, uniform within 1/sqrt(inputs), has this deviation. */
    c->conv1 = params_add(p, true, INIT_NORMAL, 1 / sqrtf(3 * 3 * (float)(patch * patch)), 4,
                          (const int64_t[]){w, 3, patch, patch}, "visual.conv1.weight");
    c->ln_pre = params_add(p, false, INIT_ONE, 0, 1, (const int64_t[]){w}, "visual.ln_pre.weight");
    params_add(p, false, INIT_ZERO, 0, 1, (const int64_t[]){w}, "visual.ln_pre.bias");
    clip_tower_add(&c->image, p, true);
    c->tokens = params_add(p, true, INIT_NORMAL, 0.02f, 2, (const int64_t[]){f->vocab, t}, "token_embedding.weight");
    c->text_positions =
        params_add(p, false, INIT_NORMAL, 0.01f, 2, (const int64_t[]){f->context, t}, "positional_embedding");
    clip_tower_add(&c->text, p, false);
    c->logit_scale = params_add(p, false, INIT_CONSTANT, logf(1 / 0.07f), 0, NULL, "logit_scale");
}

int clip_build(struct clip **out, const struct kernels *k, const struct clip_config *config, int batch, bool train)
{
    *out = NULL;
    if (check(config, batch) != 0)
        return -1;
    struct clip *c = xcalloc(1, sizeof *c);
    int grid = config->side / config->patch;
    c->k = k;
    c->config = *config;
    c->batch = batch;
    c->train = train;
    c->pass = k->batches ? batch : 1;
    c->image = (struct clip_tower){.width = config->vision_width,
                                   .layers = config->vision_layers,
                                   .heads = config->vision_heads,
                                   .states = grid * grid + 1,
                                   .embed = config->embed,
                                   .mask = MASK_NONE};
    c->text = (struct clip_tower){.width = config->text_width,
                                  .layers = config->text_layers,
                                  .heads = config->text_heads,
                                  .states = config->context,
                                  .embed = config->embed,
                                  .mask = MASK_CAUSAL};
    add_params(c);
    *out = c;
    return 0;
}

static void layout(void *self, struct arena *a)
{
    struct clip *c = self;
    int together = c->train ? c->batch : c->pass;
    size_t n = (size_t)together, side = (size_t)c->config.side, patch = (size_t)c->config.patch;
    size_t states = n * (size_t)c->image.states, patches = states - n, width = (size_t)c->image.width;
    clip_tower_layout(&c->image, a, together, c->train);
    clip_tower_layout(&c->text, a, together, c->train);
    c->pictures = arena_take(a, n * side * side * 3, F32);
    c->patches = arena_take(a, patches * 3 * patch * patch, F32);
    c->patch_states = arena_take(a, patches * width, F32);
    c->sum = arena_take(a, states * width, F32);
    c->mean = arena_take(a, states, F32);
    c->rstd = arena_take(a, states, F32);
    c->from_patch = arena_take(a, states, I32);
    c->from_class = arena_take(a, states, I32);
    c->ids = arena_take(a, n * (size_t)c->config.context, I32);
    if (!c->train)
        return;
    c->dsum = arena_take(a, states * width, F32);
    c->dpatch_states = arena_take(a, patches * width, F32);
}

/* Ids that never change: where an image state comes from, whose state is the feature's. */
static void set_ids(struct clip *c)
{
    int n = c->train ? c->batch : c->pass, states = c->image.states;
    size_t rows = (size_t)n * (size_t)states;
    int32_t *patch = xmalloc(rows * sizeof *patch), *class = xmalloc(rows * sizeof *class);
    int32_t *first = xmalloc((size_t)n * sizeof *first);
    for (int i = 0; i < n; i++) {
        for (int s = 0; s < states; s++) {
            patch[i * states + s] = s > 0 ? i * (states - 1) + s - 1 : -1;
            class[i * states + s] = s > 0 ? -1 : 0;
        }
        first[i] = i * states;
    }
    c->k->upload(c->from_patch, patch, rows);
    c->k->upload(c->from_class, class, rows);
    c->k->upload(c->image.pick, first, (size_t)n);
    free(first);
    free(class);
    free(patch);
}

int clip_alloc(struct clip *c)
{
    if (params_alloc(&c->params, c->k, c->train) != 0 || arena_build(&c->arena, c->k, layout, c) != 0)
        return err_wrap("CLIP of widths %d and %d for a batch of %d", c->image.width, c->text.width, c->batch);
    set_ids(c);
    c->k->fill(c->pictures, 0, (size_t)(c->train ? c->batch : c->pass) * clip_picture(c));
    return c->train ? clip_join(c, comm_alone(), c->batch) : 0;
}

int clip_new(struct clip **c, const struct kernels *k, const struct clip_config *config, int batch, bool train)
{
    if (clip_build(c, k, config, batch, train) != 0)
        return -1;
    if (clip_alloc(*c) != 0) {
        clip_free(c);
        return -1;
    }
    return 0;
}

void clip_free(struct clip **c)
{
    if (!*c)
        return;
    params_free(&(*c)->params);
    arena_free(&(*c)->arena);
    arena_free(&(*c)->contrast.arena);
    free(*c);
    *c = NULL;
}

struct params *clip_params(struct clip *c)
{
    return &c->params;
}

const struct clip_config *clip_config(const struct clip *c)
{
    return &c->config;
}

float clip_logit_scale(const struct clip *c)
{
    float ln;
    c->k->download(&ln, param_value(&c->params, c->logit_scale), 1);
    return expf(ln);
}

/* torchvision's Resize and CenterCrop: the long side is rounded down, half a pixel of offset to the even one. */
void clip_square(const struct image *im, int side, uint8_t *out)
{
    struct image cut = {0}, resized, square;
    int shorter = im->width < im->height ? im->width : im->height;
    /* Only the centre is seen, but a long thin picture resized as a whole would take gigabytes. */
    if (im->width / LONGEST > shorter || im->height / LONGEST > shorter) {
        int w = im->width > shorter ? shorter * LONGEST : shorter,
            h = im->height > shorter ? shorter * LONGEST : shorter;
        image_crop(im, (im->width - w) / 2, (im->height - h) / 2, w, h, &cut);
        im = &cut;
    }
    int width = (int)((int64_t)side * im->width / shorter), height = (int)((int64_t)side * im->height / shorter);
    image_resize_bicubic(im, width, height, &resized);
    image_crop(&resized, (int)rint((width - side) / 2.0), (int)rint((height - side) / 2.0), side, side, &square);
    memcpy(out, square.rgb, (size_t)side * (size_t)side * 3);
    image_free(&square);
    image_free(&resized);
    image_free(&cut);
}

void clip_preprocess(const struct image *im, int side, float *out)
{
    size_t values = (size_t)side * (size_t)side * 3;
    uint8_t *square = xmalloc(values);
    clip_square(im, side, square);
    for (size_t i = 0; i < values; i++)
        out[i] = ((float)square[i] / 255 - mean[i % 3]) / deviation[i % 3];
    free(square);
}

size_t clip_picture(const struct clip *c)
{
    return (size_t)c->config.side * (size_t)c->config.side * 3;
}

void clip_image_forward(struct clip *c, int n)
{
    const struct kernels *k = c->k;
    int side = c->config.side, patch = c->config.patch, width = c->image.width, states = c->image.states;
    k->patches(c->patches, c->pictures, n, side, side, 3, patch);
    k->linear(c->patch_states, c->patches, param_value(&c->params, c->conv1), tensor_none(), n * (states - 1),
              3 * patch * patch, width);
    k->embed(c->sum, c->patch_states, c->from_patch, n * states, width, false);
    k->embed(c->sum, param_value(&c->params, c->class_embedding), c->from_class, n * states, width, true);
    k->add_rows(c->sum, param_value(&c->params, c->image_positions), n, (size_t)states * (size_t)width);
    k->layernorm(c->image.state[0], c->mean, c->rstd, c->sum, param_value(&c->params, c->ln_pre),
                 param_value(&c->params, c->ln_pre + 1), n * states, width);
    clip_tower_forward(&c->image, &c->params, n);
}

void clip_text_forward(struct clip *c, const int32_t *text, int n)
{
    const struct kernels *k = c->k;
    int context = c->config.context, width = c->text.width;
    int32_t *end = xmalloc((size_t)n * sizeof *end);
    for (int i = 0; i < n; i++) {
        int at = 0;
        for (int s = 0; s < context; s++) {
            int32_t id = text[i * context + s];
            assert(id >= 0 && id < c->config.vocab);
            if (id > text[i * context + at])
                at = s;
        }
        end[i] = i * context + at;
    }
    k->upload(c->text.pick, end, (size_t)n);
    free(end);
    k->upload(c->ids, text, (size_t)n * (size_t)context);
    k->embed(c->text.state[0], param_value(&c->params, c->tokens), c->ids, n * context, width, false);
    k->add_rows(c->text.state[0], param_value(&c->params, c->text_positions), n, (size_t)context * (size_t)width);
    clip_tower_forward(&c->text, &c->params, n);
}

/* Sequences of the pass that begins with the i-th of n. */
static size_t pass_of(const struct clip *c, int i, int n)
{
    return (size_t)(n - i < c->pass ? n - i : c->pass);
}

/* Puts the features of sequences i, i + 1 ... of n, which have just passed through tower t, to their place. */
static void download_features(struct clip *c, const struct clip_tower *t, int i, int n, bool normalise, float *features)
{
    size_t embed = (size_t)c->config.embed;
    c->k->download(features + (size_t)i * embed, normalise ? t->unit : t->features, pass_of(c, i, n) * embed);
}

void clip_image_features(struct clip *c, const float *pictures, int n, bool normalise, float *features)
{
    for (int i = 0; i < n; i += c->pass) {
        c->k->upload(c->pictures, pictures + (size_t)i * clip_picture(c), pass_of(c, i, n) * clip_picture(c));
        clip_image_forward(c, c->pass);
        download_features(c, &c->image, i, n, normalise, features);
    }
}

void clip_square_features(struct clip *c, const uint8_t *squares, int n, bool normalise, float *features)
{
    const float scale[] = {1 / deviation[0], 1 / deviation[1], 1 / deviation[2]};
    const float offset[] = {-mean[0] / deviation[0], -mean[1] / deviation[1], -mean[2] / deviation[2]};
    for (int i = 0; i < n; i += c->pass) {
        c->k->upload_pixels(c->pictures, squares + (size_t)i * clip_picture(c), pass_of(c, i, n) * clip_picture(c) / 3,
                            scale, offset);
        clip_image_forward(c, c->pass);
        download_features(c, &c->image, i, n, normalise, features);
    }
}

void clip_text_features(struct clip *c, const int32_t *text, int n, bool normalise, float *features)
{
    size_t context = (size_t)c->config.context;
    int32_t *whole = xcalloc((size_t)c->pass * context, sizeof *whole);
    for (int i = 0; i < n; i += c->pass) {
        memcpy(whole, text + (size_t)i * context, pass_of(c, i, n) * context * sizeof *whole);
        clip_text_forward(c, whole, c->pass);
        download_features(c, &c->text, i, n, normalise, features);
    }
    free(whole);
}
