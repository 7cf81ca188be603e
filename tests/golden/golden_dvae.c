/*
 * The discrete VAE: logits, codes, decoder statistics, picture; losses and gradients with given noise.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/dvae.h"
#include "tests/golden/golden.h"

#include <math.h>
#include <stdlib.h>

struct pictures {
    int n, side, grid;
    uint8_t *pixels; /* [n, side, side, 3] */
    float *mapped;   /* the same, as the encoder takes them */
};

static size_t positions_of(const struct pictures *s) /* of a picture's codes */
{
    return (size_t)s->grid * (size_t)s->grid;
}

static size_t area_of(const struct pictures *s)
{
    return (size_t)s->side * (size_t)s->side;
}

static int read_number(const struct golden *g, const char *key, int *value)
{
    double v;
    if (golden_number(g, key, 1, 1 << 20, &v) != 0)
        return -1;
    *value = (int)v;
    return 0;
}

/* Sizes: the file names the widths; the number of groups follows from how much smaller the grid is. */
static int read_config(const struct golden *g, struct dvae_config *c, struct pictures *s)
{
    if (read_number(g, "n_hid", &c->hidden) != 0 || read_number(g, "n_init", &c->init) != 0 ||
        read_number(g, "n_blk_per_group", &c->blocks) != 0 || read_number(g, "vocab_size", &c->vocab) != 0)
        return -1;
    const struct weight *pixels = golden_find(g, "in.pixels", 4, (const int64_t[]){0, 3, 0, 0});
    const struct weight *codes =
        pixels ? golden_find(g, "out.codes", 3, (const int64_t[]){pixels->shape[0], 0, 0}) : NULL;
    if (!codes)
        return -1;
    if (pixels->type != WEIGHT_U8 || pixels->shape[2] != pixels->shape[3] || codes->shape[1] != codes->shape[2] ||
        pixels->count > (size_t)1 << 30)
        return err_set(ERR_DATA, "in.pixels must be square pictures of bytes");
    *s = (struct pictures){.n = (int)pixels->shape[0], .side = (int)pixels->shape[2], .grid = (int)codes->shape[1]};
    for (c->groups = 1; s->grid << (c->groups - 1) < s->side; c->groups++)
        ;
    if (s->grid << (c->groups - 1) != s->side)
        return err_set(ERR_DATA, "pictures of %d pixels cannot have %d codes on a side", s->side, s->grid);
    return 0;
}

static void read_pictures(const struct golden *g, struct pictures *s)
{
    const struct weight *t = weights_find(g->w, "in.pixels");
    size_t area = area_of(s);
    float *nchw = golden_read(t);
    s->mapped = xmalloc(t->count * sizeof *s->mapped);
    s->pixels = xmalloc(t->count);
    golden_transpose(s->mapped, nchw, (size_t)s->n, 3, area);
    for (size_t i = 0; i < t->count; i++)
        s->pixels[i] = (uint8_t)s->mapped[i];
    dvae_map_pixels(s->mapped, t->count);
    free(nchw);
}

/* Compares what the model gives as [n, positions, channels] with the file's [n, channels, positions]. */
static int expect_nhwc(struct golden *g, const char *name, struct tensor got, size_t n, size_t positions,
                       size_t channels)
{
    size_t count = n * positions * channels;
    float *nhwc = xmalloc(count * sizeof *nhwc), *nchw = xmalloc(count * sizeof *nchw);
    g->k->download(nhwc, got, count);
    golden_transpose(nchw, nhwc, n, positions, channels);
    int status = golden_expect(g, name, nchw, count, GOLDEN_VALUE);
    free(nhwc);
    free(nchw);
    return status;
}

static int check_logits(struct golden *g, struct dvae *d, const struct pictures *s)
{
    size_t values = (size_t)s->n * area_of(s) * 3;
    struct tensor x = g->k->alloc(values, F32);
    if (!x.data)
        return -1;
    g->k->upload(x, s->mapped, values);
    int status = expect_nhwc(g, "out.logits", dvae_logits(d, x, s->n), (size_t)s->n, positions_of(s),
                             (size_t)dvae_config(d)->vocab);
    g->k->free(x);
    return status;
}

/* The decoder sees each code as a one-hot vector. */
static int check_stats(struct golden *g, struct dvae *d, const struct pictures *s, const int32_t *codes)
{
    size_t positions = (size_t)s->n * positions_of(s), V = (size_t)dvae_config(d)->vocab;
    struct tensor z = g->k->alloc(positions * V, F32);
    if (!z.data)
        return -1;
    float *one_hot = xcalloc(positions * V, sizeof *one_hot);
    for (size_t i = 0; i < positions; i++)
        one_hot[i * V + (size_t)codes[i]] = 1;
    g->k->upload(z, one_hot, positions * V);
    free(one_hot);
    int status = expect_nhwc(g, "out.stats", dvae_stats(d, z, s->n), (size_t)s->n, area_of(s), 6);
    g->k->free(z);
    return status;
}

/* Ours are bytes: each must be the file's value rounded, give or take what its own error may move. */
static int check_picture(struct golden *g, struct dvae *d, const struct pictures *s, const int32_t *codes)
{
    size_t area = area_of(s), count = (size_t)s->n * area * 3, differ = 0;
    const struct weight *t = golden_find(g, "out.image", 4, (const int64_t[]){s->n, 3, s->side, s->side});
    if (!t)
        return -1;
    uint8_t *got = xmalloc(count);
    float *nchw = golden_read(t), *want = xmalloc(count * sizeof *want);
    golden_transpose(want, nchw, (size_t)s->n, 3, area);
    dvae_decode(d, codes, s->n, got);
    for (size_t i = 0; i < count; i++)
        differ += !(fabsf((float)got[i] - 255 * want[i]) <= 0.5f + 255 * GOLDEN_VALUE);
    golden_exact(g, "out.image (to 8 bits)", differ, count);
    free(got);
    free(nchw);
    free(want);
    return 0;
}

static int check_codes(struct golden *g, struct dvae *d, const struct pictures *s)
{
    size_t positions = (size_t)s->n * positions_of(s);
    int32_t *want = golden_read_ints(weights_find(g->w, "out.codes"));
    if (!want)
        return -1;
    int32_t *got = xmalloc(positions * sizeof *got);
    dvae_encode(d, s->pixels, s->n, got);
    golden_ints(g, "out.codes", got, want, positions);
    int status = check_stats(g, d, s, got);
    if (status == 0)
        status = check_picture(g, d, s, got);
    free(got);
    free(want);
    return status;
}

static int check_training(struct golden *g, struct dvae *d, const struct pictures *s)
{
    double tau, beta;
    size_t grid = (size_t)s->grid, positions = grid * grid, V = (size_t)dvae_config(d)->vocab;
    const struct weight *t =
        golden_find(g, "in.gumbel", 4, (const int64_t[]){s->n, (int64_t)V, (int64_t)grid, (int64_t)grid});
    if (!t || golden_number(g, "temperature", 1e-6, 1e6, &tau) != 0 || golden_number(g, "beta", 0, 1e6, &beta) != 0)
        return -1;
    float *nchw = golden_read(t), *noise = xmalloc(t->count * sizeof *noise);
    golden_transpose(noise, nchw, (size_t)s->n, V, positions);
    struct dvae_step step = {.tau = (float)tau, .beta = (float)beta, .noise = noise};
    struct dvae_losses l;
    dvae_train(d, s->mapped, s->n, &step, 1, &l, NULL);
    free(nchw);
    free(noise);
    if (golden_expect(g, "out.loss", &l.loss, 1, GOLDEN_VALUE) != 0 ||
        golden_expect(g, "out.nll", &l.nll, 1, GOLDEN_VALUE) != 0 ||
        golden_expect(g, "out.kl", &l.kl, 1, GOLDEN_VALUE) != 0)
        return -1;
    return golden_gradients(g, dvae_params(d));
}

int golden_dvae(struct golden *g)
{
    struct dvae_config c;
    struct pictures s = {0};
    if (read_config(g, &c, &s) != 0)
        return -1;
    struct dvae *d = NULL;
    if (dvae_new(&d, g->k, &c, s.side, s.n, true) != 0)
        return -1;
    int status = params_load(dvae_params(d), g->w, "w.");
    if (status == 0) {
        read_pictures(g, &s);
        status = check_logits(g, d, &s);
    }
    if (status == 0)
        status = check_codes(g, d, &s);
    if (status == 0)
        status = check_training(g, d, &s);
    dvae_free(&d);
    free(s.pixels);
    free(s.mapped);
    return status;
}
