/*
 * Benchmarks on a GPU: the dVAE's codes and CLIP's picture features, from bytes on the host, as encode and rerank get
 * them.
 */
#include "common/err.h"
#include "common/mem.h"
#include "models/clip.h"
#include "models/dvae.h"
#include "tests/gpu/bench.h"

#include <stdlib.h>

static uint8_t *make_pictures(size_t bytes)
{
    uint8_t *pictures = xmalloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        pictures[i] = (uint8_t)(i * 2654435761u >> 11);
    return pictures;
}

struct encoding {
    struct dvae *dvae;
    uint8_t *pictures;
    int32_t *codes;
    int n;
};

/* The next batch is brought while the last one is computed. */
static void encode(void *self)
{
    struct encoding *e = self;
    dvae_encode_put(e->dvae, e->pictures, e->n);
    dvae_encode_fetch(e->dvae, e->n, e->codes);
    dvae_encode_run(e->dvae, e->n);
}

int bench_dvae(struct bench *b)
{
    const struct dvae_config c = {.hidden = b->sizes->hidden, .groups = 4, .blocks = 2, .vocab = 32 * b->sizes->hidden};
    struct encoding e = {.n = b->sizes->pictures};
    if (dvae_new(&e.dvae, b->k, &c, b->sizes->side, e.n, false) != 0)
        return -1;
    int grid = dvae_grid(e.dvae), status = bench_randomise(b, dvae_params(e.dvae));
    e.pictures = make_pictures((size_t)e.n * (size_t)b->sizes->side * (size_t)b->sizes->side * 3);
    e.codes = xmalloc((size_t)e.n * (size_t)grid * (size_t)grid * sizeof *e.codes);
    if (status == 0) {
        dvae_encode(e.dvae, e.pictures, e.n, e.codes);
        double seconds = bench_time(b, encode, &e);
        bench_result(b, "dvae", "encode", "pictures/s", e.n / seconds, "batch", (double)e.n, "hidden", (double)c.hidden,
                     "side", (double)b->sizes->side, (char *)NULL);
    }
    dvae_free(&e.dvae);
    free(e.pictures);
    free(e.codes);
    return status;
}

struct seeing {
    struct clip *clip;
    uint8_t *pictures;
    float *features;
    int n;
};

static void see(void *self)
{
    struct seeing *s = self;
    clip_square_features(s->clip, s->pictures, s->n, true, s->features);
}

int bench_clip(struct bench *b)
{
    const struct clip_config c = {b->sizes->clip_side,   32, 768, b->sizes->clip_layers, 12, 77, 49408, 512,
                                  b->sizes->clip_layers, 8,  512};
    struct seeing s = {.n = b->sizes->clip_pictures};
    if (clip_new(&s.clip, b->k, &c, s.n, false) != 0)
        return -1;
    int status = bench_randomise(b, clip_params(s.clip));
    s.pictures = make_pictures((size_t)s.n * (size_t)c.side * (size_t)c.side * 3);
    s.features = xmalloc((size_t)s.n * (size_t)c.embed * sizeof *s.features);
    if (status == 0) {
        double seconds = bench_time(b, see, &s);
        bench_result(b, "clip", "ViT-B/32 picture features", "pictures/s", s.n / seconds, "batch", (double)s.n,
                     "layers", (double)c.vision_layers, (char *)NULL);
    }
    clip_free(&s.clip);
    free(s.pictures);
    free(s.features);
    return status;
}
